"""The recording itself, for the player beside its transcript: its bytes by ranges, its outline, its captions.

A player cannot send a header, and an address with the owner's token in it would give the job away with "copy video
address". So the page asks for a ticket with its token, and the player's addresses carry that: it opens the media of one
job and nothing else, for half a day, and not after the share that it was made with is revoked.
"""

import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post, route
from litestar.di import NamedDependency as Given
from litestar.enums import HttpMethod
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import PathParameter, QueryParameter
from litestar.response import Stream
from nats.aio.client import Client

from chassis.joblog import JobLog
from chassis.store import Missing, Store
from contracts.artifacts import ArtifactRef, part_keys
from contracts.progress import JobView
from services.gateway import access, downloads
from services.gateway.access import Right
from services.gateway.engine import folded
from services.gateway.handler import Jobs, VersionChoice
from services.gateway.problems import Problem, documented, job_expired, job_not_found
from services.gateway.versions import Versions

TICKET_S = 12 * 3600
"""How long a player may go on with one ticket; the page asks for another where it has ended."""
_TICKET_LENGTH_MAX = 96

_VIDEO = "video"
_TYPES = {
    "mov": "mp4", "mp4": "mp4", "m4a": "mp4", "3gp": "mp4", "matroska": "webm", "webm": "webm", "ogg": "ogg",
    "wav": "wav", "mp3": "mpeg", "flac": "flac", "aac": "aac",
}  # fmt: skip
"""Container, as FFmpeg calls it, to what a browser may take it for. Nothing that could run as a page is among them."""
_UNKNOWN = "application/octet-stream"
_PICTURES = frozenset({"png", "mjpeg", "bmp", "gif", "webp"})
"""Codecs of a cover, which makes no video of a song."""

JobId = Annotated[str, PathParameter(description="The id from the submit.", max_length=64)]
Credential = Given[str | None]
Ticket = Annotated[
    str | None,
    QueryParameter(name="ticket", required=False, max_length=_TICKET_LENGTH_MAX, description="Instead of a token."),
]


class Playable(msgspec.Struct, frozen=True, kw_only=True):
    """What a player needs. The addresses carry a ticket, no token."""

    kind: Literal["audio", "video"]
    content_type: str
    url: str
    captions_url: str | None
    """WebVTT, once the job is completed."""
    expires_in_s: int
    owner: bool
    """Whether the token that asked is the owner's."""


class Peaks(msgspec.Struct, frozen=True, kw_only=True):
    """The outline of the sound: JSON of BBC audiowaveform, version 2, 8 bits."""

    version: int
    channels: int
    sample_rate: int
    samples_per_pixel: int
    bits: int
    length: int
    data: list[int]
    """Lowest and highest sample of each pixel in turn, -128 to 127."""


