"""Resumable upload by the tus protocol 1.0.0 (https://tus.io/protocols/resumable-upload): core, creation,
creation-with-upload, termination, expiration, checksum.
"""

import base64
import binascii
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from email.utils import format_datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, head, patch, post, route
from litestar.di import NamedDependency as Given
from litestar.enums import HttpMethod, ScopeType
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import PathParameter
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from chassis.store import Missing
from services.gateway import form, idempotency, incoming
from services.gateway.openapi import BytesOperation, CreateOperation, TusOperation
from services.gateway.problems import Problem, documented
from services.gateway.receiving import CHECKSUMS, Checksum, Receiving
from services.gateway.settings import Settings
from services.gateway.submit import OWNER
from services.gateway.uploads import Asked, Kept, Uploads

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,termination,expiration,checksum"
CONTENT_TYPE = "application/offset+octet-stream"

_PATH = "/api/uploads"
_MANAGED = re.compile(rf"{_PATH}(/[0-9a-f]{{48}})?/?")
_METADATA_BYTES_MAX = 4096
_METADATA_KEY = re.compile(r"[\x21-\x2b\x2d-\x7e]+")
_METADATA_KEY_MAX = 255
_DIGITS_MAX = 100
_OVERRIDES = {"HEAD", "PATCH", "DELETE"}

Credential = Given[str | None]
UploadId = Annotated[str, PathParameter(description="The id from the creation.", max_length=64)]


class Created(msgspec.Struct, frozen=True, kw_only=True):
    """The upload is there; send its bytes with PATCH, then submit it."""

    upload_id: str
    upload_token: str
    """Opens the upload, and nothing else can; given out once, here."""
    offset: int
    length: int
    expires_at: datetime
    """When it is forgotten if nothing more comes."""


@route(
    [_PATH, f"{_PATH}/{{upload_id:str}}"],
    http_method=[HttpMethod.OPTIONS],
    status_code=204,
    include_in_schema=False,
    sync_to_thread=False,
)
def describe(settings: Given[Settings]) -> Response[None]:
    """What is spoken here."""
    return Response(
        None,
        headers={
            "Tus-Resumable": VERSION,
            "Tus-Version": VERSION,
            "Tus-Extension": EXTENSIONS,
            "Tus-Max-Size": str(settings.max_upload_bytes),
            "Tus-Checksum-Algorithm": ",".join(CHECKSUMS),
        },
    )


@post(
    _PATH,
    status_code=201,
    tags=["uploads"],
    summary="Begin a resumable upload",
    operation_class=CreateOperation,
    responses=documented(400, 409, 412, 413, 415, 422, 429, 460, 503, 507),
)
async def create(
    request: Request[Any, Any, Any],
    uploads: Given[Uploads],
    receiving: Given[Receiving],
    settings: Given[Settings],
    secret: Given[bytes],
    caller: Given[str],
) -> Response[Created]:
    """The headers are those of tus 1.0.0: `Tus-Resumable`, `Upload-Length`, `Upload-Metadata` (`filename`)."""
    _spoken(request)
    asked = _asked(request, settings.max_upload_bytes)
    key = idempotency.key(request.headers.getall(idempotency.HEADER, []))
    identity = idempotency.derived(key, f"uploads {caller}", secret) if key is not None else idempotency.new()
    announced = incoming.announced(request)
    has_body = bool(announced) or "transfer-encoding" in request.headers
    checksum = _checksum(request)
    if has_body:
        _of_type(request)
    kept = await uploads.create(identity, asked, owner=OWNER, counted_as=caller)
    upload = kept.upload
    blocks = incoming.blocks(request, settings.max_upload_bytes)
    if has_body and upload.offset:  # a try before has sent some
        with suppress(Missing):  # which became a job, and is deleted
            await receiving.compare(upload, blocks)
    elif has_body:
        try:
            upload = await receiving.receive(kept, 0, blocks, announced=announced, checksum=checksum)
        except Problem:
            if not identity.keyed:  # nobody has heard of it
                await uploads.remove(await uploads.again(kept))
            raise
    created = Created(
        upload_id=kept.upload_id,
        upload_token=identity.token,
        offset=upload.offset,
        length=upload.length,
        expires_at=upload.expires_at,
    )
    headers = _state(Kept(kept.upload_id, upload, 0)) | {"Location": f"{_PATH}/{kept.upload_id}?token={identity.token}"}
    return Response(created, headers=headers)


