"""Places in the ledger while recordings come in. Whatever breaks, neither a place nor an upload is left behind, and
nothing is taken from a job that was accepted.
"""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import nats.errors
from nats.js.errors import APIError, NoStreamResponseError

from chassis import telemetry
from chassis.admission import Admission, Limits, Place, QueueFull, State
from chassis.joblog import JobLog, LogFull, Recorded
from chassis.store import Store
from contracts import facts
from services.gateway.problems import Problem, queue_full

_APPEND_TRIES = 3
_APPEND_PAUSE_S = 0.5
_UNDO_PATIENCE_S = 2.0
_UNDO_RETRY_S = 1.0
_TRIES_AT_ONCE = 4
_UNREACHABLE = (nats.errors.Error, TimeoutError)


class Held:
    """A place that is held for one submit or retry, until its fact is in the log or it is given up."""

    def __init__(self, admission: Admission, joblog: JobLog, limits: Limits, job_id: str, place: Place) -> None:
        self.job_id = job_id
        self.won = False
        """Whether the fact is in the log, and it is ours."""
        self.unsure = False
        """Whether the fact may be in the log: it was sent, and nobody said what became of it."""
        self.fact: facts.JobAccepted | facts.BatchAccepted | None = None
        self._admission = admission
        self._joblog = joblog
        self._limits = limits
        self._place = place

    async def take(self) -> None:
        """Take the place, or find that it is held still. Raises Problem where there is none."""
        try:
            await self._admission.take(self.job_id, self._place, self._limits)
        except QueueFull as full:
            raise queue_full(full, self._limits) from full

    async def append(self, fact: facts.JobAccepted | facts.BatchAccepted) -> bool:
        """Append, trying again where no answer came: the subject is the idempotency key. False if another was first.

        Raises Problem where the place was lost meanwhile, since nobody heard of this gateway, and there is no other.
        """
        await self.take()
        self.fact, self.unsure = fact, True
        unanswered = False
        for tries_left in reversed(range(_APPEND_TRIES)):
            try:
                if await self._joblog.append(fact) is not None:
                    self.won = True
                break
            except (nats.errors.TimeoutError, NoStreamResponseError) as error:
                unanswered |= isinstance(error, nats.errors.TimeoutError)
                if not tries_left:
                    self.unsure = unanswered
                    raise
                await asyncio.sleep(_APPEND_PAUSE_S)
            except (LogFull, APIError):
                self.unsure = unanswered
                raise
        # Refused as there already: by a try of ours whose answer was lost, or by somebody else's.
        self.won = self.won or self.is_accepted(await self._joblog.facts_of(self.job_id))
        self.unsure = False
        return self.won

    def is_accepted(self, recorded: list[Recorded]) -> bool:
        """Whether our fact is among those of the job."""
        return any(entry.fact == self.fact for entry in recorded)

    def is_refused(self, recorded: list[Recorded]) -> bool:
        """Whether a fact is there that keeps ours from coming any more: another's of the same run, or an expiry."""
        return self.fact is not None and any(
            isinstance(entry.fact, facts.JobExpired)
            or (
                isinstance(entry.fact, facts.JobAccepted | facts.BatchAccepted)
                and entry.fact.run == self.fact.run
                and entry.fact != self.fact
            )
            for entry in recorded
        )


class Places:
    """The places that this gateway holds; it says of them every `heartbeat_s` that they are held still."""

    def __init__(
        self, joblog: JobLog, admission: Admission, limits: Limits, store: Store, *, heartbeat_s: float
    ) -> None:
        self._joblog = joblog
        self._admission = admission
        self._limits = limits
        self._store = store
        self._heartbeat_s = heartbeat_s
        self._held: defaultdict[str, set[str]] = defaultdict(set)
        """The tries that hold the place of a job."""
        self._renewing: asyncio.Task[None] | None = None
        self._undoing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def held(
        self, job_id: str, run: int, *, owner: str, counted_as: str, upload: str | None, tier: int = 0, jobs: int = 1
    ) -> AsyncIterator[Held]:
        """A place around the body. Unless the body appends its fact, place and upload are gone again afterwards."""
        if upload is not None and len(self._held.get(job_id, ())) >= _TRIES_AT_ONCE:
            raise Problem(
                409,
                "submit_in_progress",
                "This recording is being sent already, several times. Wait for one of them.",
                headers={"Retry-After": "5"},
            )
        upload_id = secrets.token_hex(4)
        place = Place(
            owner=owner,
            counted_as=counted_as,
            run=run,
            tier=tier,
            state=State.UPLOADING,
            since=datetime.now(UTC),
            jobs=jobs,
            uploads=[upload_id],
        )
        held = Held(self._admission, self._joblog, self._limits, job_id, place)
        self._held[job_id].add(upload_id)
        self._renew()
        taken = True
        try:
            try:
                await held.take()
            except Problem:
                taken = False
                raise
            yield held
        finally:
            self._held[job_id].discard(upload_id)
            if not self._held[job_id]:
                del self._held[job_id]
            if taken and not held.won:
                await self._undo(held, upload_id, upload)

    async def close(self) -> None:
        """Wait a moment for what is being undone."""
        if self._renewing is not None:
            self._renewing.cancel()
        if self._undoing:
            await asyncio.wait(self._undoing, timeout=_UNDO_PATIENCE_S)
        for task in self._undoing:
            task.cancel()

    def _renew(self) -> None:
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew_while_held(), name="places-renew")

    async def _renew_while_held(self) -> None:
        while self._held:
            await asyncio.sleep(self._heartbeat_s)
            try:
                await self._admission.renew(list(self._held))
            except _UNREACHABLE as error:
                telemetry.logger(stage="gateway").warning("places_not_renewed", error=repr(error))

    async def _undo(self, held: Held, upload_id: str, upload: str | None) -> None:
        task = asyncio.create_task(self._undo_for_sure(held, upload_id, upload))
        self._undoing.add(task)
        task.add_done_callback(self._undoing.discard)
        await asyncio.wait({task}, timeout=_UNDO_PATIENCE_S)

    async def _undo_for_sure(self, held: Held, upload_id: str, upload: str | None) -> None:
        """Idempotent, so it is repeated until it works: a place that is never given up would block its owner.

        Where our fact may be on its way still, the upload stays: the janitor removes it if no job ever speaks of it.
        """
        if not held.unsure:
            await self._delete(upload)
        while True:
            try:
                if held.unsure:
                    recorded = await self._joblog.facts_of(held.job_id)
                    if held.is_accepted(recorded):
                        return
                    if held.is_refused(recorded):
                        await self._delete(upload)
                await self._admission.give_up(held.job_id, upload_id)
            except _UNREACHABLE as error:
                telemetry.logger(stage="gateway", job_id=held.job_id).warning("place_not_released", error=repr(error))
                await asyncio.sleep(_UNDO_RETRY_S)
            else:
                return

    async def _delete(self, upload: str | None) -> None:
        if upload is not None:
            with suppress(OSError):
                await self._store.delete(upload)
