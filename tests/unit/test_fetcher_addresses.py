"""Where a recording may be fetched from: judged before anybody is contacted."""

from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import httpcore
import pytest

from chassis.connecting import JudgedBackend
from chassis.settings import SettingsError, load
from chassis.store import Store
from contracts import addresses
from contracts.addresses import Address, Forbidden, Malformed, Rules
from contracts.failures import FailureCode, Permanent, Retryable
from services.fetcher.engine import Fetcher
from services.fetcher.settings import Settings
from tests.origin import origin
from tests.security.addresses import FORMS, PUBLIC, PUBLIC_FORMS, CountingNetwork, look_up, tried

SETTINGS = Settings(connect_s=2, idle_s=2, break_wait_s=0.01)


async def no_report(_: float) -> None:
    """Nobody watches."""


async def fetch(store: Store, url: str, rules: Rules, **parts: object) -> bytes:
    """The content of what is at an address."""
    fetcher = Fetcher(store, rules, SETTINGS, **parts)
    fetched, _ = await fetcher.fetch(url, owner="anon", job_id="j", filename="f", report=no_report)
    return b"".join([block async for block in store.read(fetched.source)])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path.as_uri())


async def test_no_spelling_of_an_address_inside_has_anybody_contacted(tmp_path: Path) -> None:
    table = await tried(FORMS, tmp_path)

    assert len(table) >= 60
    assert {one.form: one.contacted for one in table if one.contacted} == {}
    assert {one.form: one.outcome for one in table if one.outcome != "address_forbidden"} == {}
    assert list(tmp_path.rglob("*.json")) == []


async def test_a_public_address_is_contacted_whatever_it_looks_like(tmp_path: Path) -> None:
    """So that the table above says something."""
    table = await tried(PUBLIC_FORMS, tmp_path)

    assert {one.form for one in table if one.contacted not in ([PUBLIC], ["64:ff9b::5db8:d70e"])} == set()


@pytest.mark.parametrize("form", FORMS)
def test_the_gateway_takes_no_form_that_is_inside_by_itself(form: str) -> None:
    """What only a look-up can tell is left to the fetcher; no such form has an IP address in it that is inside."""
    try:
        address = addresses.parse(form.replace("{port}", "80"))
        addresses.check(address, Rules())
    except (Malformed, Forbidden):
        return
    assert address.ip is None
    assert address.port in (80, 443)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://example.com", Address(scheme="http", host="example.com", port=80, target="/")),
        ("HTTPS://Example.COM./a%20b", Address(scheme="https", host="example.com", port=443, target="/a%20b")),
        ("http://example.com:/x?y=z#part", Address(scheme="http", host="example.com", port=80, target="/x?y=z")),
        ("http://example.com?y", Address(scheme="http", host="example.com", port=80, target="/?y")),
        ("http://bücher.example/ü", Address(scheme="http", host="xn--bcher-kva.example", port=80, target="/%C3%BC")),
        ("http://my_bucket.example:8080/", Address(scheme="http", host="my_bucket.example", port=8080, target="/")),
        ("http://[2606:4700::0001]/", Address(scheme="http", host="2606:4700::1", port=80, target="/")),
        ("http://8.8.8.8/", Address(scheme="http", host="8.8.8.8", port=80, target="/")),
    ],
)  # fmt: skip
def test_an_address_is_read_in_one_way(text: str, address: Address) -> None:
    assert addresses.parse(text) == address
    assert addresses.parse(address.url) == address


def test_an_address_may_be_so_long_and_no_longer() -> None:
    start = "http://example.com/"
    longest = start + "a" * (addresses.LENGTH_MAX - len(start))
    assert addresses.parse(longest).url == longest
    with pytest.raises(Malformed, match=r"2,049 characters; it may have 2,048"):
        addresses.parse(longest + "a")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("https://example.com/talks/my%20talk.mp4?x=/y.mp3", "my talk.mp4"),
        ("https://example.com/", "example.com"),
        ("https://example.com/a/%2e%2e%2f%2e%2e%2fpasswd", "passwd"),
        ("https://example.com/a%00b%0d%0a.mp4", "a b .mp4"),
    ],
)
def test_a_recording_is_called_after_the_last_part_of_its_address(text: str, name: str) -> None:
    assert addresses.filename(addresses.parse(text)) == name


@pytest.mark.parametrize(
    "ip", ["8.8.8.8", "1.1.1.1", "172.15.255.255", "172.32.0.0", "100.63.255.255", "100.128.0.0", "198.17.255.255",
           "198.20.0.0", "223.255.255.255", "2606:4700::1111", "2a00:1450::1", "64:ff9b::808:808", "::ffff:8.8.8.8"],
)  # fmt: skip
def test_an_address_just_outside_of_a_special_network_is_public(ip: str) -> None:
    assert addresses.judged(ip_address(ip)) is None


def test_no_address_that_the_standard_library_calls_special_passes() -> None:
    """The same registries, in the edition that this Python has: whichever is stricter counts for us."""
    for first in range(0, 1 << 32, 1 << 18):
        ip = ip_address(first)
        assert ip.is_global or addresses.judged(ip) is not None, ip
    for first in range(1 << 16):
        ip = ip_address(first << 112 | 1)
        assert ip.is_global or addresses.judged(ip) is not None, ip


