"""What a caller reads when a request fails: RFC 9457 problem documents with a stable code and a sentence.

Nothing of ours but the sentence goes out; a stack trace stays in the log under the reference in the document.
"""

import re
import uuid
from typing import Any, cast

import msgspec
import nats.errors
from litestar import Request, Response
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException, ValidationException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.types import Message, Scope, Send

from chassis import telemetry
from chassis.admission import Limits, QueueFull
from chassis.joblog import LogFull
from chassis.store import Missing, StoreFull
from contracts.progress import JobView

MEDIA_TYPE = "application/problem+json"
_RETRY_AFTER_S = 30
_MANY_SPACES = re.compile(r"\s+")


class ProblemDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457; `code` is stable, `detail` is a sentence for a person."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    field: str | None = None
    """The form field that is wrong."""
    reference: str | None = None
    """What to tell us, so that we find the error in our log."""
    version: int | None = None
    """The latest version of the transcript, where another was to be corrected."""


class Problem(Exception):
    """A request that fails in a way the caller is told about."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        headers: dict[str, str] | None = None,
        version: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.headers = headers or {}
        self.document = ProblemDocument(
            type=f"urn:subtide:problem:{code}",
            title=code.replace("_", " ").capitalize(),
            status=status,
            detail=detail,
            code=code,
            field=field,
            version=version,
        )


def job_not_found() -> Problem:
    """The same for a job that is not there and for a token that does not open it."""
    return Problem(404, "job_not_found", "There is no such job, or this token does not open it.")


def nothing_here() -> Problem:
    """The same as for an address that no route has."""
    return Problem(404, *_FRAMEWORK[404])


def job_expired(view: JobView) -> Problem:
    """For those whose token opened the job when it was there."""
    return Problem(410, "expired", expired_sentence(view))


def expired_sentence(view: JobView) -> str:
    """Why a job is there no more."""
    if view.deleted:
        return "This recording was deleted by its owner."
    return "This recording has been kept as long as promised and is now deleted."


def queue_full(full: QueueFull, limits: Limits) -> Problem:
    """No place: the active ones are taken, and the caller's queue is full, or that of all callers."""
    if full.unstarted is not None:
        said = (
            f"with this, {full.unstarted:,} jobs of all users would be waiting, and at most "
            f"{limits.max_waiting_jobs:,} may"
        )
    else:
        said = (
            f"{full.active} jobs are running, of {limits.max_active_jobs} at a time, and {full.waiting} of yours are "
            f"waiting, of {limits.max_queued_jobs} at most"
        )
    return Problem(
        429,
        "queue_full",
        f"System busy: {said}. Try again in {_RETRY_AFTER_S} seconds.",
        headers={"Retry-After": str(_RETRY_AFTER_S)},
    )


def file_too_large(max_bytes: int) -> Problem:
    """More than the server accepts."""
    return Problem(413, "file_too_large", f"The file is larger than the {max_bytes:,} bytes this server accepts.")


def log_unavailable() -> Problem:
    """The broker cannot be reached."""
    return Problem(
        503,
        "log_unavailable",
        "The job log cannot be reached at the moment. Try again in a few seconds.",
        headers={"Retry-After": "5"},
    )


def documented(*statuses: int) -> dict[int, ResponseSpec]:
    """The problems of a route, for OpenAPI: those that it names, and those of every route."""
    more = {421, 429, 431} | ({408} if 413 in statuses else set())
    return {
        status: ResponseSpec(
            ProblemDocument,
            description=_DESCRIPTIONS[status],
            media_type=MEDIA_TYPE,
            generate_examples=False,
        )
        for status in sorted({*statuses, *more})
    }


def request_too_large(max_bytes: int) -> Problem:
    """A body that is no file, and larger than it may be."""
    return Problem(413, "request_too_large", f"The request has more than the {max_bytes:,} bytes that it may have.")


