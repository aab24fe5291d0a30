"""How a recording becomes a job: a place first, then the bytes, then the fact. All of it or nothing is left behind."""

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec
import nats.errors

from chassis.admission import Admission, Limits, State
from chassis.joblog import JobLog
from chassis.store import Store
from contracts import facts
from contracts.artifacts import ArtifactRef, finished_key, upload_key
from contracts.progress import JobView, Status
from services.gateway import form, idempotency
from services.gateway.engine import folded
from services.gateway.estimate import CACHED_S
from services.gateway.form import Submission
from services.gateway.history import History
from services.gateway.idempotency import Identity
from services.gateway.places import Places
from services.gateway.problems import Problem, job_expired, log_unavailable

OWNER = "anon"


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
    """How long the job is likely to run once it has started; left out where nothing like it has run yet."""
    queue_position: int | None = None


class Finished(msgspec.Struct, frozen=True):
    """The note that a job left: a job of the same file and parameters will find everything stored."""

    completed_at: datetime


class Intake:
    """Takes recordings in, and takes failed jobs in again."""

    def __init__(
        self, joblog: JobLog, admission: Admission, limits: Limits, store: Store, places: Places, history: History
    ) -> None:
        self._joblog = joblog
        self._admission = admission
        self._limits = limits
        self._store = store
        self._places = places
        self._history = history

    async def submit(
        self,
        identity: Identity,
        content_type: str,
        blocks: AsyncIterator[bytes],
        *,
        counted_as: str,
        max_file_bytes: int,
    ) -> Accepted:
        """Take a place, store the recording, append `accepted`. Raises Problem, StoreFull, LogFull or nats' errors.

        A try of a submit that is in the log already needs no place and stores nothing: its file is only compared.
        """
        job_id = identity.job_id
        if identity.keyed and await self._joblog.facts_of(job_id):
            return await self._again(
                identity, await form.read(content_type, blocks, _hashed, max_file_bytes=max_file_bytes)
            )
        key = upload_key(OWNER, idempotency.another_upload(job_id) if identity.keyed else job_id)
        async with self._places.held(job_id, 1, owner=OWNER, counted_as=counted_as, upload=key) as held:
            submission = await form.read(
                content_type,
                blocks,
                lambda body: self._store.put_stream(key, body),
                max_file_bytes=max_file_bytes,
            )
            finished = await self._store.record(
                finished_key(OWNER, submission.source.digest, submission.parameters), Finished
            )
            fact = facts.JobAccepted(
                job_id=job_id,
                run=1,
                owner=OWNER,
                at=datetime.now(UTC),
                filename=submission.filename,
                source=submission.source,
                parameters=submission.parameters,
                token_sha256=identity.token_sha256,
                cached_at=finished[0].completed_at if finished else None,
            )
            await held.append(fact)
        if not held.won:
            return await self._again(identity, submission)
        return await self._answer(identity, fact, Status.PENDING)

    async def retry(self, view: JobView, *, counted_as: str) -> None:
        """Begin the next run of a failed or cancelled job. Of two retries that race, one gets a Problem."""
        if view.status not in (Status.FAILED, Status.CANCELLED):
            raise Problem(
                409, "not_retryable", f"Only a failed or cancelled job can be retried; this one is {view.status}."
            )
        async with self._places.held(
            view.job_id, view.run + 1, owner=view.owner, counted_as=counted_as, upload=None, tier=view.tier
        ) as held:
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
            await held.append(fact)
        if not held.won:
            now = await self._joblog.view(view.job_id)
            if now is not None and now.expired_at is not None:
                raise job_expired(now)
            raise Problem(409, "already_retried", "Somebody else has just retried this job.")

    async def _again(self, identity: Identity, submission: Submission) -> Accepted:
        """Answer a further try as the first, if it sent the same. Of another's recording nothing is told."""
        recorded = await self._joblog.facts_of(identity.job_id)
        first = next((entry.fact for entry in recorded if isinstance(entry.fact, facts.JobAccepted)), None)
        view = folded((entry.seq, entry.fact) for entry in recorded)
        if first is None or view is None:
            raise log_unavailable()  # its facts were there a moment ago: they have just left the log
        if (first.source.digest, first.parameters) != (submission.source.digest, submission.parameters):
            raise Problem(
                422,
                "idempotency_key_reused",
                f"This {idempotency.HEADER} was used for another recording or with other settings. Send a new one.",
            )
        if view.expired_at is not None:
            raise job_expired(view)
        return await self._answer(identity, first, view.status)

    async def _answer(self, identity: Identity, fact: facts.JobAccepted, status: Status) -> Accepted:
        experience = await self._history.fresh()
        estimate = experience.duration_s(fact.parameters, fact.source.bytes) if experience else None
        return Accepted(
            job_id=identity.job_id,
            access_token=identity.token,
            status=status,
            cached=fact.cached_at is not None,
            cached_at=fact.cached_at,
            estimated_duration_seconds=CACHED_S if fact.cached_at is not None else estimate,
            queue_position=await self._queue_position(identity.job_id),
        )

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


async def _hashed(body: AsyncIterator[bytes]) -> ArtifactRef:
    """What stands for a file that is not stored."""
    sha256 = hashlib.sha256()
    total = 0
    async for block in body:
        sha256.update(block)
        total += len(block)
    return ArtifactRef(key="", digest=sha256.hexdigest(), bytes=total)
