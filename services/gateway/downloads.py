"""A finished format as a download: name, type, validator, ranges (RFC 9110, RFC 6266)."""

import re
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Response
from litestar.response import Stream

from chassis.store import Missing, Store
from contracts.artifacts import ArtifactRef
from contracts.captioning import CAPTION_FORMATS, PRESETS, of_preset
from contracts.progress import JobView, Status
from services.gateway.problems import Problem

CONTENT_TYPES = {
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
    "json": "application/json",
    "txt": "text/plain; charset=utf-8",
}

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_SUFFIX = re.compile(r"\.(?=[A-Za-z0-9]*[A-Za-z])[A-Za-z0-9]{1,5}$")
"""What ends the name of a recording: not every point in a title begins one."""
_NOT_PLAIN = re.compile(r'[^\x20-\x7e]|["\\%]')


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The request headers that decide what is sent."""

    head: bool = False
    range: str | None = None
    if_range: str | None = None
    if_none_match: str | None = None


async def download(store: Store, view: JobView, name: str, asked: Asked, preset: str | None = None) -> Response[Any]:
    """The response for one format of a job. Raises Problem where there is none, Missing where it is gone.

    Without a preset captions are in that of the job; what is no caption is the same in all.
    """
    if name not in CONTENT_TYPES:
        raise Problem(404, "unknown_format", f"There are the formats {', '.join(CONTENT_TYPES)}.")
    if preset is not None and preset not in PRESETS:
        raise Problem(404, "unknown_preset", f"There are the presets {', '.join(PRESETS)}.", field="preset")
    if view.status is not Status.COMPLETED or name not in view.results:
        raise Problem(409, "not_finished", f"The job has no subtitles yet; it is {view.status}.")
    stored = _in_preset(view, name, preset)
    ref = view.results[stored]
    found = await store.find(ref.key)
    if found is None:
        raise Missing(ref.key)
    etag = _etag(ref, stored)
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Type": CONTENT_TYPES[name],
        "Content-Disposition": disposition(view.filename, stored),
    }
    if asked.if_none_match is not None and _names(asked.if_none_match, etag):
        return Response(None, status_code=304, headers=_without(headers, "Content-Type", "Content-Disposition"))
    span = None
    if asked.range is not None and asked.if_range in (None, etag):
        span = byte_range(asked.range, found.bytes)
    start, end = span or (0, found.bytes)
    headers["Content-Length"] = str(end - start)
    if span:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{found.bytes}"
    status = 206 if span else 200
    if asked.head or start == end:
        return Response(b"", status_code=status, headers=headers, media_type=CONTENT_TYPES[name])
    return Stream(
        store.stream(ref.key, start=start, end=end),
        status_code=status,
        headers=headers,
        media_type=CONTENT_TYPES[name],
    )


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """First byte and end (exclusive) of a Range; None where it is to be ignored: malformed, or several ranges.

    Raises Problem (416) where it lies outside the file.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first and last and int(first) > int(last):
        return None
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last) + 1, size) if first and last else size
    if start >= size or start >= end:
        raise Problem(416, "range_outside", f"The file has {size} bytes.", headers={"Content-Range": f"bytes */{size}"})
    return start, end


def disposition(filename: str, name: str) -> str:
    """`attachment` with the upload's name and the format's suffix, for old and for new clients (RFC 6266)."""
    stem = _SUFFIX.sub("", filename) or filename
    full = f"{stem}.{name}"
    plain = _NOT_PLAIN.sub("_", full)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(full, safe='')}"


def _in_preset(view: JobView, name: str, preset: str | None) -> str:
    """The result that holds a format in a preset. Raises Problem where the job is older than the presets."""
    if preset is None or name not in CAPTION_FORMATS:
        return name
    stored = of_preset(preset, name)
    if stored not in view.results:
        raise Problem(
            409,
            "preset_not_made",
            f"This job was made before there were captions in the preset {preset}. Submit the recording again.",
        )
    return stored


def _etag(ref: ArtifactRef, name: str) -> str:
    return f'"{ref.digest[:32]}-{name}"'


def _names(if_none_match: str, etag: str) -> bool:
    named = [one.strip().removeprefix("W/") for one in if_none_match.split(",")]
    return "*" in named or etag in named


def _without(headers: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in names}