def of_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[ProblemDocument]:
    """What the framework refuses: no such route, wrong method, invalid input."""
    if error.status_code == 413 and isinstance(limit := _body_limit(request), int):
        return answer(request_too_large(limit))
    code, detail = _FRAMEWORK.get(error.status_code, ("invalid_request", error.detail))
    field = None
    if isinstance(error, ValidationException) and isinstance(error.extra, list) and error.extra:
        first = error.extra[0]
        field = str(first.get("key", "")) or None
        detail = f"{field}: {first.get('message', '')}" if field else str(first.get("message", detail))
    headers = dict(error.headers or {})
    return answer(Problem(error.status_code, code, _MANY_SPACES.sub(" ", detail), field=field, headers=headers))


def of_ours(_: Request[Any, Any, Any], error: Exception) -> Response[ProblemDocument]:
    """What our own parts raise."""
    match error:
        case Problem():
            return answer(error)
        case StoreFull():
            return answer(Problem(507, "store_full", "The server ran out of storage space. Try again in a while."))
        case LogFull():
            return answer(
                Problem(503, "log_full", "The server cannot accept jobs: its log is full. Tell the operator.")
            )
        case Missing():
            return answer(Problem(410, "result_missing", "The stored file is gone. Submit the recording again."))
        case _:
            return answer(log_unavailable())


def of_surprise(request: Request[Any, Any, Any], error: Exception) -> Response[ProblemDocument]:
    """A bug of ours: a reference for the caller, the trace for the log."""
    reference = uuid.uuid4().hex[:12]
    telemetry.logger(stage="gateway").error(
        "request_crashed", reference=reference, method=request.method, path=request.url.path, exc_info=error
    )
    problem = Problem(500, "internal", f"Something went wrong on our side. Tell us the reference {reference}.")
    return answer(problem, reference=reference)


def answer(problem: Problem, *, reference: str | None = None) -> Response[ProblemDocument]:
    """The response for a problem."""
    return Response(
        msgspec.structs.replace(problem.document, reference=reference),
        status_code=problem.document.status,
        media_type=MEDIA_TYPE,
        headers=problem.headers,
    )


async def send_raw(problem: Problem, scope: Scope, send: Send) -> None:
    """Answer with a problem where the framework has not been asked; the handshake of a websocket is refused with it."""
    kind = "websocket.http.response" if scope["type"] == ScopeType.WEBSOCKET else "http.response"
    body = msgspec.json.encode(problem.document)
    headers = {"content-type": MEDIA_TYPE, "content-length": str(len(body))} | problem.headers
    start = {
        "type": f"{kind}.start",
        "status": problem.document.status,
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    await send(cast(Message, start))
    await send(cast(Message, {"type": f"{kind}.body", "body": body, "more_body": False}))


HANDLERS: dict[Any, Any] = {
    Problem: of_ours,
    StoreFull: of_ours,
    LogFull: of_ours,
    Missing: of_ours,
    nats.errors.Error: of_ours,
    TimeoutError: of_ours,
    HTTPException: of_http,
    Exception: of_surprise,
}


def _body_limit(request: Request[Any, Any, Any]) -> object:
    route = request.scope.get("route_handler")
    return route.resolve_request_max_body_size() if isinstance(route, HTTPRouteHandler) else None


_FRAMEWORK = {
    401: ("unauthorized", "This needs a token."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not know the method."),
    415: ("unsupported_media_type", "This address does not accept that content type."),
}

_DESCRIPTIONS = {
    400: "The request is wrong; `field` names what is.",
    401: "This needs the operator's token.",
    404: "There is no such job, or this token does not open it.",
    408: "The body comes too slowly.",
    409: "The job, upload or batch is not in a state that allows it.",
    410: "The job or its result is no longer stored.",
    412: "`Tus-Resumable` is missing, or is a version that is not spoken.",
    413: "The file, or the request, is larger than the server accepts.",
    415: "The body is not of the type that is read here.",
    416: "The range is outside the file.",
    422: "The `Idempotency-Key` was used for something else, or the transcript lacks what is to be corrected.",
    423: "Another request is sending to this upload; `Retry-After` says when to come back.",
    421: "The server is not known by the name it was asked under.",
    431: "The address and the headers are longer than the server accepts.",
    429: "No place is free, or requests come too often; `Retry-After` says when to come back.",
    460: "The bytes do not have the checksum that the request says.",
    503: "A part of the system cannot be reached, or the log is full.",
    507: "The artifact store is full.",
}
