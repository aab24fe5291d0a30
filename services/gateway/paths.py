"""One spelling of a path: what is decided by it (rates, the protocol of uploads) is decided of the one that is routed,
which takes several slashes for one.
"""

import re
from collections.abc import Callable
from typing import Any

from litestar.types import ASGIApp, Receive, Scope, Send

_SLASHES = re.compile("//+")


def spelled_once(app: ASGIApp) -> Callable[[Scope, Receive, Send], Any]:
    """The app, which is asked with one slash where several came."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if "//" in scope.get("path", ""):
            scope["path"] = _SLASHES.sub("/", scope["path"])
            scope["raw_path"] = re.sub(rb"(?:/|%2[Ff]){2,}", b"/", scope["raw_path"])
        await app(scope, receive, send)

    return serve