@head(
    f"{_PATH}/{{upload_id:str}}",
    status_code=200,
    tags=["uploads"],
    summary="Ask how far an upload is",
    operation_class=TusOperation,
    responses={200: ResponseSpec(None, description="`Upload-Offset` says it."), **documented(400, 404, 412, 503)},
)
async def look(
    request: Request[Any, Any, Any], upload_id: UploadId, uploads: Given[Uploads], credential: Credential
) -> Response[None]:
    """`Upload-Offset` is where to go on."""
    _spoken(request)
    kept = await uploads.opened(upload_id, credential)
    headers = _state(kept) | {"Upload-Length": str(kept.upload.length), "Cache-Control": "no-store"}
    if kept.upload.metadata:
        headers["Upload-Metadata"] = kept.upload.metadata
    return Response(None, headers=headers)


@patch(
    f"{_PATH}/{{upload_id:str}}",
    status_code=204,
    tags=["uploads"],
    summary="Send bytes of an upload",
    operation_class=BytesOperation,
    responses=documented(400, 404, 409, 412, 413, 415, 423, 460, 503, 507),
)
async def send(
    request: Request[Any, Any, Any],
    upload_id: UploadId,
    uploads: Given[Uploads],
    receiving: Given[Receiving],
    settings: Given[Settings],
    credential: Credential,
) -> Response[None]:
    """Goes on at `Upload-Offset`; one request at a time. Whatever breaks, what has arrived is kept."""
    _spoken(request)
    _of_type(request)
    offset = _number(request, "Upload-Offset")
    checksum = _checksum(request)
    kept = await uploads.opened(upload_id, credential)
    if kept.upload.signed_part_bytes is not None:
        raise Problem(
            409, "upload_signed", "The bytes of this upload are put at the addresses of its parts, not sent by tus."
        )
    upload = await receiving.receive(
        kept,
        offset,
        incoming.blocks(request, settings.max_upload_bytes),
        announced=incoming.announced(request),
        checksum=checksum,
    )
    return Response(None, headers=_state(Kept(upload_id, upload, 0)))


@delete(
    f"{_PATH}/{{upload_id:str}}",
    status_code=204,
    tags=["uploads"],
    summary="End an upload",
    operation_class=TusOperation,
    responses=documented(400, 404, 409, 412, 503),
)
async def end(
    request: Request[Any, Any, Any], upload_id: UploadId, uploads: Given[Uploads], credential: Credential
) -> Response[None]:
    """What has arrived is deleted."""
    _spoken(request)
    await uploads.remove(await uploads.opened(upload_id, credential))
    return Response(None)


