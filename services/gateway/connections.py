"""What a connection may cost: the size of a request's head, the time that it takes to come, and a reader that stalls.

uvicorn bounds none of these. What is too much is answered by a problem document and the connection ends; who takes
nothing of what waits for it is cut off.
"""

import asyncio
import base64
import binascii
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets import http11

from services.gateway.hardening import EVERYWHERE, POLICY
from services.gateway.problems import MEDIA_TYPE, Problem
from services.gateway.settings import Settings

_LINGER_S = 2.0
"""How long what still comes is thrown away after a refusal: closing at once would lose the answer (RFC 9112, 9.6)."""
_KEY_BYTES = 16
_PROGRESS_BYTES = 1 << 10
"""A reader that takes less than this in its time is taken for one that takes nothing."""


def protocol(settings: Settings) -> type[asyncio.Protocol]:
    """uvicorn's protocol with these limits."""

    class Limited(_Limited):
        limits = settings

    return Limited


class _TooLarge(Exception):
    """The head of a request is too large; raised through the parser."""


class _Limited(HttpToolsProtocol):
    limits: Settings

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._late: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._unused_bytes = 0
        """What came since the parser last made something of it."""
        self._begun = False
        """Whether a head has begun to come and has not ended."""
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_clocks()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unused_bytes += len(data)
        super().data_received(data)
        if self._unused_bytes > self.limits.max_header_bytes and not self._refused and self.parser is not None:
            self._refuse(_head_too_large(self.limits.max_header_bytes))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begun = True
        self._head_bytes = self._unused_bytes = 0
        self._expect_head()
        if not self.flow.write_paused:
            self._watch_reader(False)

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + len(b": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._begun = False
        self._unused_bytes = 0
        if self._late is not None:
            self._late.cancel()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unused_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unused_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:
            self._expect_head()
            self._watch_reader(True)

    def handle_websocket_upgrade(self) -> None:
        """A handshake that the library cannot read would leave the connection open without an answer."""
        self._forget_clocks()
        if not _opens(self.scope["method"], dict(self.headers)):
            self._refuse(_malformed_handshake())
            return
        super().handle_websocket_upgrade()
        opened = self.transport.get_protocol()
        if isinstance(opened, WebSocketsSansIOProtocol) and not opened.handshake_initiated:
            self.connections.discard(opened)
            self.connections.add(self)
            self.transport.set_protocol(self)
            self._refuse(_malformed_handshake())

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader(True)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._watch_reader(self.transport.is_closing() or self.cycle is None or self.cycle.response_complete)

    def send_400_response(self, msg: str) -> None:
        """Called where the parser finds no HTTP, or one of our callbacks has raised."""
        if self._head_bytes > self.limits.max_header_bytes:
            self._refuse(_head_too_large(self.limits.max_header_bytes))
        else:
            self._refuse(Problem(400, "malformed_request", "This is no HTTP request that this server understands."))

    def _count(self, more: int) -> None:
        self._head_bytes += more  # that of trailers, too
        if self._head_bytes > self.limits.max_header_bytes:
            raise _TooLarge

    def _expect_head(self) -> None:
        if self._late is not None:
            self._late.cancel()
        self._late = self.loop.call_later(self.limits.header_s, self._head_is_late)

    def _head_is_late(self) -> None:
        if self._begun:
            most = f"{self.limits.header_s:g}"
            self._refuse(Problem(408, "request_timeout", f"The head of a request may take {most} seconds to come."))
        elif self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        """Answer, unless another answer is on its way already, and end."""
        self._refused = True
        self._forget_clocks()
        self._unset_keepalive_if_required()
        if self.transport.is_closing():
            self._watch_reader(True)
            return
        answering = self.cycle is not None and not self.cycle.response_complete
        said = answering and (self.cycle.response_started or bool(self.pipeline))
        if answering:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self.flow.resume_writing()
        if said:
            self.transport.close()
            self._watch_reader(True)
            return
        self.transport.write(_answer(problem))
        self.flow.resume_reading()
        self._late = self.loop.call_later(_LINGER_S, self.transport.abort)
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _watch_reader(self, watch: bool) -> None:
        """From now on: nothing more is written while we watch, so that what waits can only become less."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        if watch and (waiting := self.transport.get_write_buffer_size()):
            self._stalled = self.loop.call_later(self.limits.write_idle_s, self._look_at_reader, waiting)

    def _look_at_reader(self, waited_bytes: int) -> None:
        if waited_bytes - self.transport.get_write_buffer_size() < _PROGRESS_BYTES:
            self.transport.abort()
        else:
            self._watch_reader(True)

    def _forget_clocks(self) -> None:
        for clock in (self._late, self._stalled):
            if clock is not None:
                clock.cancel()
        self._late = self._stalled = None


def _head_too_large(most: int) -> Problem:
    return Problem(
        431, "head_too_large", f"The address and the headers of a request may have {most:,} bytes together, not more."
    )


def _opens(method: str, headers: dict[bytes, bytes]) -> bool:
    """Whether a handshake is one (RFC 6455, 4.2.1)."""
    try:
        key = base64.b64decode(headers.get(b"sec-websocket-key", b"").strip(), validate=True)
    except binascii.Error:
        return False
    return method == "GET" and headers.get(b"sec-websocket-version", b"").strip() == b"13" and len(key) == _KEY_BYTES


def _malformed_handshake() -> Problem:
    most = f"in lines of {http11.MAX_LINE_LENGTH:,} bytes and {http11.MAX_NUM_HEADERS} headers at most"
    detail = f"A websocket is opened by GET with a key and version 13 of the protocol, {most}."
    return Problem(400, "malformed_handshake", detail)


def _answer(problem: Problem) -> bytes:
    body = msgspec.json.encode(problem.document)
    headers = {
        "content-type": MEDIA_TYPE,
        "content-length": str(len(body)),
        "connection": "close",
        **EVERYWHERE,
        "content-security-policy": POLICY,
        "cache-control": "no-store",
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return STATUS_LINE[problem.document.status] + lines.encode() + b"\r\n" + body