class Tickets:
    """Makes and checks tickets: an end, and an HMAC over job, end and the hash of the token that asked."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def made(self, view: JobView, token_sha256: str, *, now_s: float) -> str:
        """A ticket for the media of a job."""
        ends = int(now_s) + TICKET_S
        return f"{ends:x}.{self._signed(view.job_id, ends, token_sha256)}"

    def opens(self, view: JobView, ticket: str, *, now_s: float) -> bool:
        """Whether a ticket holds still: it is ours, has not ended, and its token opens the job to this day."""
        ends_text, _, given = ticket.partition(".")
        try:
            ends = int(ends_text, 16)
        except ValueError:
            return False
        hashes = [view.token_sha256, *(share.token_sha256 for share in view.shares if not share.revoked)]
        opened = False
        for token_sha256 in hashes:
            expected = self._signed(view.job_id, ends, token_sha256)
            opened |= hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogatepass"))
        return opened and now_s < ends

    def _signed(self, job_id: str, ends: int, token_sha256: str) -> str:
        said = f"media\n{job_id}\n{ends}\n{token_sha256}"
        return hmac.new(self._secret, said.encode(), hashlib.sha256).hexdigest()


@post(
    "/api/jobs/{job_id:str}/playable",
    status_code=200,
    tags=["media"],
    summary="Get addresses for a player",
    responses=documented(400, 404, 409, 410, 503),
)
async def playable(job_id: JobId, jobs: Given[Jobs], secret: Given[bytes], credential: Credential) -> Playable:
    """Addresses that a player can open by themselves, for twelve hours."""
    view = await jobs.opened(job_id, credential)
    kind, content_type = _kind(view)
    token_sha256 = access.digest(credential or "")
    ticket = Tickets(secret).made(view, token_sha256, now_s=time.time())
    path = f"/api/jobs/{view.job_id}"
    return Playable(
        kind=kind,
        content_type=content_type,
        url=f"{path}/media?ticket={ticket}",
        captions_url=f"{path}/captions?ticket={ticket}" if "vtt" in view.results else None,
        expires_in_s=TICKET_S,
        owner=access.right(view, token_sha256) is Right.OWNER,
    )


@route(
    "/api/jobs/{job_id:str}/media",
    http_method=[HttpMethod.GET, HttpMethod.HEAD],
    status_code=200,
    tags=["media"],
    summary="Play the recording",
    responses={
        200: ResponseSpec(bytes, description="The recording.", media_type="*/*"),
        206: ResponseSpec(bytes, description="A part of it.", media_type="*/*"),
        304: ResponseSpec(None, description="The caller has it already."),
        **documented(400, 404, 409, 410, 416, 503),
    },
)
async def media(
    request: Request[Any, Any, Any],
    job_id: JobId,
    jobs: Given[Jobs],
    store: Given[Store],
    client: Given[Client],
    secret: Given[bytes],
    credential: Credential,
    ticket: Ticket = None,
) -> Response[Any]:
    """The upload as it came, inline; ETag and ranges."""
    view = await (_ticketed(client, job_id, secret, ticket) if ticket else jobs.opened(job_id, credential))
    _, content_type = _kind(view)
    source = view.source
    if source is None:
        raise Missing(job_id)  # it is still being fetched
    for key in part_keys(source):
        if await store.find(key) is None:
            raise Missing(key)
    etag = f'"{source.digest[:32]}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Type": content_type,
        "Content-Disposition": "inline",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    asked = request.headers
    if etag in asked.get("if-none-match", ""):
        return Response(None, status_code=304, headers={**headers, "Content-Length": "0"})
    span = None
    if "range" in asked and asked.get("if-range") in (None, etag):
        span = downloads.byte_range(asked["range"], source.bytes)
    start, end = span or (0, source.bytes)
    headers["Content-Length"] = str(end - start)
    if span:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{source.bytes}"
    status = 206 if span else 200
    if request.method == HttpMethod.HEAD:
        return Response(b"", status_code=status, headers=headers, media_type=content_type)
    return Stream(_part(store, source, start, end), status_code=status, headers=headers, media_type=content_type)


@get(
    "/api/jobs/{job_id:str}/captions",
    tags=["media"],
    summary="Get captions for a player",
    responses={
        200: ResponseSpec(bytes, description="WebVTT.", media_type="text/vtt", generate_examples=False),
        **documented(400, 404, 409, 410, 503),
    },
)
async def captions(
    job_id: JobId,
    jobs: Given[Jobs],
    store: Given[Store],
    client: Given[Client],
    secret: Given[bytes],
    versions: Given[Versions],
    credential: Credential,
    ticket: Ticket = None,
    version: VersionChoice = None,
) -> Response[bytes]:
    """The captions as WebVTT, inline, for the player's track."""
    opened = await (_ticketed(client, job_id, secret, ticket) if ticket else jobs.opened(job_id, credential))
    view = await versions.at(opened, version)
    if "vtt" not in view.results:
        raise Problem(409, "not_finished", f"The job has no subtitles yet; it is {view.status}.")
    return Response(
        await store.get(view.results["vtt"].key),
        media_type="text/vtt; charset=utf-8",
        headers={"Cache-Control": "private, no-cache", "Content-Disposition": "inline"},
    )


@get(
    "/api/jobs/{job_id:str}/peaks",
    tags=["media"],
    summary="Get the waveform",
    responses=documented(400, 404, 409, 410, 503),
)
async def peaks(job_id: JobId, jobs: Given[Jobs], store: Given[Store], credential: Credential) -> Response[Peaks]:
    """The outline of the sound, 4,000 pixels at most."""
    view = await jobs.opened(job_id, credential)
    if view.peaks is None:
        raise _not_read_yet()
    content = msgspec.json.decode(await store.get(view.peaks.key), type=Peaks)
    return Response(content, headers={"Cache-Control": "private, max-age=3600"})


async def _ticketed(client: Client, job_id: str, secret: bytes, ticket: str) -> JobView:
    """The job that a ticket opens. Raises Problem, the same for a wrong ticket as for a wrong token."""
    joblog, tickets = JobLog(client), Tickets(secret)
    try:
        deciding = await joblog.facts_of(job_id, *access.DECIDED_BY)
    except ValueError:
        deciding = []  # an id that no job can have
    view = folded((one.seq, one.fact) for one in deciding)
    if view is not None and tickets.opens(view, ticket, now_s=time.time()):
        view = await joblog.view(job_id)
    else:
        view = None
    if view is None:
        raise job_not_found()
    if view.expired_at is not None:
        raise job_expired(view)
    return view


def _kind(view: JobView) -> tuple[Literal["audio", "video"], str]:
    """What to play it with, and its content type. Raises Problem where nobody has looked into it yet."""
    if view.media is None:
        raise _not_read_yet()
    moving = any(track.kind == _VIDEO and track.codec not in _PICTURES for track in view.media.tracks)
    kind: Literal["audio", "video"] = "video" if moving else "audio"
    names = view.media.container.split(",")
    subtype = next((_TYPES[name] for name in names if name in _TYPES), None)
    return kind, f"{kind}/{subtype}" if subtype is not None else _UNKNOWN


async def _part(store: Store, source: ArtifactRef, start: int, end: int) -> AsyncIterator[bytes]:
    """The bytes `start` to `end` (exclusive), in however many objects they lie."""
    at = 0
    sizes = [size for size in source.parts if size] if source.parts else [source.bytes]
    for key, size in zip(part_keys(source), sizes, strict=True):
        first, last = max(0, start - at), min(size, end - at)
        if first < last:
            async for block in store.stream(key, start=first, end=last):
                yield block
        at += size


def _not_read_yet() -> Problem:
    return Problem(409, "not_read_yet", "The recording has not been read yet. Try again in a moment.")


ROUTES = [playable, media, captions, peaks]
