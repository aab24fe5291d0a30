"""The body of a request, read as it comes in and never beyond what is accepted."""

from collections.abc import AsyncIterator
from typing import Any

from litestar import Request
from litestar.exceptions import HTTPException

from services.gateway.problems import Problem, file_too_large, request_too_large

JSON_BYTES_MAX = 64 << 10
"""Of a submit that names its recording."""


async def blocks(request: Request[Any, Any, Any], max_file_bytes: int) -> AsyncIterator[bytes]:
    """The body block by block. The framework's words for a broken or endless one become ours."""
    try:
        async for block in request.stream():
            if block:
                yield block
    except HTTPException as error:
        if error.status_code == 413:
            raise file_too_large(max_file_bytes) from error
        raise Problem(400, "upload_interrupted", "The upload broke off.") from error


async def whole(request: Request[Any, Any, Any], limit: int = JSON_BYTES_MAX) -> bytes:
    """A body that is no file. Raises Problem where it is too large for that."""
    body = bytearray()
    async for block in blocks(request, limit):
        body += block
        if len(body) > limit:
            raise request_too_large(limit)
    return bytes(body)


def announced(request: Request[Any, Any, Any]) -> int | None:
    """The length that a body says it has."""
    given = request.headers.get("content-length", "")
    return int(given) if given.isdecimal() else None
