"""The routes of the API: find the job, check the token, call the part that knows, answer."""

import asyncio
from typing import Annotated, Any

import msgspec
import nats.errors
from litestar import Request, Response, delete, get, post, put, route
from litestar.di import NamedDependency as Given
from litestar.enums import HttpMethod
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, JSONBody, PathParameter, QueryParameter

from chassis.admission import Admission, Limits, State
from chassis.joblog import JobLog
from chassis.store import Missing, Store
from contracts.addresses import Rules
from contracts.addresses import filename as filename_at
from contracts.captioning import PRESETS
from contracts.longest import Longest
from contracts.progress import JobView, Status
from services.gateway import access, addresses, commands, downloads, form, idempotency, incoming, naming
from services.gateway.access import Right
from services.gateway.corrections import NUMBER_MAX
from services.gateway.engine import HighWater, Job, folded, shown
from services.gateway.history import History
from services.gateway.listing import PER_PAGE_MAX, TOKENS_MAX, Listing
from services.gateway.openapi import RawSubmitOperation, SubmitOperation
from services.gateway.problems import Problem, documented, file_too_large, job_expired, job_not_found
from services.gateway.settings import Settings
from services.gateway.submit import Accepted, Intake
from services.gateway.uploads import Uploads
from services.gateway.versions import Versions

