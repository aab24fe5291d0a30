"""The page as it was built by `make web`: one document for every address of it, and its files, which never change.

Where nothing was built, as in a clone without Node, the plain front page is served in its place.
"""

from pathlib import Path
from typing import Any

from litestar import MediaType, Request, Response, get
from litestar.params import FromPath
from litestar.response import File

from services.gateway import pages
from services.gateway.problems import nothing_here

STATIC = Path(__file__).parent / "static"
"""Where `web/build.py` puts what it built: `index.html` and, under `assets/web/`, files whose names carry their hash,
gzipped ones beside them."""

_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2"}
_FOREVER = "public, max-age=31536000, immutable"


@get(["/", "/jobs/{job_id:str}"], include_in_schema=False, media_type=MediaType.HTML)
async def document() -> Response[Any]:
    """The page; what it shows follows from its address, which it reads itself."""
    built = STATIC / "index.html"
    if not built.is_file():
        return Response(pages.front(), media_type=MediaType.HTML)
    return Response(built.read_bytes(), media_type=MediaType.HTML, headers={"Cache-Control": "no-cache"})


@get("/assets/web/{name:str}", include_in_schema=False)
async def file(request: Request[Any, Any, Any], name: FromPath[str]) -> File:
    """A file of the page: its name changes with its content."""
    path = STATIC / "assets" / "web" / Path(name).name
    kind = _TYPES.get(path.suffix)
    if kind is None or not path.is_file():
        raise nothing_here()
    headers = {"Cache-Control": _FOREVER, "Vary": "Accept-Encoding"}
    small = path.with_name(f"{path.name}.gz")
    if small.is_file() and "gzip" in request.headers.get("accept-encoding", ""):
        path = small
        headers["Content-Encoding"] = "gzip"
    return File(path, media_type=kind, content_disposition_type="inline", headers=headers)


@get("/service-worker.js", include_in_schema=False)
async def service_worker() -> File:
    """What hears notifications while the page is closed. Its place is its scope, so it lies at the root."""
    path = STATIC / "service-worker.js"
    if not path.is_file():
        raise nothing_here()
    headers = {"Cache-Control": "no-cache"}
    return File(path, media_type="text/javascript", content_disposition_type="inline", headers=headers)


ROUTES = [document, file, service_worker]
