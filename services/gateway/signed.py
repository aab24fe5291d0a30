"""Straight to the store: an upload whose parts the client puts at signed addresses, and then completes."""

import time
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post, put
from litestar.di import NamedDependency as Given
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, PathParameter, QueryParameter

from chassis.store import Store
from services.gateway import form, idempotency, incoming, shapes, signing
from services.gateway.entries import Changed
from services.gateway.openapi import PartOperation
from services.gateway.problems import Problem, documented
from services.gateway.receiving import lease_left_s
from services.gateway.settings import Settings
from services.gateway.staging import Staging
from services.gateway.submit import OWNER
from services.gateway.tus import Credential, UploadId
from services.gateway.uploads import Asked, Kept, Uploads

_PATH = "/api/uploads"

CreationKey = Annotated[
    str | None,
    HeaderParameter(
        name=idempotency.HEADER,
        required=False,
        schema_extra={"minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},  # only said: the answer is our own
        description=f"{idempotency.FORM}. Sent again with the same length and filename, the answer is the upload that "
        f"there is. {idempotency.HOLDS}",
    ),
]


class Announced(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file that is to come."""

    length: Annotated[
        int,
        # A larger one is refused for being more than the server accepts, and not for its form.
        msgspec.Meta(ge=1, description="Bytes of the file.", extra_json_schema={"maximum": (1 << 53) - 1}),
    ]
    filename: Annotated[str, msgspec.Meta(max_length=1024, description="What the recording is called.")] = ""


class Completion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All parts are there."""

    sha256: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^[0-9a-fA-F]{64}\Z",
            description="Of the whole file, hex: the upload is complete only if its bytes have it.",
            extra_json_schema={"pattern": "^[0-9a-fA-F]{64}$"},
        ),
    ] = ""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the file, and where it goes: a request of that method with those headers and its bytes."""

    number: int
    """From 1, in the order of the file."""
    url: str
    method: str
    headers: dict[str, str]
    bytes: int
    """Its size; the file's next bytes."""
    bytes_there: int
    """What is there already."""


class SignedUpload(msgspec.Struct, frozen=True, kw_only=True):
    """Put each part at its address, in any order, and then complete the upload."""

    upload_id: str
    length: int
    part_bytes: int
    """Size of each part but the last."""
    completed: bool
    """Whether it is whole: then a job can be made of it, and there are no parts any more."""
    parts: list[Part]
    addresses_expire_at: datetime
    """From then on the addresses do not hold; ask for new ones."""
    expires_at: datetime
    """When the upload is forgotten if nobody asks for addresses or completes it."""
    complete: str
    """Where to say that all parts are there."""


class CreatedSigned(SignedUpload, frozen=True, kw_only=True):
    """As `SignedUpload`, of a new one."""

    upload_token: str
    """Opens the upload, and nothing else can; given out once, here."""


class Completed(msgspec.Struct, frozen=True, kw_only=True):
    """The upload is whole: submit it."""

    upload_id: str
    length: int


@post(
    f"{_PATH}/signed",
    status_code=201,
    tags=["uploads"],
    summary="Begin an upload straight to the store",
    operation_class=shapes.described(Announced),
    responses=documented(400, 413, 415, 422, 429, 503),
)
async def create(
    request: Request[Any, Any, Any],
    uploads: Given[Uploads],
    staging: Given[Staging],
    store: Given[Store],
    settings: Given[Settings],
    secret: Given[bytes],
    caller: Given[str],
    _key: CreationKey = None,
) -> CreatedSigned:
    """Answers where each part of the file goes: into the bucket, or to the gateway where the store is a disk."""
    data = await shapes.read(request, Announced)
    if data.length > settings.max_upload_bytes:
        raise Problem(
            413,
            "file_too_large",
            f"The file has {data.length:,} bytes, and this server accepts at most {settings.max_upload_bytes:,}.",
            field="length",
        )
    key = idempotency.key(request.headers.getall(idempotency.HEADER, []))
    identity = idempotency.derived(key, f"uploads {caller}", secret) if key is not None else idempotency.new()
    asked = Asked(
        length=data.length,
        filename=form.clean_filename(data.filename),
        metadata="",
        signed_part_bytes=settings.upload_signed_part_bytes,
    )
    kept = await uploads.create(identity, asked, owner=OWNER, counted_as=caller)
    shown = await _shown(request, kept, staging, store, settings, secret)
    return CreatedSigned(**msgspec.structs.asdict(shown), upload_token=identity.token)


