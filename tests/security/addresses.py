"""Addresses that lead inside, in every spelling we know of: each is given to a whole fetcher, and nobody is contacted.

`python -m tests.security.addresses` prints the table. Names are looked up in `NAMES`, connections go to a network that
counts them: canaries listen where the forms with loopback lead, anywhere else there is nothing to reach.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpcore
import msgspec

from chassis.store import Store
from contracts.addresses import Rules
from contracts.failures import Permanent
from services.fetcher.engine import Fetcher
from services.fetcher.settings import Settings
from tests.origin import Origin, origin

PUBLIC = "93.184.215.14"
NAMES = {
    "public.test": [PUBLIC],
    "loopback.test": ["127.0.0.1"],
    "loopback6.test": ["::1"],
    "private.test": ["10.1.2.3"],
    "metadata.google.internal": ["169.254.169.254"],
    "router.local": ["192.168.1.1"],
    "both.test": [PUBLIC, "127.0.0.1"],
    "both-in-the-other-order.test": ["127.0.0.1", PUBLIC],
    "mapped.test": ["::ffff:127.0.0.1"],
    "zone.test": ["fe80::1%eth0"],
    "many.test": [PUBLIC] * 40 + ["::1"],
    "127.0.0.1.nip.test": ["127.0.0.1"],
    "xn--bcher-kva.test": ["172.16.0.9"],
    "ip6-localhost": ["::1"],
}
"""What the look-up says in this table; every other name is not found."""

FORMS = [
    # every network that is not the internet's, as a literal
    "http://127.0.0.1:{port}/", "http://127.255.255.254:{port}/", "http://0.0.0.0:{port}/", "http://0.1.2.3/",
    "http://10.0.0.1/", "http://10.255.255.255/", "http://172.16.0.1/", "http://172.31.255.255/",
    "http://192.168.0.1/", "http://192.168.255.255/", "http://169.254.169.254/latest/meta-data/",
    "http://168.63.129.16/machine?comp=goalstate", "http://[64:ff9b::a83f:8110]/",
    "http://169.254.170.2/v2/credentials", "http://100.64.0.1/", "http://100.100.100.200/latest/meta-data/",
    "http://192.0.0.1/", "http://192.0.0.192/opc/v2/", "http://192.0.2.1/", "http://198.18.0.1/",
    "http://198.19.255.255/", "http://198.51.100.7/", "http://203.0.113.9/", "http://192.88.99.1/",
    "http://224.0.0.1/", "http://239.255.255.250/", "http://240.0.0.1/", "http://255.255.255.255/",
    # IPv6
    "http://[::1]:{port}/", "http://[0:0:0:0:0:0:0:1]:{port}/", "http://[::]:{port}/", "http://[fc00::1]/",
    "http://[fd00:ec2::254]/latest/meta-data/", "http://[fe80::1]/", "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/", "http://[fec0::1]/", "http://[ff02::1]/", "http://[2001:db8::1]/",
    "http://[3fff::1]/", "http://[100::1]/", "http://[5f00::1]/",
    # IPv4 inside IPv6
    "http://[::ffff:127.0.0.1]:{port}/", "http://[::ffff:7f00:1]:{port}/", "http://[::ffff:a9fe:a9fe]/",
    "http://[0:0:0:0:0:ffff:10.0.0.1]/", "http://[::127.0.0.1]:{port}/", "http://[::7f00:1]:{port}/",
    "http://[64:ff9b::127.0.0.1]:{port}/", "http://[64:ff9b::a9fe:a9fe]/", "http://[64:ff9b:1::7f00:1]/",
    "http://[2002:7f00:1::]/", "http://[2002:a9fe:a9fe::1]/", "http://[2001::7f00:1]/",
    "http://[2001:0:7f00:1::]/", "http://[::ffff:0:127.0.0.1]/",
    # IPv4 as only some readers read it
    "http://2130706433:{port}/", "http://017700000001:{port}/", "http://0x7f000001:{port}/",
    "http://0177.0.0.1:{port}/", "http://0x7f.0.0.1:{port}/", "http://0x7f.1:{port}/", "http://127.1:{port}/",
    "http://127.0.1:{port}/", "http://127.0.0.1.:{port}/", "http://127.0.0.01:{port}/", "http://0:{port}/",
    "http://127.0.0.0x1:{port}/", "http://0X7F.0.0.1:{port}/", "http://00000177.0.0.1:{port}/",
    "http://4294967297:{port}/", "http://127.0.0.1.1:{port}/", "http://256.0.0.1/", "http://0x:{port}/",
    "http://１２７.0.0.1:{port}/", "http://①②⑦.⓪.⓪.①:{port}/", "http://127。0。0。1:{port}/",
    "http://127．0．0．1:{port}/", "http://%31%32%37.0.0.1:{port}/", "http://127%2e0%2e0%2e1:{port}/",
    # names
    "http://localhost:{port}/", "http://LOCALHOST:{port}/", "http://localhost.:{port}/", "http://a.localhost:{port}/",
    "http://ｌｏｃａｌｈｏｓｔ:{port}/", "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:{port}/", "http://local\u00adhost:{port}/",
    "http://local%68ost:{port}/", "http://ip6-localhost:{port}/",
    "http://loopback.test:{port}/", "http://LOOPBACK.TEST.:{port}/", "https://loopback.test:{port}/",
    "http://loopback6.test:{port}/", "http://private.test/", "http://metadata.google.internal/computeMetadata/v1/",
    "http://router.local/", "http://both.test:{port}/", "http://both-in-the-other-order.test:{port}/",
    "http://mapped.test:{port}/", "http://zone.test/", "http://many.test:{port}/",
    "http://127.0.0.1.nip.test:{port}/", "http://bücher.test/",
    # what two readers would take apart in two ways
    "http://public.test@127.0.0.1:{port}/", "http://127.0.0.1:{port}@public.test/", "http://user:pw@public.test/",
    "http://public.test\\@127.0.0.1:{port}/", "http:\\\\127.0.0.1:{port}\\", "http:/127.0.0.1:{port}/",
    "http:127.0.0.1:{port}/", "//127.0.0.1:{port}/", "http:///127.0.0.1:{port}/", "http://:{port}/", "http://",
    "http://127.0.0.1:{port}#@public.test/",
    "http://127.0.0.1:{port}?@public.test/", "http://public.test:80:{port}/", "http://[::1:{port}/",
    "http://[127.0.0.1]:{port}/", "http://[::1].public.test:{port}/", "http://127.0.0.1 :{port}/",
    " http://127.0.0.1:{port}/", "http://127.0.0.1:{port}/\r\nHost: public.test", "http://127.0.0.1\t:{port}/",
    "http://public.test\n.127.0.0.1:{port}/", "http://127.0.0.1\x00.public.test:{port}/", "ht\ttp://127.0.0.1/",
    "http://public.test／@127.0.0.1:{port}/", "http://public.test：{port}/", "http://-/", "http://a..b/",
    "http://*.test/", "http://127.0.0.1:{port}\u2028/",
    # schemes
    "file:///etc/passwd", "file://127.0.0.1/etc/passwd", "FILE:///etc/passwd", "ftp://127.0.0.1:{port}/",
    "gopher://127.0.0.1:{port}/_GET", "data:text/plain,x", "data://127.0.0.1/", "rtsp://127.0.0.1:{port}/",
    "javascript:alert(1)", "dict://127.0.0.1:{port}/", "ldap://127.0.0.1:{port}/", "jar:http://127.0.0.1!/",
    "concat:http://127.0.0.1|x", "unix:///run/docker.sock", "ws://127.0.0.1:{port}/", "/etc/passwd", "",
    # ports
    "http://public.test:22/", "http://public.test:25/", "http://public.test:6379/", "http://public.test:0/",
    "http://public.test:65536/", "http://public.test:99999999/", "http://public.test:-1/", "http://public.test:8o/",
    "http://93.184.215.14:4222/",
]  # fmt: skip
"""`{port}` is where canaries listen, and is among the ports that may be connected to: only the judge stands before."""


PUBLIC_FORMS = [
    "http://public.test/", "HTTP://PUBLIC.TEST./", "https://public.test/", "http://public.test:{port}/a",
    "http://public.test#@127.0.0.1:{port}/", "http://public.test/?http://127.0.0.1/", "http://93.184.215.14/",
    "http://public.test/@127.0.0.1", "http://[64:ff9b::5db8:d70e]/", "http://ｐｕｂｌｉｃ.test/",
]  # fmt: skip
"""What is no way inside, however it looks: a connection is made, to `PUBLIC` or what carries it."""


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one form."""

    form: str
    outcome: str
    contacted: list[str]
    """IP addresses that a connection was asked for, and canaries that were reached."""


