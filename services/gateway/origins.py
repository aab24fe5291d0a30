"""Under which names the gateway answers, and to pages from where.

A page on the internet can make a browser ask an address in the user's own network, by a name that it lets point there
(DNS rebinding): who asks a gateway that listens on loopback must call it by a name that is known. A websocket is under
no rule of the browser's but that it says where its page is from.

CORS is decided here and not by the framework's middleware, which does not see the answers that are made around it.
"""

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from litestar.config.cors import CORSConfig
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.problems import Problem, send_raw
from services.gateway.settings import Settings, listed

EXPOSED = (
    "Location", "Retry-After", "RateLimit", "RateLimit-Policy", "Content-Disposition", "Content-Range", "Accept-Ranges",
    "ETag", "Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size", "Tus-Checksum-Algorithm", "Upload-Offset",
    "Upload-Length", "Upload-Metadata", "Upload-Expires",
)  # fmt: skip
"""Headers that a page of another origin may read."""

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[^:/?#@\s\[\]]+)(?::[0-9]{0,5})?")


def judging(app: ASGIApp, settings: Settings) -> Callable[[Scope, Receive, Send], Any]:
    """The app, which is asked under its own names, and by pages that may."""
    cors = _cors(settings)
    hosts = _hosts(settings)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in (ScopeType.HTTP, ScopeType.WEBSOCKET):
            await app(scope, receive, send)
            return
        given = {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        origin = given.get("origin")
        allowed = origin is not None and cors is not None and cors.is_origin_allowed(origin.lower())
        if hosts is not None and _host(given.get("host", "")) not in hosts:
            await send_raw(_wrong_host(given.get("host", "")), scope, send)
        elif scope["type"] == ScopeType.WEBSOCKET:
            if origin is None or allowed or _ours(origin, given.get("host", ""), settings):
                await app(scope, receive, send)
            else:
                await send_raw(_wrong_origin(origin), scope, send)
        elif cors is None or origin is None:
            await app(scope, receive, send)
        elif scope["method"] == "OPTIONS" and "access-control-request-method" in given:
            await _preflight(cors, origin if allowed else None, given, send)
        else:
            await app(scope, receive, _telling(send, cors, origin if allowed else None))

    return serve


def _cors(settings: Settings) -> CORSConfig | None:
    origins = listed(settings.cors_origins)
    return CORSConfig(allow_origins=origins, expose_headers=list(EXPOSED)) if origins else None


def _hosts(settings: Settings) -> frozenset[str] | None:
    """The names to be asked under; None where any will do."""
    named = listed(settings.allowed_hosts)
    if not named and not _is_loopback(settings.host):
        return None
    ours = _host(urlsplit(settings.public_url).netloc) if settings.public_url else None
    return frozenset([*named, *_LOOPBACK_NAMES, *([ours] if ours else [])])


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host(authority: str) -> str | None:
    """The host of a Host header, without the port and the dot that a full name may end in; None where it is none."""
    match = _AUTHORITY.fullmatch(authority.strip().lower())
    return match["host"].removesuffix(".") if match else None


def _ours(origin: str, host: str, settings: Settings) -> bool:
    """Whether a page is our own: of the host and port that is asked, or of the public address."""
    origin = origin.lower()
    if settings.public_url:
        public = urlsplit(settings.public_url.lower())
        if origin == f"{public.scheme}://{public.netloc}":
            return True
    return bool(host) and origin in (f"http://{host.lower()}", f"https://{host.lower()}")


async def _preflight(cors: CORSConfig, origin: str | None, given: dict[str, str], send: Send) -> None:
    """What a browser asks before it asks; without an origin that may, it is told nothing, and so does not go on."""
    headers = {"Vary": "Origin"}
    if origin is not None:
        headers |= cors.preflight_headers | _allow(cors, origin)
        if asked := given.get("access-control-request-headers"):
            headers["Access-Control-Allow-Headers"] = asked
    await send({"type": "http.response.start", "status": 204, "headers": _raw(headers)})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _telling(send: Send, cors: CORSConfig, origin: str | None) -> Send:
    headers = {"Vary": "Origin"} if origin is None else cors.simple_headers | _allow(cors, origin)
    if origin is not None:
        headers["Cross-Origin-Resource-Policy"] = "cross-origin"

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *_raw(headers)]
        await send(message)

    return sent


def _allow(cors: CORSConfig, origin: str) -> dict[str, str]:
    return {"Access-Control-Allow-Origin": "*" if cors.is_allow_all_origins else origin, "Vary": "Origin"}


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]


def _wrong_host(host: str) -> Problem:
    return Problem(
        421,
        "wrong_host",
        f"This server is not known as {host[:253]!r}. Its operator can name it in SUBTIDE_GATEWAY_ALLOWED_HOSTS.",
    )


def _wrong_origin(origin: str) -> Problem:
    return Problem(
        403,
        "wrong_origin",
        f"Pages from {origin[:253]!r} may not connect. The operator can name them in SUBTIDE_GATEWAY_CORS_ORIGINS.",
    )
