"""Connects to what was judged, and to nothing else: a name is looked up here, once, and the connection goes to an
address of that very answer. A name that says something else a moment later gains nothing by it.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import Any

import certifi
import httpcore

from contracts.addresses import Address, Forbidden, Rules, check, check_ip

_ANSWERS_MAX = 16

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""All IP addresses of a host name, as text. Raises OSError where there are none."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """As the system does it."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


def trusted() -> ssl.SSLContext:
    """What the system trusts (SSL_CERT_FILE names more), and what is trusted where the system has nothing."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


class JudgedBackend(httpcore.AsyncNetworkBackend):
    """The network, as far as it is one address. Raises Forbidden before anything is sent elsewhere."""

    def __init__(self, address: Address, rules: Rules, resolve: Resolve, network: httpcore.AsyncNetworkBackend) -> None:
        self._address = address
        self._rules = rules
        self._resolve = resolve
        self._network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of the host that answers. One that is forbidden forbids them all."""
        if (host, port) != (self._address.host, self._address.port):
            raise Forbidden("another host than the one that was judged")
        check(self._address, self._rules)
        try:
            async with asyncio.timeout(timeout):
                literal = self._address.ip
                found = [str(literal)] if literal is not None else await self._resolve(host, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"{host} was not looked up in time") from error
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} was not found: {error}") from error
        ips = [ip_address(one) for one in found]
        for ip in ips:
            check_ip(ip, self._address, self._rules)
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for ip in ips[:_ANSWERS_MAX]:
            try:
                return await self._network.connect_tcp(str(ip), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Never."""
        raise Forbidden("a socket of this machine")

    async def sleep(self, seconds: float) -> None:
        """As everywhere."""
        await self._network.sleep(seconds)