async def test_a_name_that_changes_its_mind_is_looked_up_once_for_each_connection(store: Store) -> None:
    """DNS rebinding: public for the judge, loopback for whoever connects."""
    answers = [[PUBLIC], ["127.0.0.1"], ["127.0.0.1"], ["127.0.0.1"]]
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    network = CountingNetwork()
    async with origin() as canary:
        rules = Rules(ports=str(canary.port))
        url = f"http://rebinding.test:{canary.port}/"
        with pytest.raises(Retryable):
            await fetch(store, url, rules, resolve=rebinding, network=network)
        assert (len(asked), network.contacted) == (1, [PUBLIC])
        with pytest.raises(Permanent) as refused:
            await fetch(store, url, rules, resolve=rebinding, network=network)

        assert refused.value.code is FailureCode.ADDRESS_FORBIDDEN
        assert network.contacted == [PUBLIC]
        assert canary.connections == 0


async def test_a_name_that_rebinds_between_two_connections_of_one_download_is_judged_again(store: Store) -> None:
    answers = iter([["127.0.0.1"], ["127.0.0.9"]])

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return next(answers)

    async with origin() as allowed:
        allowed.serves(b"x" * 1000, cut_after=400)
        network = CountingNetwork()
        rules = Rules(allow="127.0.0.1")
        with pytest.raises(Permanent) as refused:
            await fetch(store, f"http://rebinding.test:{allowed.port}/", rules, resolve=rebinding, network=network)

        assert refused.value.code is FailureCode.ADDRESS_FORBIDDEN
        assert network.contacted == ["127.0.0.1"]


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.2:{port}/", "//127.0.0.2:{port}/", "http://localhost:{port}/", "http://169.254.169.254/",
     "http://[::1]:{port}/", "http://2130706434:{port}/", "file:///etc/passwd", "http://private.test:{port}/",
     "http://user@127.0.0.1:{port}/", "\\\\127.0.0.2\\x", "http://[::ffff:127.0.0.2]:{port}/", "http://["],
)  # fmt: skip
async def test_a_redirect_is_judged_as_an_address_of_its_own(store: Store, location: str) -> None:
    async with origin() as allowed, origin("127.0.0.2") as canary:
        target = location.replace("{port}", str(canary.port))
        allowed.handle = lambda request: request.answer(b"", 302, Location=target)
        network = CountingNetwork()
        rules = Rules(allow="127.0.0.1", ports=f"80,{canary.port}")
        with pytest.raises(Permanent) as refused:
            await fetch(store, allowed.url, rules, resolve=look_up, network=network)

        assert refused.value.code is FailureCode.ADDRESS_FORBIDDEN
        assert (network.contacted, canary.connections) == (["127.0.0.1"], 0)


async def test_redirects_are_followed_so_far_and_no_further(store: Store, tmp_path: Path) -> None:
    async with origin() as chain:

        async def handle(request: object) -> None:
            left = int(request.target[1:])
            await (request.answer(b"found") if not left else request.answer(b"", 302, Location=f"/{left - 1}"))

        chain.handle = handle
        rules = Rules(allow="127.0.0.1")
        assert await fetch(store, f"{chain.url}/{SETTINGS.redirects_max}", rules) == b"found"
        with pytest.raises(Permanent) as refused:
            await fetch(Store((tmp_path / "other").as_uri()), f"{chain.url}/{SETTINGS.redirects_max + 1}", rules)

        assert refused.value.code is FailureCode.ADDRESS_REFUSED
        assert refused.value.told == "It redirects more than 5 times."


async def test_what_the_operator_allows_is_fetched_and_nothing_beside_it(store: Store, tmp_path: Path) -> None:
    async with origin() as inside:
        inside.serves(b"sound")
        url = f"http://intranet.test:{inside.port}/a.mp4"

        async def intranet(host: str, port: int) -> Sequence[str]:
            return ["127.0.0.1"]

        for rules in (Rules(), Rules(allow="other.test"), Rules(allow="127.0.0.2,10.0.0.0/8")):
            with pytest.raises(Permanent):
                await fetch(store, url, rules, resolve=intranet)
        assert inside.connections == 0
        for number, allow in enumerate(("intranet.test", "127.0.0.0/8", "127.0.0.1", "x.test, INTRANET.test")):
            place = Store((tmp_path / str(number)).as_uri())
            assert await fetch(place, url, Rules(allow=allow), resolve=intranet) == b"sound"


async def test_nothing_is_fetched_where_it_is_switched_off(store: Store) -> None:
    async with origin() as inside:
        with pytest.raises(Permanent) as refused:
            await fetch(store, inside.url, Rules(enabled=False, allow="127.0.0.1"))
        assert (refused.value.code, inside.connections) == (FailureCode.ADDRESS_FORBIDDEN, 0)


async def test_a_connection_to_another_host_than_the_judged_one_is_refused() -> None:
    network = CountingNetwork()
    backend = JudgedBackend(addresses.parse("http://public.test/"), Rules(), look_up, network)
    with pytest.raises(Forbidden):
        await backend.connect_tcp("loopback.test", 80)
    with pytest.raises(Forbidden):
        await backend.connect_unix_socket("/run/docker.sock")
    with pytest.raises(httpcore.ConnectError):
        await backend.connect_tcp("public.test", 80)
    assert network.contacted == [PUBLIC]


@pytest.mark.parametrize(
    ("name", "value"),
    [("ALLOW", "not a host"), ("ALLOW", "10.0.0.0/99"), ("ALLOW", "127.1"), ("PORTS", "0"), ("PORTS", "80,x"),
     ("PORTS", "65536"), ("MAX_BYTES", "0")],
)  # fmt: skip
def test_a_rule_that_says_nothing_is_refused_at_the_start(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"SUBTIDE_FETCHER_{name}"):
        load(Rules, "SUBTIDE_FETCHER_", {f"SUBTIDE_FETCHER_{name}": value})
