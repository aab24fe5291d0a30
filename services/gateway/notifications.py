"""Browsers that want to be told when a job has ended, with the page closed: Web Push (docs/adr/0011)."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from litestar import Request, delete, get, put
from litestar.di import NamedDependency as Given

from chassis.joblog import JobLog
from chassis.subscriptions import Subscriptions
from contracts import addresses
from contracts.addresses import Address, Forbidden, Malformed, Rules
from contracts.notifications import (
    ENDPOINT_MAX,
    SUBSCRIPTIONS_MAX,
    Key,
    Secret,
    Subscription,
    check_service,
)
from contracts.progress import JobView
from services.gateway import shapes
from services.gateway.handler import Credential, JobId, Jobs
from services.gateway.problems import Problem, documented
from services.gateway.settings import Settings


class NotificationKey(msgspec.Struct, frozen=True, kw_only=True):
    """What a browser subscribes with."""

    public_key: str
    """`applicationServerKey`: a point of P-256, uncompressed, base64url."""


class Keys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a notification is encrypted with."""

    p256dh: Key
    auth: Secret


class PushSubscription(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As browsers write it (https://www.w3.org/TR/push-api/#dom-pushsubscription-tojson)."""

    endpoint: str
    keys: Keys
    expirationTime: float | None = None


class Waiting:
    """The browsers that wait for the ends of jobs. Raises nats' errors where the broker cannot be reached."""

    def __init__(self, joblog: JobLog, subscriptions: Subscriptions, rules: Rules) -> None:
        self._joblog = joblog
        self._subscriptions = subscriptions
        self._rules = rules

    async def add(self, view: JobView, asked: PushSubscription) -> None:
        """Have a browser told of the end of the run. Raises Problem.

        It is written down first and the job looked at afterwards: a run that ends in between either finds it or is seen
        here to have ended. Racing browsers may become more than there may be.
        """
        address = self._address(asked.endpoint)
        subscription = Subscription(
            endpoint=address.url, p256dh=asked.keys.p256dh, auth=asked.keys.auth, created_at=datetime.now(UTC)
        )
        waiting = await self._subscriptions.of(view.job_id)
        others = [one for one in waiting if one.endpoint != subscription.endpoint]
        if len(others) >= SUBSCRIPTIONS_MAX:
            raise Problem(
                409,
                "too_many_subscriptions",
                f"{len(others)} browsers wait for the end of this job already, and at most {SUBSCRIPTIONS_MAX} may.",
            )
        if view.status.terminal:
            raise _over(view)
        await self._subscriptions.add(view.job_id, subscription)
        now = await self._joblog.view(view.job_id)
        if now is None or now.status.terminal:
            await self._subscriptions.remove(view.job_id, subscription)
            raise _over(now or view)

    async def remove(self, job_id: str) -> None:
        """Have nobody told of it."""
        await self._subscriptions.forget(job_id)

    def _address(self, endpoint: str) -> Address:
        if len(endpoint) > ENDPOINT_MAX:
            raise Problem(
                400,
                "invalid_parameter",
                f"The endpoint has {len(endpoint):,} characters, and may have {ENDPOINT_MAX:,}.",
                field="endpoint",
            )
        try:
            address = addresses.parse(endpoint)
            addresses.check(address, self._rules)
            check_service(address, self._rules)
        except Malformed as error:
            raise Problem(400, "invalid_address", str(error), field="endpoint") from None
        except Forbidden as error:
            sentence = f"This server sends no notifications there ({error})."
            raise Problem(400, "address_forbidden", sentence, field="endpoint") from None
        return address


@get(
    "/api/notifications/key",
    tags=["notifications"],
    summary="Get the key to subscribe with",
    responses=documented(404),
    sync_to_thread=False,
)
def get_key(settings: Given[Settings]) -> NotificationKey:
    """The public key by which push services know this server."""
    _check_on(settings)
    return NotificationKey(public_key=settings.notifications_key)


@put(
    "/api/jobs/{job_id:str}/notifications",
    status_code=204,
    tags=["notifications"],
    summary="Be told when the job has ended",
    operation_class=shapes.described(PushSubscription),
    responses=documented(400, 404, 409, 410, 413, 415, 503),
)
async def subscribe(
    request: Request[Any, Any, Any],
    job_id: JobId,
    jobs: Given[Jobs],
    waiting: Given[Waiting],
    settings: Given[Settings],
    credential: Credential,
) -> None:
    """A browser's push subscription, which is used up by one notification."""
    view = await jobs.opened(job_id, credential, owner=True)
    _check_on(settings)
    await waiting.add(view, await shapes.read(request, PushSubscription))


@delete(
    "/api/jobs/{job_id:str}/notifications",
    status_code=204,
    tags=["notifications"],
    summary="Be told no more",
    responses=documented(400, 404, 410, 503),
)
async def unsubscribe(job_id: JobId, jobs: Given[Jobs], waiting: Given[Waiting], credential: Credential) -> None:
    """No browser is told of this job."""
    view = await jobs.opened(job_id, credential, owner=True)
    await waiting.remove(view.job_id)


def _check_on(settings: Settings) -> None:
    if not settings.notifications_key:
        raise Problem(404, "notifications_off", "This server sends no notifications.")


def _over(view: JobView) -> Problem:
    return Problem(409, "job_over", f"There is nothing left to be told of: the job is {view.status}.")


ROUTES = [get_key, subscribe, unsubscribe]
