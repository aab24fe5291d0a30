"""Asks an address for what is there: one connection a request, every redirect judged anew.

Sends nothing that tells who asks: no cookie, no credential, no referrer; goes through no proxy and keeps nothing.
"""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cached_property
from importlib.metadata import version
from urllib.parse import urljoin

import httpcore
import msgspec

from chassis.connecting import JudgedBackend, Resolve, trusted
from contracts import addresses
from contracts.addresses import Address, Rules
from contracts.failures import FailureCode, Permanent
from services.fetcher.settings import Settings

_REDIRECTS = (301, 302, 303, 307, 308)

BROKEN = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError)
"""What asking, and reading on, raises where a connection could not be made or broke."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What an address answered, up to its body."""

    address: Address
    """The one that answered, after redirects."""
    status: int
    headers: Mapping[str, str]
    """By lower-case name; of a header that came twice, the last."""
    body: AsyncIterator[bytes]


class Asking:
    """The client's side of HTTP/1.1."""

    def __init__(
        self, rules: Rules, settings: Settings, resolve: Resolve, network: httpcore.AsyncNetworkBackend
    ) -> None:
        self._rules = rules
        self._settings = settings
        self._resolve = resolve
        self._network = network

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return trusted()

    @asynccontextmanager
    async def ask(self, address: Address, headers: dict[bytes | str, bytes | str]) -> AsyncIterator[Answer]:
        """The answer of an address, or of where it redirects to.

        Raises Permanent: ADDRESS_FORBIDDEN, ADDRESS_REFUSED (too many redirects). Raises one of BROKEN.
        """
        for _ in range(self._settings.redirects_max + 1):
            async with self._asked(address, headers) as answer:
                location = answer.headers.get("location")
                if answer.status not in _REDIRECTS or location is None:
                    yield answer
                    return
            address = _redirected(address, location)
        raise Permanent(
            FailureCode.ADDRESS_REFUSED,
            f"more than {self._settings.redirects_max} redirects",
            told=f"It redirects more than {self._settings.redirects_max} times.",
        )

    @asynccontextmanager
    async def _asked(self, address: Address, headers: dict[bytes | str, bytes | str]) -> AsyncIterator[Answer]:
        limits = {
            "connect": self._settings.connect_s,
            "pool": self._settings.connect_s,
            "read": self._settings.idle_s,
            "write": self._settings.idle_s,
        }
        sent: dict[bytes | str, bytes | str] = {
            "Host": address.authority,
            "User-Agent": f"subtide/{version('subtide')}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Connection": "close",
            **headers,
        }
        url = httpcore.URL(
            scheme=address.scheme.encode(),
            host=address.host.encode(),
            port=address.port,
            target=address.target.encode(),
        )
        backend = JudgedBackend(address, self._rules, self._resolve, self._network)
        tls = self._tls if address.scheme == "https" else None
        async with httpcore.AsyncConnectionPool(ssl_context=tls, network_backend=backend) as connections:
            try:
                async with connections.stream("GET", url, headers=sent, extensions={"timeout": limits}) as response:
                    yield Answer(
                        address=address,
                        status=response.status,
                        headers={name.decode("latin-1").lower(): _text(value) for name, value in response.headers},
                        body=response.aiter_stream(),
                    )
            except addresses.Forbidden as error:
                raise _forbidden(address, str(error)) from None


def _redirected(address: Address, location: str) -> Address:
    try:
        return addresses.parse(urljoin(address.url, location))
    except ValueError as error:
        raise _forbidden(address, f"a redirect: {error}") from None


def _forbidden(address: Address, reason: str) -> Permanent:
    return Permanent(FailureCode.ADDRESS_FORBIDDEN, f"{address.host}: {reason}")


def _text(value: bytes) -> str:
    """What most servers mean; the rest is what the protocol says."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
