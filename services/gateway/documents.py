"""`python -m services.gateway.documents FOLDER` writes what the API says of itself, for whoever makes types from it.

OpenAPI, AsyncAPI, and the shapes inside stored results that neither of them spells out. Needs no server.
"""

import asyncio
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
from litestar.di import Dependency

from contracts.languages import LANGUAGES
from contracts.transcript import Segment, Turn
from services.gateway import app, asyncapi, sockets
from services.gateway.settings import Settings

_FROM_SETTINGS = {"settings", "secret", "credential", "caller"}
"""What `build` makes by itself; everything else that routes stand on need not be there to describe them."""


def documents() -> dict[str, Any]:
    """File name to content."""
    _, schemas = msgspec.json.schema_components([Segment, Turn], ref_template="#/definitions/{name}")
    return {
        "openapi.json": _without_examples(msgspec.json.decode(asyncio.run(_asked("/schema/openapi.json")))),
        "asyncapi.json": asyncapi.document(version("subtide")),
        "transcript.json": {"definitions": schemas},
        "languages.json": sorted(LANGUAGES),
    }


def main(folder: Path) -> None:
    """Write them, each only where it changed, so that what is made from it need not be made again."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in documents().items():
        written = msgspec.json.format(msgspec.json.encode(content, order="sorted"), indent=1) + b"\n"
        path = folder / name
        if not path.is_file() or path.read_bytes() != written:
            path.write_bytes(written)


async def _asked(path: str) -> bytes:
    """The answer of the app without a server."""
    body = bytearray()

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        assert message.get("status", 200) == 200, message
        body.extend(message.get("body", b""))

    described = app.build(Settings(), **dict.fromkeys(_parts()))
    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "scheme": "http", "http_version": "1.1", "root_path": "", "server": ("", 80), "client": ("", 0),
        "asgi": {"version": "3.0"},
    }  # fmt: skip
    await described(scope, receive, send)
    return bytes(body)


def _without_examples(described: Any) -> Any:
    """The document without what the framework makes up, differently each time."""
    if isinstance(described, dict):
        return {key: _without_examples(value) for key, value in described.items() if key != "examples"}
    if isinstance(described, list):
        return [_without_examples(value) for value in described]
    return described


def _parts() -> set[str]:
    """Names of what the routes are given."""
    modules = [module for module in vars(app).values() if hasattr(module, "ROUTES")]
    names: set[str] = set()
    for handler in [*(handler for module in modules for handler in module.ROUTES), sockets.watch_jobs]:
        for name, annotation in get_type_hints(handler.fn, include_extras=True).items():
            if any(isinstance(one, Dependency) for one in getattr(annotation, "__metadata__", ())):
                names.add(name)
    return names - _FROM_SETTINGS


if __name__ == "__main__":
    main(Path(sys.argv[1]))
