"""How slowly a body may come: a client that sends it byte by byte would keep a request open for as long as it likes.

Only the time counts in which nothing keeps us from reading; however slow the store is, no client is blamed for it.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from services.gateway.problems import Problem

_PROGRESS_BYTES = 1 << 10


def arriving(app: ASGIApp, body_idle_s: float) -> Callable[[Scope, Receive, Send], Any]:
    """The app, where reading a body raises Problem once the next KiB of it takes longer than `body_idle_s`."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        left_s, came_bytes, ended = body_idle_s, 0, False

        async def received() -> Any:
            nonlocal left_s, came_bytes, ended
            if ended:
                return await receive()
            began_s = loop.time()
            try:
                async with asyncio.timeout(max(left_s, 0.0)):
                    message: Any = await receive()
            except TimeoutError:
                raise _too_slow(body_idle_s) from None
            left_s -= loop.time() - began_s
            came_bytes += len(message.get("body", b""))
            if came_bytes >= _PROGRESS_BYTES:
                left_s, came_bytes = body_idle_s, 0
            ended = message["type"] == "http.disconnect" or not message.get("more_body", False)
            return message

        await app(scope, received, send)

    return serve


def _too_slow(body_idle_s: float) -> Problem:
    return Problem(
        408,
        "request_timeout",
        f"Less than {_PROGRESS_BYTES:,} bytes of the request came in {body_idle_s:g} seconds, which is as long as the "
        "server waits for them.",
    )
