"""The operator's call to put right, now, whatever should not be: the janitor does it, the gateway asks."""

import hmac
from typing import Any

import msgspec
import nats.errors
from litestar import Request, post
from litestar.di import NamedDependency as Given
from nats.aio.client import Client

from contracts import subjects
from services.gateway import access
from services.gateway.problems import Problem, documented, nothing_here
from services.gateway.settings import Settings

_PATIENCE_S = 30.0


class Reconciled(msgspec.Struct, frozen=True, kw_only=True):
    """What was done."""

    processed: int
    """Jobs, places and files that were put right."""


@post(
    "/api/jobs/check-stale",
    status_code=200,
    tags=["system"],
    summary="Put right what is not",
    responses=documented(401, 404, 503),
)
async def check_stale(request: Request[Any, Any, Any], client: Given[Client], settings: Given[Settings]) -> Reconciled:
    """What happens every few minutes anyway, now. Needs the operator's token."""
    if not settings.operator_token:
        raise nothing_here()
    given = access.bearer(request.headers.get("authorization"), None) or ""
    if not hmac.compare_digest(access.digest(given), access.digest(settings.operator_token)):
        raise Problem(401, "unauthorized", "This needs the operator's token.", headers={"WWW-Authenticate": "Bearer"})
    try:
        answer = await client.request(subjects.RECONCILE, b"", timeout=_PATIENCE_S)
        return msgspec.json.decode(answer.data, type=Reconciled)
    except nats.errors.NoRespondersError as error:
        raise _unavailable("Nothing runs that could do this: the janitor is away.") from error
    except nats.errors.TimeoutError as error:
        raise _unavailable("It is not done yet; it may go on for a while.") from error
    except msgspec.MsgspecError as error:
        raise _unavailable("It was tried, and did not work: the janitor's log says why.") from error


def _unavailable(detail: str) -> Problem:
    return Problem(503, "reconcile_unavailable", detail, headers={"Retry-After": "30"})


ROUTES = [check_stale]