def speaking(app: ASGIApp, max_upload_bytes: int) -> Callable[[Scope, Receive, Send], Any]:
    """The app, where a client that has no PATCH may name it in a header, and every answer says the version."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or not _MANAGED.fullmatch(scope["path"]):
            await app(scope, receive, send)
            return
        if scope["method"] == "POST":
            given = {name.lower(): value for name, value in scope["headers"]}
            override = given.get(b"x-http-method-override", b"").decode("latin-1").upper()
            if override in _OVERRIDES:
                scope["method"] = HttpMethod(override)

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["method"] != "OPTIONS":
                said = [(b"tus-resumable", VERSION.encode())]
                if message["status"] == 413:
                    said.append((b"tus-max-size", str(max_upload_bytes).encode()))
                message["headers"] = [*message["headers"], *said]
            await send(message)

        await app(scope, receive, sent)

    return serve


def _state(kept: Kept) -> dict[str, str]:
    return {
        "Upload-Offset": str(kept.upload.offset),
        "Upload-Expires": format_datetime(kept.upload.expires_at, usegmt=True),
    }


def _spoken(request: Request[Any, Any, Any]) -> None:
    if request.headers.get("tus-resumable") != VERSION:
        raise Problem(
            412,
            "tus_version",
            f"Say which version of tus this is, by the header Tus-Resumable: {VERSION}.",
            headers={"Tus-Version": VERSION},
        )


def _of_type(request: Request[Any, Any, Any]) -> None:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != CONTENT_TYPE:
        raise Problem(415, "wrong_content_type", f"Send the bytes as Content-Type: {CONTENT_TYPE}.")


def _number(request: Request[Any, Any, Any], header: str) -> int:
    given = request.headers.get(header, "")
    if not (given.isascii() and given.isdecimal()):
        raise Problem(400, "invalid_header", f"{header} is missing, or is no number of bytes.", field=header)
    if len(given) > _DIGITS_MAX:
        raise Problem(
            400, "invalid_header", f"{header} has {len(given):,} digits, and may have {_DIGITS_MAX:,}.", field=header
        )
    return int(given)


def _asked(request: Request[Any, Any, Any], max_upload_bytes: int) -> Asked:
    for unsupported in ("Upload-Defer-Length", "Upload-Concat"):
        if unsupported in request.headers:
            raise Problem(
                400,
                "not_supported",
                f"{unsupported} is not supported: announce one whole file by Upload-Length.",
                field=unsupported,
            )
    length = _number(request, "Upload-Length")
    if length > max_upload_bytes:
        raise Problem(
            413,
            "file_too_large",
            f"The file has {length:,} bytes, and this server accepts at most {max_upload_bytes:,}.",
        )
    metadata = request.headers.get("upload-metadata", "")
    known = _metadata(metadata)
    filename = form.clean_filename(known.get("filename") or known.get("name") or "")
    return Asked(length=length, filename=filename, metadata=metadata)


def _metadata(header: str) -> dict[str, str]:
    if len(header) > _METADATA_BYTES_MAX:
        raise Problem(
            400,
            "metadata_too_long",
            f"Upload-Metadata has {len(header):,} bytes, and may have {_METADATA_BYTES_MAX:,}.",
            field="Upload-Metadata",
        )
    known: dict[str, str] = {}
    for pair in header.split(",") if header.strip() else []:
        key, _, value = pair.strip().partition(" ")
        try:
            text = base64.b64decode(value.strip(), validate=True).decode(errors="replace")
        except (binascii.Error, ValueError) as error:
            raise _wrong_metadata() from error
        if not _METADATA_KEY.fullmatch(key) or key in known:
            raise _wrong_metadata()
        if len(key) > _METADATA_KEY_MAX:
            raise _wrong_metadata(f"A name in it has {len(key):,} characters, and may have {_METADATA_KEY_MAX:,}.")
        known[key] = text
    return known


def _wrong_metadata(what: str = "") -> Problem:
    form = "Upload-Metadata is a list, by comma, of names and, after a blank, values in base64; each name once."
    return Problem(400, "invalid_metadata", f"{form} {what}".rstrip(), field="Upload-Metadata")


def _checksum(request: Request[Any, Any, Any]) -> Checksum | None:
    given = request.headers.get("upload-checksum")
    if given is None:
        return None
    algorithm, _, encoded = given.strip().partition(" ")
    if algorithm not in CHECKSUMS:
        raise Problem(
            400,
            "unknown_checksum",
            f"Upload-Checksum is one of {', '.join(CHECKSUMS)}, followed by a blank and the digest in base64.",
            field="Upload-Checksum",
        )
    try:
        digest = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != CHECKSUMS[algorithm](usedforsecurity=False).digest_size:
        raise Problem(400, "invalid_checksum", f"Upload-Checksum is no {algorithm} in base64.", field="Upload-Checksum")
    return Checksum(algorithm, digest)


ROUTES = [describe, create, look, send, end]
