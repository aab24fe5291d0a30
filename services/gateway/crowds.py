"""How many websockets one client may have open at once, counted by each gateway process for itself."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from services.gateway import access
from services.gateway.problems import Problem, send_raw


def bounded(app: ASGIApp, most: int, secret: bytes) -> Callable[[Scope, Receive, Send], Any]:
    """The app, where the handshake of one websocket too many is refused; 0 is no limit."""
    opened: Counter[str] = Counter()

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.WEBSOCKET or not most:
            await app(scope, receive, send)
            return
        client = access.counted_as(scope["client"][0] if scope["client"] else "", secret)
        if opened[client] >= most:
            await send_raw(_too_many(opened[client], most), scope, send)
            return
        opened[client] += 1
        try:
            await app(scope, receive, send)
        finally:
            opened[client] -= 1
            if not opened[client]:
                del opened[client]

    return serve


def _too_many(count: int, most: int) -> Problem:
    return Problem(
        429,
        "too_many_sockets",
        f"You have {count:,} websockets open, and one client may have {most:,}. Close one first.",
        headers={"Retry-After": "10"},
    )