Credential = Given[str | None]
JobId = Annotated[str, PathParameter(description="The id from the submit.", max_length=64)]
ShareId = Annotated[int, PathParameter(description="The number from the share.")]
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name=idempotency.HEADER,
        required=False,
        schema_extra={"minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},  # only said: the answer is our own
        description=f"{idempotency.FORM}. Sent again with the same recording and settings, the answer is that of the "
        f"first try, and there is no second job. {idempotency.HOLDS}",
    ),
]
DeedKey = Annotated[
    str | None,
    HeaderParameter(
        name=idempotency.HEADER,
        required=False,
        schema_extra={"minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},  # only said: the answer is our own
        description=f"{idempotency.FORM}. Sent again for the same job, the answer is that of the first try, and "
        f"nothing is done a second time. {idempotency.HOLDS}",
    ),
]
PresetChoice = Annotated[
    str | None,
    QueryParameter(
        required=False,
        max_length=64,
        schema_extra={"enum": list(PRESETS)},  # only said: the answer is our own
        description="Captions in another preset than that of the job.",
    ),
]
VersionChoice = Annotated[
    int | None,
    QueryParameter(
        required=False,
        ge=0,
        le=NUMBER_MAX,
        description="A version of the transcript. Default: the latest.",
        schema_extra={"minimum": 0, "maximum": NUMBER_MAX},  # which the framework leaves out where None is allowed
    ),
]
PageNumber = Annotated[int, QueryParameter(ge=1, le=1_000_000, description="From 1.")]
PerPage = Annotated[int, QueryParameter(ge=1, le=PER_PAGE_MAX, description="Jobs on a page.")]

_LAST_SEQ_S = 1.0


class Jobs:
    """Looks jobs up in the log, for those whose token opens them."""

    def __init__(self, joblog: JobLog, high_water: HighWater, history: History) -> None:
        self._joblog = joblog
        self._high_water = high_water
        self._history = history

    async def opened(self, job_id: str, token: str | None, *, owner: bool = False) -> JobView:
        """The job as it stands. Raises Problem unless the token gives the right, the owner's where asked for."""
        token_sha256 = access.digest(token or "")
        try:
            deciding = await self._joblog.facts_of(job_id, *access.DECIDED_BY)
        except ValueError:
            deciding = []  # an id that no job can have
        right = access.right(folded((one.seq, one.fact) for one in deciding), token_sha256)
        if right is None or (owner and right is not Right.OWNER):
            raise job_not_found()
        recorded = await self._joblog.facts_of(job_id)
        view = folded((one.seq, one.fact) for one in recorded)
        if view is None or access.right(view, token_sha256) is None:
            raise job_not_found()  # revoked, or forgotten by the log, at this moment
        if view.expired_at is not None:
            raise job_expired(view)
        if not view.status.terminal:
            view = folded(((one.seq, one.fact) for one in recorded), await self._joblog.live_progress(job_id)) or view
        return view

    def shown(self, view: JobView) -> Job:
        """What a caller is shown of a job, with no less progress than before."""
        return shown(self._high_water.raised(view), self._history.known())

    async def last_seq(self) -> int | None:
        """How far the log goes; None where it does not say soon, since a list can do without."""
        try:
            async with asyncio.timeout(_LAST_SEQ_S):
                return await self._joblog.last_seq()
        except (nats.errors.Error, TimeoutError):
            return None


class JobPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of the caller's jobs, newest first."""

    jobs: list[Job]
    total: int
    page: int
    per_page: int


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs to list: those that the tokens open."""

    tokens: Annotated[list[str], msgspec.Meta(max_length=TOKENS_MAX)]
    page: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    per_page: Annotated[int, msgspec.Meta(ge=1, le=PER_PAGE_MAX)] = 10


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """How busy the system is, and what it takes."""

    active: int
    max_active: int
    waiting: int
    """Jobs that wait or are being uploaded, of all users."""
    max_queued: int
    """Jobs of one user that may wait."""
    accepting: bool
    """Whether a job of the caller would be let in now."""
    max_upload_bytes: int
    max_fetch_bytes: int | None
    """Largest recording that is fetched from an address; null where none is."""
    max_media_s: float
    """Longest recording."""
    max_batch_items: int
    """Recordings of one batch."""
    max_unfinished_uploads: int
    """Uploads of one client of which no job was made yet."""
    max_jobs_per_socket: int
    """Jobs that one websocket may watch."""
    max_sockets_per_client: int | None
    """Websockets of one client that are open at once. Null here and below: no limit."""
    requests_per_minute: int | None
    """Requests of one client."""
    submits_per_minute: int | None
    """Requests of one client that create something."""


@post(
    "/api/jobs/submit",
    status_code=202,
    tags=["jobs"],
    summary="Send a recording",
    operation_class=SubmitOperation,
    responses=documented(400, 404, 409, 410, 413, 415, 422, 429, 503, 507),
)
async def submit(
    request: Request[Any, Any, Any],
    intake: Given[Intake],
    uploads: Given[Uploads],
    settings: Given[Settings],
    rules: Given[Rules],
    secret: Given[bytes],
    caller: Given[str],
    credential: Credential,
    _key: IdempotencyKey = None,
) -> Accepted:
    """The recording comes along in a form, or JSON names a finished upload, or the address to fetch it from.

    Answered once the job is in the log; an answer below 500 other than 202 has left nothing behind.
    """
    identity = _identity(request, caller, secret)
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() == "application/json":
        named = naming.read(await incoming.whole(request))
        if named.source.source_url:
            address = addresses.accepted(named.source.source_url, rules)
            filename = form.clean_filename(named.source.filename) if named.source.filename else filename_at(address)
            return await intake.submit_address(identity, address, filename, named.parameters, counted_as=caller)
        kept = await uploads.opened(named.source.upload_id or "", named.source.upload_token or credential)
        filename = form.clean_filename(named.source.filename) if named.source.filename else kept.upload.filename
        return await intake.submit_upload(identity, kept, filename, named.parameters, counted_as=caller)
    limit = settings.max_upload_bytes
    _admit(request, limit + form.FORM_OVERHEAD_BYTES, limit)
    body = incoming.blocks(request, limit)
    return await intake.submit(
        identity, lambda save: form.read(content_type, body, save, max_file_bytes=limit), counted_as=caller
    )


@put(
    "/api/jobs/submit/{filename:str}",
    status_code=202,
    tags=["jobs"],
    summary="Send a recording as it is",
    operation_class=RawSubmitOperation,
    responses=documented(400, 409, 410, 413, 422, 429, 503, 507),
)
async def submit_raw(
    request: Request[Any, Any, Any],
    filename: Annotated[str, PathParameter(description="What the recording is called.", max_length=1024)],
    intake: Given[Intake],
    settings: Given[Settings],
    secret: Given[bytes],
    caller: Given[str],
    _key: IdempotencyKey = None,
) -> Accepted:
    """The body is the recording, the query its parameters: `curl -T talk.mp4 '.../api/jobs/submit/?language=en'`."""
    limit = settings.max_upload_bytes
    _admit(request, limit, limit)
    body, given = incoming.blocks(request, limit), list(request.query_params.multi_items())
    return await intake.submit(
        _identity(request, caller, secret),
        lambda save: form.read_raw(filename, given, body, save, max_file_bytes=limit),
        counted_as=caller,
    )


@get("/api/jobs", tags=["jobs"], summary="List jobs", responses=documented(400, 503))
async def list_jobs(
    listing: Given[Listing],
    jobs: Given[Jobs],
    tokens: Annotated[str, QueryParameter(description="Access tokens, by comma.", max_length=24 << 10)] = "",
    page: PageNumber = 1,
    per_page: PerPage = 10,
) -> JobPage:
    """The jobs that the tokens open, newest first. Tokens that open nothing are left out."""
    given = [token for token in tokens.split(",") if token]
    if len(given) > TOKENS_MAX:
        raise Problem(
            400,
            "too_many_tokens",
            f"{len(given):,} tokens were sent, and at most {TOKENS_MAX} can be asked at once.",
            field="tokens",
        )
    return await _page(listing, jobs, given, page, per_page)


@post(
    "/api/jobs/query",
    status_code=200,
    tags=["jobs"],
    summary="List jobs",
    responses=documented(400, 413, 503),
    request_max_body_size=incoming.JSON_BYTES_MAX,
)
async def query_jobs(data: JSONBody[Query], listing: Given[Listing], jobs: Given[Jobs]) -> JobPage:
    """As GET /api/jobs, with the tokens in the body, where no log sees them."""
    return await _page(listing, jobs, data.tokens, data.page, data.per_page)


@get("/api/jobs/{job_id:str}", tags=["jobs"], summary="Get a job", responses=documented(400, 404, 410, 503))
async def get_job(job_id: JobId, jobs: Given[Jobs], store: Given[Store], credential: Credential) -> Job:
    """The job, with its result once it is completed."""
    view = await jobs.opened(job_id, credential)
    job = jobs.shown(view)
    if view.status is Status.COMPLETED and "json" in view.results:
        try:
            content: Any = msgspec.Raw(await store.get(view.results["json"].key))
        except Missing:
            content = None
        job = msgspec.structs.replace(job, result=content)
    return job


@delete(
    "/api/jobs/{job_id:str}",
    status_code=200,
    tags=["jobs"],
    summary="Cancel or delete",
    responses=documented(400, 404, 409, 410, 503),
)
async def cancel_job(
    job_id: JobId,
    jobs: Given[Jobs],
    owners: Given[commands.Commands],
    credential: Credential,
    running: Annotated[bool, QueryParameter(description="Cancel the job even if it runs already.")] = False,
    delete: Annotated[bool, QueryParameter(description="Delete a job whose run has ended.")] = False,
) -> Job:
    """Cancel a job that still waits; one that runs only with `running`. With `delete`, remove all that is stored."""
    view = await jobs.opened(job_id, credential, owner=True)
    if delete:
        return msgspec.structs.replace(jobs.shown(await owners.delete(view)), downloads={})
    await owners.cancel(view, running=running)
    return jobs.shown(await jobs.opened(job_id, credential, owner=True))


@post(
    "/api/jobs/{job_id:str}/retry",
    status_code=202,
    tags=["jobs"],
    summary="Retry",
    responses=documented(400, 404, 409, 410, 429, 503),
)
async def retry_job(
    request: Request[Any, Any, Any],
    job_id: JobId,
    jobs: Given[Jobs],
    intake: Given[Intake],
    secret: Given[bytes],
    caller: Given[str],
    credential: Credential,
    _key: DeedKey = None,
) -> Job:
    """Begin another run of a failed or cancelled job, with the same settings."""
    view = await jobs.opened(job_id, credential, owner=True)
    await intake.retry(view, _deed(request, "retry", view, secret), counted_as=caller)
    return jobs.shown(await jobs.opened(job_id, credential, owner=True))


@post("/api/jobs/{job_id:str}/share", tags=["shares"], summary="Share", responses=documented(400, 404, 409, 410, 503))
async def share_job(
    request: Request[Any, Any, Any],
    job_id: JobId,
    jobs: Given[Jobs],
    owners: Given[commands.Commands],
    settings: Given[Settings],
    secret: Given[bytes],
    credential: Credential,
    _key: DeedKey = None,
) -> commands.Minted:
    """Mint a token that can look on and download, and nothing else."""
    view = await jobs.opened(job_id, credential, owner=True)
    return await owners.share(view, _deed(request, "share", view, secret), settings.public_url or str(request.base_url))


@get("/api/jobs/{job_id:str}/share", tags=["shares"], summary="List shares", responses=documented(400, 404, 410, 503))
async def list_shares(job_id: JobId, jobs: Given[Jobs], credential: Credential) -> list[commands.ShareInfo]:
    """The shares of a job, without their tokens."""
    return commands.listed((await jobs.opened(job_id, credential, owner=True)).shares)


@delete(
    "/api/jobs/{job_id:str}/share/{share_id:int}",
    status_code=204,
    tags=["shares"],
    summary="Revoke a share",
    responses=documented(400, 404, 410, 503),
)
async def revoke_share(
    job_id: JobId, share_id: ShareId, jobs: Given[Jobs], owners: Given[commands.Commands], credential: Credential
) -> None:
    """From now on the token opens nothing, and who watches with it is cut off."""
    await owners.revoke(await jobs.opened(job_id, credential, owner=True), share_id)


@route(
    "/api/jobs/{job_id:str}/download/{format_name:str}",
    http_method=[HttpMethod.GET, HttpMethod.HEAD],
    status_code=200,
    tags=["jobs"],
    summary="Download subtitles",
    responses={
        200: ResponseSpec(bytes, description="The file.", media_type="*/*"),
        206: ResponseSpec(bytes, description="A part of the file.", media_type="*/*"),
        304: ResponseSpec(None, description="The caller has it already."),
        **documented(400, 404, 409, 410, 416, 503),
    },
)
async def download(
    request: Request[Any, Any, Any],
    job_id: JobId,
    format_name: Annotated[str, PathParameter(description="srt, vtt, json or txt.")],
    jobs: Given[Jobs],
    store: Given[Store],
    versions: Given[Versions],
    credential: Credential,
    preset: PresetChoice = None,
    version: VersionChoice = None,
) -> Response[Any]:
    """One format of the result, as an attachment named after the upload; ETag and ranges."""
    view = await versions.at(await jobs.opened(job_id, credential), version)
    asked = downloads.Asked(
        head=request.method == HttpMethod.HEAD,
        range=request.headers.get("range"),
        if_range=request.headers.get("if-range"),
        if_none_match=request.headers.get("if-none-match"),
    )
    return await downloads.download(store, view, format_name, asked, preset)


@get("/api/capacity", tags=["system"], summary="How busy it is", responses=documented(503))
async def capacity(
    admission: Given[Admission],
    limits: Given[Limits],
    settings: Given[Settings],
    rules: Given[Rules],
    longest: Given[Longest],
    caller: Given[str],
) -> Capacity:
    """Free places, and the limits."""
    ledger = await admission.ledger()
    return Capacity(
        active=ledger.count(State.ACTIVE),
        max_active=limits.max_active_jobs,
        waiting=ledger.count(State.WAITING, State.UPLOADING),
        max_queued=limits.max_queued_jobs,
        accepting=ledger.has_room(caller, limits),
        max_upload_bytes=settings.max_upload_bytes,
        max_fetch_bytes=rules.max_bytes if rules.enabled else None,
        max_media_s=longest.max_duration_s,
        max_batch_items=naming.ITEMS_MAX,
        max_unfinished_uploads=settings.max_unfinished_uploads,
        max_jobs_per_socket=settings.max_jobs_per_socket,
        max_sockets_per_client=settings.max_sockets_per_client or None,
        requests_per_minute=settings.requests_per_minute or None,
        submits_per_minute=settings.submits_per_minute or None,
    )


async def provide_credential(
    request: Request[Any, Any, Any],
    token: Annotated[
        str | None,
        QueryParameter(name="token", required=False, description="The access token, where a header cannot be set."),
    ] = None,
) -> str | None:
    """The caller's token: `Authorization: Bearer`, or the query parameter."""
    return access.bearer(request.headers.get("authorization"), token)


async def _page(listing: Listing, jobs: Jobs, tokens: list[str], page: int, per_page: int) -> JobPage:
    hashes = [access.digest(token) for token in tokens if len(token) <= access.TOKEN_LENGTH_MAX]
    found = await listing.page(hashes, page, per_page, as_of=await jobs.last_seq())
    return JobPage(jobs=[jobs.shown(view) for view in found.views], total=found.total, page=page, per_page=per_page)


def _identity(request: Request[Any, Any, Any], caller: str, secret: bytes) -> idempotency.Identity:
    key = idempotency.key(request.headers.getall(idempotency.HEADER, []))
    return idempotency.derived(key, caller, secret) if key is not None else idempotency.new()


def _deed(request: Request[Any, Any, Any], deed: str, view: JobView, secret: bytes) -> idempotency.Identity:
    key = idempotency.key(request.headers.getall(idempotency.HEADER, []))
    if key is None:
        return idempotency.new()
    return idempotency.of_job(key, deed, view.job_id, view.token_sha256, secret)


def _admit(request: Request[Any, Any, Any], body_bytes_max: int, file_bytes_max: int) -> None:
    """Refuse at once what says that it is too large."""
    announced = incoming.announced(request)
    if announced is not None and announced > body_bytes_max:
        raise file_too_large(file_bytes_max)


ROUTES = [
    submit,
    submit_raw,
    list_jobs,
    query_jobs,
    get_job,
    cancel_job,
    retry_job,
    share_job,
    list_shares,
    revoke_share,
    download,
    capacity,
]
