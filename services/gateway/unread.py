"""An answer to a request whose body was not read: it is sent at once, and the connection ends after it.

Who closes a connection on which bytes still come in makes the other side lose the answer (RFC 9112, 9.6), so what
comes is thrown away for a while: until it ends, stops coming, or has been going on for too long.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

_SILENT_S = 2.0
_IN_ALL_S = 30.0


def closing_unread(app: ASGIApp) -> Callable[[Scope, Receive, Send], Any]:
    """The app, which need not read what it refuses."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or not _has_body(scope):
            await app(scope, receive, send)
            return
        await _Exchange(receive, send).serve(app, scope)

    return serve


class _Exchange:
    """One request with a body, and its answer."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._read = False
        self._refused = False
        self._answered = False

    async def serve(self, app: ASGIApp, scope: Scope) -> None:
        await app(scope, self._received, self._sent)
        if self._answered:
            await self._linger()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _received(self) -> Any:
        message = await self._receive()
        self._read |= message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def _sent(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._read:
            given = {name.lower(): value for name, value in message["headers"]}
            self._refused = b"content-length" in given  # without it, the end of the answer is the end of the connection
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        if message["type"] == "http.response.body" and not message["more_body"] and self._refused:
            self._answered = True
            message["more_body"] = True  # by its length the answer is whole, but the connection stays for now
        await self._send(message)

    async def _linger(self) -> None:
        try:
            async with asyncio.timeout(_IN_ALL_S):
                while not self._read:
                    async with asyncio.timeout(_SILENT_S):
                        await self._received()
        except TimeoutError:
            return


def _has_body(scope: Any) -> bool:
    headers = {name.lower(): value for name, value in scope["headers"]}
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