class CountingNetwork(httpcore.AsyncNetworkBackend):
    """Notes whom it is to connect to. What is not on loopback does not answer."""

    def __init__(self) -> None:
        self.contacted: list[str] = []
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(self, host: str, port: int, *further: Any, **named: Any) -> httpcore.AsyncNetworkStream:
        self.contacted.append(host)
        if host not in ("127.0.0.1", "::1"):
            raise httpcore.ConnectError(f"nobody at {host}")
        return await self._network.connect_tcp(host, port, *further, **named)

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)


async def look_up(host: str, port: int) -> Sequence[str]:
    """As `NAMES` says."""
    if host not in NAMES:
        raise OSError(f"{host} is not known")
    return NAMES[host]


@asynccontextmanager
async def canaries() -> AsyncIterator[list[Origin]]:
    """Servers that nobody should come to, on one port of both loopback addresses where there are two."""
    async with origin() as four:
        six = Origin()
        try:
            server = await asyncio.start_server(six._connected, "::1", four.port)
        except OSError:
            yield [four]  # this machine has no IPv6
            return
        six.port = four.port
        try:
            yield [four, six]
        finally:
            server.close()


async def tried(forms: Iterable[str], folder: Path) -> list[Tried]:
    """What a fetcher makes of each form."""
    outcomes = []
    async with canaries() as watching:
        port = watching[0].port
        rules = Rules(ports=f"80,443,{port}")
        for number, form in enumerate(forms):
            network = CountingNetwork()
            before = sum(canary.connections for canary in watching)
            fetcher = Fetcher(
                Store(folder.as_uri()), rules, Settings(connect_s=2, idle_s=2), resolve=look_up, network=network
            )
            try:
                await fetcher.fetch(
                    form.replace("{port}", str(port)), owner="anon", job_id=str(number), filename="f", report=_silent
                )
                outcome = "fetched"
            except Permanent as error:
                outcome = str(error.code)
            except Exception as error:  # noqa: BLE001 - whatever else happens is a line of the table, too
                outcome = repr(error)
            reached = sum(canary.connections for canary in watching) - before
            outcomes.append(Tried(form=form, outcome=outcome, contacted=network.contacted + ["canary"] * reached))
    return outcomes


async def _silent(_: float) -> None:
    """Nobody watches."""


def main() -> None:
    """Print the table. Fails where anybody was contacted or a form was not refused."""
    with tempfile.TemporaryDirectory() as folder:
        table = asyncio.run(tried(FORMS, Path(folder)))
    for one in table:
        print(f"{one.outcome:20} {len(one.contacted):3}  {one.form!r}")
    contacted = sum(bool(one.contacted) for one in table)
    passed = [one for one in table if one.outcome != "address_forbidden"]
    print(f"\naddresses tried: {len(table)}   contacted: {contacted}   not refused: {len(passed)}")
    if contacted or passed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
