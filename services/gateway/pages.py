"""The pages for people: the front door, the API reference, the facts. Nothing is loaded from another host."""

from functools import cache
from html import escape
from importlib.metadata import version
from typing import Any

import msgspec
from litestar import MediaType, Request, Response, get
from litestar.response import File

from services.gateway import asyncapi
from services.gateway.assets import scalar_path
from services.gateway.problems import Problem

_STYLE = """\
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24; }
code, pre { font: 14px/1.4 ui-monospace, monospace; background: #f3f4f6; border-radius: 4px; }
code { padding: 0 .25rem; } pre { padding: .75rem; overflow-x: auto; } nav a { margin-right: .75rem; }
section { border-top: 1px solid #d8dbe0; margin-top: 1.5rem; }
@media (prefers-color-scheme: dark) { body { background: #14171a; color: #e4e7eb; } a { color: #8ab4f8; }
  code, pre { background: #22262b; } section { border-color: #333940; } }
"""
_SCALAR = {
    "withDefaultFonts": False,
    "telemetry": False,
    "hideClientButton": True,
    "showDeveloperTools": "never",
    "agent": {"disabled": True},
    "mcp": {"disabled": True},
}
"""Nothing that would ask another host."""


def front() -> str:
    """What this is, and where to read on: the front page where the real one is not built."""
    return _page(
        "Subtide",
        """
        <h1>Subtide</h1>
        <p>Long recordings in, speaker-labelled subtitles out.</p>
        <pre>curl -F file=@talk.mp4 http://localhost:8000/api/jobs/submit</pre>
        <ul>
          <li><a href="/docs">API reference</a> (<a href="/schema/openapi.json">OpenAPI</a>)</li>
          <li><a href="/asyncapi">Facts and websocket</a> (<a href="/asyncapi.json">AsyncAPI</a>)</li>
          <li><a href="/health/ready">Health</a></li>
        </ul>
        """,
    )


@get("/docs", include_in_schema=False, media_type=MediaType.HTML)
async def docs(request: Request[Any, Any, Any]) -> str:
    """The API reference; a plain list of routes where its script is not installed."""
    if scalar_path().is_file():
        configuration = escape(msgspec.json.encode(_SCALAR).decode())
        return _page(
            "Subtide API",
            f'<script id="api-reference" data-url="/schema/openapi.json" data-configuration="{configuration}"></script>'
            '<script src="/assets/scalar.js"></script>',
            styled=False,
        )
    schema = request.app.openapi_schema
    routes = "".join(
        f"<li><code>{method.upper()} {escape(path)}</code> {escape(operation.summary or '')}</li>"
        for path, item in sorted((schema.paths or {}).items())
        for method in ("get", "post", "delete")
        if (operation := getattr(item, method)) is not None
    )
    return _page(
        "Subtide API",
        f'<h1>Subtide API</h1><p>The whole of it: <a href="/schema/openapi.json">/schema/openapi.json</a>. '
        f"<code>subtide assets pull</code> installs the readable reference.</p><ul>{routes}</ul>",
    )


@get("/asyncapi", include_in_schema=False, media_type=MediaType.HTML)
async def facts_page() -> str:
    """The facts, readable."""
    return _page("Subtide facts", asyncapi.page(_asyncapi()))


@get("/asyncapi.json", include_in_schema=False)
async def facts_document() -> dict[str, Any]:
    """The facts, as AsyncAPI."""
    return _asyncapi()


@get("/assets/pages.css", include_in_schema=False, media_type="text/css")
async def style() -> str:
    """The style of the plain pages."""
    return _STYLE


@get("/assets/scalar.js", include_in_schema=False)
async def scalar() -> Response[Any]:
    """The script of the API reference."""
    path = scalar_path()
    if not path.is_file():
        raise Problem(404, "not_installed", "The script is not installed: run `subtide assets pull`.")
    return File(
        path,
        media_type="text/javascript",
        content_disposition_type="inline",
        headers={"Cache-Control": "public, max-age=86400"},
    )


@cache
def _asyncapi() -> dict[str, Any]:
    return asyncapi.document(version("subtide"))


def _page(title: str, body: str, *, styled: bool = True) -> str:
    style_link = '<link rel="stylesheet" href="/assets/pages.css">' if styled else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><link rel="icon" href="data:,">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"{style_link}</head><body>{body}</body></html>"
    )


ROUTES = [docs, facts_page, facts_document, style, scalar]
