"""Whether the gateway lives, and whether it can do its work."""

import msgspec
import nats.errors
from litestar import Response, get
from litestar.di import NamedDependency as Given
from litestar.openapi.datastructures import ResponseSpec
from nats.aio.client import Client

from contracts import topology
from services.gateway.listing import Listing

_PATIENCE_S = 2.0


class Live(msgspec.Struct, frozen=True):
    """The process answers."""

    status: str = "ok"


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """`ready` where jobs can be taken in. Lists need Postgres too, the rest does not."""

    ready: bool
    nats: bool
    log: bool
    postgres: bool


@get("/health/live", tags=["system"], summary="Liveness")
async def live() -> Live:
    """Asks nobody."""
    return Live()


@get(
    "/health/ready",
    tags=["system"],
    summary="Readiness",
    responses={503: ResponseSpec(Ready, description="Jobs cannot be taken in.")},
)
async def ready(client: Given[Client], listing: Given[Listing]) -> Response[Ready]:
    """Asks the broker for the log; a connection alone does not show that the log is there."""
    log = client.is_connected and await _log_answers(client)
    body = Ready(ready=log, nats=client.is_connected, log=log, postgres=await listing.reachable())
    return Response(body, status_code=200 if log else 503)


async def _log_answers(client: Client) -> bool:
    try:
        await client.jetstream(timeout=_PATIENCE_S).stream_info(topology.JOBS)
    except (nats.errors.Error, TimeoutError):
        return False
    return True


ROUTES = [live, ready]
