"""Around every answer: security headers, and one log line without query, so that no token is ever written down."""

import time
from collections.abc import Callable
from typing import Any

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from chassis import telemetry

EVERYWHERE = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
"""Of every answer."""
_SECURE = ("strict-transport-security", "max-age=31536000")
_UNKEPT = ("cache-control", "no-store")
"""Of an answer that does not say how long it may be kept: most depend on a token."""
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'"
)
_DOCS_POLICY = f"{POLICY}; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self' data:"
"""The API reference makes its own style elements."""


def hardened(app: ASGIApp) -> Callable[[Scope, Receive, Send], Any]:
    """The app with headers on every answer, its own errors included, and a line in the log for each."""
    log = telemetry.logger(stage="gateway")

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)
            return
        started = time.monotonic()
        path = scope["path"]
        policy = _DOCS_POLICY if path == "/docs" else POLICY
        said = [*EVERYWHERE.items(), _UNKEPT, ("content-security-policy", policy)]
        if scope["scheme"] in ("https", "wss"):
            said.append(_SECURE)
        headers = [(name.encode(), value.encode()) for name, value in said]
        status = 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(one for one in headers if one[0] not in given)]
            await send(message)

        try:
            await app(scope, receive, sent)
        finally:
            log.info(
                "request",
                method=scope.get("method", "WEBSOCKET"),
                path=path,
                status=status,
                seconds=round(time.monotonic() - started, 3),
            )

    return serve
