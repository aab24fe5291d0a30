"""The routes of batches."""

from typing import Annotated, Any

from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency as Given
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import PathParameter, QueryParameter
from litestar.response import Stream

from services.gateway import bundle, idempotency, incoming, naming
from services.gateway.batches import AcceptedBatch, Batch, Batches, identities
from services.gateway.downloads import disposition
from services.gateway.handler import Credential, IdempotencyKey
from services.gateway.openapi import BatchOperation
from services.gateway.problems import Problem, documented

BODY_BYTES_MAX = 512 << 10
"""Of the JSON that names the recordings."""

BatchId = Annotated[str, PathParameter(description="The id from the submit of the batch.", max_length=64)]


@post(
    "/api/batches",
    status_code=202,
    tags=["batches"],
    summary="Submit several recordings",
    operation_class=BatchOperation,
    responses=documented(400, 404, 409, 413, 415, 422, 429, 503, 507),
)
async def submit_batch(
    request: Request[Any, Any, Any],
    batches: Given[Batches],
    secret: Given[bytes],
    caller: Given[str],
    _key: IdempotencyKey = None,
) -> AcceptedBatch:
    """Finished uploads, or addresses, with the same parameters. All of them are accepted, or none."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "not_json", "Send the batch as application/json.")
    named = naming.read_batch(await incoming.whole(request, BODY_BYTES_MAX))
    key = idempotency.key(request.headers.getall(idempotency.HEADER, []))
    identity, of_items = identities(key, caller, secret, len(named.sources))
    return await batches.submit(identity, of_items, named, counted_as=caller)


@get("/api/batches/{batch_id:str}", tags=["batches"], summary="Get a batch", responses=documented(400, 404, 503))
async def get_batch(batch_id: BatchId, batches: Given[Batches], credential: Credential) -> Batch:
    """How far its jobs are, and all of it together."""
    return batches.shown(await batches.opened(batch_id, credential))


@delete(
    "/api/batches/{batch_id:str}",
    status_code=200,
    tags=["batches"],
    summary="Cancel a batch",
    responses=documented(400, 404, 409, 503),
)
async def cancel_batch(
    batch_id: BatchId,
    batches: Given[Batches],
    credential: Credential,
    running: Annotated[bool, QueryParameter(description="Cancel the jobs that run already, too.")] = False,
) -> Batch:
    """Cancel its jobs that still wait; those that run only with `running`."""
    await batches.cancel(await batches.opened(batch_id, credential), running=running)
    return batches.shown(await batches.opened(batch_id, credential))


@get(
    "/api/batches/{batch_id:str}/download",
    status_code=200,
    tags=["batches"],
    summary="Download all subtitles",
    responses={
        200: ResponseSpec(bytes, description="A zip.", media_type="application/zip"),
        **documented(400, 404, 409, 503),
    },
)
async def download_batch(
    batch_id: BatchId,
    batches: Given[Batches],
    credential: Credential,
    formats: Annotated[str, QueryParameter(description="srt, vtt, json, txt, by comma. Default: all.")] = "",
) -> Response[Any]:
    """The results of the jobs that are completed, in one file."""
    wanted = bundle.read_formats(formats)
    opened = await batches.opened(batch_id, credential)
    return Stream(
        batches.results(opened, wanted),
        media_type="application/zip",
        headers={
            "Content-Disposition": disposition(f"subtide-{opened.accepted.job_id[:8]}.zip", "zip"),
            "Cache-Control": "private, no-store",
        },
    )


ROUTES = [submit_batch, get_batch, cancel_batch, download_batch]
