"""How a recording becomes a job: a place first, then the bytes, then the fact. All of it or nothing is left behind."""

import asyncio
import math
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import msgspec
import nats.errors

from chassis import telemetry
from chassis.admission import Admission, Ledger, Limits, Place, QueueFull, State
from chassis.joblog import JobLog
from chassis.store import Store
from contracts import facts
from contracts.artifacts import finished_key, upload_key
from contracts.progress import JobView, Status
from services.gateway import access, form
from services.gateway.problems import Problem

OWNER = "anon"
_APPEND_TRIES = 3
_UNDO_PATIENCE_S = 2.0
_UNDO_RETRY_S = 1.0
_RETRY_AFTER_S = 30


class Accepted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The job is in the log; from here on it survives everything."""

    job_id: str
    access_token: str
    """Opens the job; given out once, here."""
    status: Status
    cached: bool
    """Whether the same file was transcribed with the same parameters before, so that this job will be quick."""
    cached_at: datetime | None = None
    estimated_duration_seconds: float | None = None
    queue_position: int | None = None


class Finished(msgspec.Struct, frozen=True):
    """The note that a job left: a job of the same file and parameters will find everything stored."""

    completed_at: datetime


class Intake:
    """Takes recordings in, and takes failed jobs in again."""

    def __init__(self, joblog: JobLog, admission: Admission, limits: Limits, store: Store) -> None:
        self._joblog = joblog
        self._admission = admission
        self._limits = limits
        self._store = store
        self._undoing: set[asyncio.Task[None]] = set()

    async def submit(
        self, content_type: str, blocks: AsyncIterator[bytes], *, counted_as: str, max_file_bytes: int
    ) -> Accepted:
        """Take a place, store the recording, append `accepted`. Raises Problem, StoreFull, LogFull or nats' errors."""
        job_id = uuid.uuid4().hex
        key = upload_key(OWNER, job_id)
        async with self._held(job_id, 1, OWNER, counted_as, key):
            submission = await form.read(
                content_type,
                blocks,
                lambda body: self._store.put_stream(key, body),
                max_file_bytes=max_file_bytes,
            )
            finished = await self._store.record(
                finished_key(OWNER, submission.source.digest, submission.parameters), Finished
            )
            token, token_sha256 = access.mint()
            fact = facts.JobAccepted(
                job_id=job_id,
                run=1,
                owner=OWNER,
                at=datetime.now(UTC),
                filename=submission.filename,
                source=submission.source,
                parameters=submission.parameters,
                token_sha256=token_sha256,
                cached_at=finished[0].completed_at if finished else None,
            )
            await self._append(fact)
        return Accepted(
            job_id=job_id,
            access_token=token,
            status=Status.PENDING,
            cached=finished is not None,
            cached_at=fact.cached_at,
            estimated_duration_seconds=1.0 if finished else None,
            queue_position=await self._queue_position(job_id),
        )

    async def retry(self, view: JobView, *, counted_as: str) -> None:
        """Begin the next run of a failed or cancelled job. Of two retries that race, one gets a Problem."""
        if view.status not in (Status.FAILED, Status.CANCELLED):
            raise Problem(
                409, "not_retryable", f"Only a failed or cancelled job can be retried; this one is {view.status}."
            )
        async with self._held(view.job_id, view.run + 1, view.owner, counted_as, None):
            fact = facts.JobAccepted(
                job_id=view.job_id,
                run=view.run + 1,
                owner=view.owner,
                at=datetime.now(UTC),
                filename=view.filename,
                source=view.source,
                parameters=view.parameters,
                token_sha256=view.token_sha256,
                tier=view.tier,
            )
            won = await self._append(fact)
        if not won:
            raise Problem(409, "already_retried", "Somebody else has just retried this job.")

    async def close(self) -> None:
        """Wait a moment for what is being undone."""
        if self._undoing:
            await asyncio.wait(self._undoing, timeout=_UNDO_PATIENCE_S)
        for task in self._undoing:
            task.cancel()

    @asynccontextmanager
    async def _held(
        self, job_id: str, run: int, owner: str, counted_as: str, upload: str | None
    ) -> AsyncIterator[None]:
        """A place in the ledger around the body. Where the body fails, the place and the upload are gone again."""
        place = Place(owner=owner, counted_as=counted_as, run=run, state=State.UPLOADING, since=datetime.now(UTC))
        nothing_to_undo = False
        try:
            await self._admission.take(job_id, place, self._limits)
            yield
            nothing_to_undo = True
        except QueueFull as full:
            nothing_to_undo = True
            raise _busy(full) from full
        finally:
            if not nothing_to_undo:
                await self._undo(job_id, upload)

    async def _append(self, fact: facts.JobAccepted) -> bool:
        """Append, trying again where no answer came: the subject is the idempotency key. False if another was first."""
        for last in (False,) * (_APPEND_TRIES - 1) + (True,):
            try:
                if await self._joblog.append(fact) is not None:
                    return True
                break
            except nats.errors.TimeoutError:
                if last:
                    raise
        # Refused as there already: by a try of ours whose answer was lost, or by somebody else's retry.
        recorded = await self._joblog.facts_of(fact.job_id)
        return any(entry.fact == fact for entry in recorded)

    async def _undo(self, job_id: str, upload: str | None) -> None:
        task = asyncio.create_task(self._undo_for_sure(job_id, upload))
        self._undoing.add(task)
        task.add_done_callback(self._undoing.discard)
        await asyncio.wait({task}, timeout=_UNDO_PATIENCE_S)

    async def _undo_for_sure(self, job_id: str, upload: str | None) -> None:
        """Idempotent, so it is repeated until it works: a place that is never given up would block its owner."""
        if upload is not None:
            with suppress(OSError):
                await self._store.delete(upload)
        while True:
            try:
                await self._admission.change(lambda ledger: _without_upload(ledger, job_id))
            except (nats.errors.Error, TimeoutError) as error:
                telemetry.logger(stage="gateway", job_id=job_id).warning("place_not_released", error=repr(error))
                await asyncio.sleep(_UNDO_RETRY_S)
            else:
                return

    async def _queue_position(self, job_id: str) -> int | None:
        """Roughly, for the answer; the dispatcher tells the exact one. None where the job can start at once."""
        try:
            ledger = await self._admission.ledger()
        except (nats.errors.Error, TimeoutError):
            return None
        place = ledger.places.get(job_id)
        if place is None or place.state is State.ACTIVE:
            return None
        waiting = [other for other, held in ledger.places.items() if held.state in (State.UPLOADING, State.WAITING)]
        free = max(0, self._limits.max_active_jobs - ledger.count(State.ACTIVE))
        position = waiting.index(job_id) + 1 - free if job_id in waiting else 0
        return position if position > 0 else None


def _without_upload(ledger: Ledger, job_id: str) -> Ledger:
    """Only a place that nothing followed is given up: of one that moved on, the fact is in the log."""
    place = ledger.places.get(job_id)
    return ledger.without(job_id) if place is not None and place.state is State.UPLOADING else ledger


def _busy(full: QueueFull) -> Problem:
    return Problem(
        429,
        "queue_full",
        f"System busy: {full.active} jobs are running and {full.waiting} of yours are waiting. Try again in "
        f"{math.ceil(_RETRY_AFTER_S)} seconds.",
        headers={"Retry-After": str(math.ceil(_RETRY_AFTER_S))},
    )