@get(
    f"{_PATH}/{{upload_id:str}}/signed",
    tags=["uploads"],
    summary="Get new addresses for the parts of an upload",
    responses=documented(400, 404, 409, 503),
)
async def renew(
    request: Request[Any, Any, Any],
    upload_id: UploadId,
    uploads: Given[Uploads],
    staging: Given[Staging],
    store: Given[Store],
    settings: Given[Settings],
    secret: Given[bytes],
    credential: Credential,
) -> SignedUpload:
    """And how many bytes of each part are there already. The upload is kept for longer by that."""
    kept = _signed(await uploads.opened(upload_id, credential))
    if not kept.upload.whole and not lease_left_s(kept.upload):
        with suppress(Changed):  # by somebody who keeps it as well
            kept = await uploads.save(kept, kept.upload)
    return await _shown(request, kept, staging, store, settings, secret)


@put(
    f"{_PATH}/{{upload_id:str}}/parts/{{number:int}}",
    status_code=200,
    tags=["uploads"],
    summary="Put one part of an upload",
    operation_class=PartOperation,
    security=[{}],
    responses={200: ResponseSpec(None, description="The part is there."), **documented(400, 404, 409, 413, 503, 507)},
)
async def put_part(
    request: Request[Any, Any, Any],
    upload_id: UploadId,
    number: Annotated[int, PathParameter(description="The number of the part.")],
    uploads: Given[Uploads],
    staging: Given[Staging],
    settings: Given[Settings],
    secret: Given[bytes],
    expires: Annotated[str, QueryParameter(description="As the address has it.", required=False)] = "",
    signature: Annotated[str, QueryParameter(description="As the address has it.", required=False)] = "",
) -> Response[bytes]:
    """What the addresses of parts are where the store is a disk. The body is the part, in place of what is there."""
    if not signing.holds(upload_id, number, expires, signature, secret=secret, now_s=time.time()):
        raise _no_address()
    kept = await uploads.named(upload_id)
    body = incoming.blocks(request, settings.max_upload_bytes)
    await staging.put(kept.upload, number, body, announced=incoming.announced(request))
    return Response(b"", media_type="text/plain")


@post(
    f"{_PATH}/{{upload_id:str}}/complete",
    status_code=200,
    tags=["uploads"],
    summary="Complete an upload whose parts are there",
    operation_class=shapes.described(Completion, may_be_empty=True),
    responses=documented(400, 404, 409, 413, 415, 423, 460, 503, 507),
)
async def complete(
    request: Request[Any, Any, Any],
    upload_id: UploadId,
    uploads: Given[Uploads],
    staging: Given[Staging],
    credential: Credential,
) -> Completed:
    """Checks each part's size, and the file's SHA-256 if there is one. Sent again, it goes on, or answers the same."""
    data = await shapes.read(request, Completion, may_be_empty=True)
    kept = _signed(await uploads.opened(upload_id, credential))
    await staging.complete(kept, data.sha256.lower())
    return Completed(upload_id=upload_id, length=kept.upload.length)


async def _shown(
    request: Request[Any, Any, Any], kept: Kept, staging: Staging, store: Store, settings: Settings, secret: bytes
) -> SignedUpload:
    upload = kept.upload
    addresses = await signing.addresses(
        store,
        kept,
        hold_s=settings.upload_signed_s,
        base_url=settings.public_url or str(request.base_url),
        secret=secret,
    )
    parts: list[Part] = []
    if not upload.whole:
        there = await staging.sizes(upload)
        sized = zip(addresses.urls, upload.staged_sizes, there, strict=True)
        parts = [
            Part(number=number, url=url, method="PUT", headers=addresses.headers, bytes=size, bytes_there=found)
            for number, (url, size, found) in enumerate(sized, 1)
        ]
    return SignedUpload(
        upload_id=kept.upload_id,
        length=upload.length,
        part_bytes=upload.signed_part_bytes or 0,
        completed=upload.whole,
        parts=parts,
        addresses_expire_at=addresses.expire_at,
        expires_at=upload.expires_at,
        complete=f"{_PATH}/{kept.upload_id}/complete",
    )


def _signed(kept: Kept) -> Kept:
    if kept.upload.signed_part_bytes is None:
        raise Problem(409, "upload_not_signed", "This upload is sent by tus: it has no parts with addresses.")
    return kept


def _no_address() -> Problem:
    """The same whatever there is: for a signature that is not ours, and for one whose time is over."""
    return Problem(
        404,
        "address_not_found",
        "This is no address that was given out for a part, or its time is over. Ask for new ones: GET "
        f"{_PATH}/{{upload_id}}/signed.",
    )


ROUTES = [create, renew, put_part, complete]
