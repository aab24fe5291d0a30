"""How a recording becomes a job: a place first, then the bytes, then the fact. All of it or nothing is left behind."""

import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from functools import partial

import msgspec
import nats.errors

from chassis.admission import Admission, Limits, State
from chassis.joblog import JobLog, Recorded
from chassis.store import Store
from contracts import facts
from contracts.addresses import Address
from contracts.artifacts import ArtifactRef, ContentDigest, finished_key, upload_key
from contracts.parameters import Parameters
from contracts.progress import JobView, Status
from contracts.uploads import Upload
from services.gateway import idempotency
from services.gateway.engine import folded
from services.gateway.estimate import CACHED_S
from services.gateway.form import Save, Submission, empty_file
from services.gateway.history import History
from services.gateway.idempotency import Identity
from services.gateway.places import Places
from services.gateway.problems import Problem, job_expired, log_unavailable
from services.gateway.uploads import Kept, Uploads

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
        self,
        joblog: JobLog,
        admission: Admission,
        limits: Limits,
        store: Store,
        places: Places,
        history: History,
        uploads: Uploads,
    ) -> None:
        self._joblog = joblog
        self._admission = admission
        self._limits = limits
        self._store = store
        self._places = places
        self._history = history
        self._uploads = uploads

    async def submit(
        self, identity: Identity, read: Callable[[Save], Awaitable[Submission]], *, counted_as: str
    ) -> Accepted:
        """Take a place, store what is read, append `accepted`. Raises Problem, StoreFull, LogFull or nats' errors.

        A try of a submit that is in the log already needs no place and stores nothing: its file is only compared.
        """
        job_id = identity.job_id
        if identity.keyed and await self._joblog.facts_of(job_id):
            return await self._again(identity, await read(_hashed))
        if identity.keyed and await self._uploads.is_claimed(identity):
            raise idempotency.reused()
        key = upload_key(OWNER, idempotency.another_upload(job_id) if identity.keyed else job_id)
        async with self._places.held(job_id, 1, owner=OWNER, counted_as=counted_as, upload=key) as held:
            submission = await read(lambda body: self._store.put_stream(key, body))
            fact = await self._accepted(identity, submission)
            await held.append(fact)
        if not held.won:
            return await self._again(identity, submission)
        return await self._answer(identity, fact, Status.PENDING)

    async def submit_upload(
        self, identity: Identity, kept: Kept, filename: str, parameters: Parameters, *, counted_as: str
    ) -> Accepted:
        """As `submit`, of an upload that its token has opened.

        The job's id follows from the upload's, so that the log takes one job of it, whoever crashes on the way. The
        upload is marked before: from then on nobody can end it.
        """
        upload = kept.upload
        check_whole(upload)
        if identity.keyed:
            if await self._joblog.facts_of(identity.job_id):
                raise idempotency.reused()  # for a recording that came along with the submit
            await self._uploads.claim(identity, kept.upload_id)
        identity = msgspec.structs.replace(identity, job_id=job_of(kept.upload_id))
        submission = Submission(filename=filename, source=upload.source, parameters=parameters)
        if await self._joblog.facts_of(identity.job_id):
            return await self._used(identity, submission)
        async with self._places.held(identity.job_id, 1, owner=OWNER, counted_as=counted_as, upload=None) as held:
            await self._uploads.use(kept, identity.job_id, partial(check_unused, self._joblog))
            fact = await self._accepted(identity, submission)
            await held.append(fact)
        if not held.won:
            return await self._used(identity, submission)
        return await self._answer(identity, fact, Status.PENDING)

    async def submit_address(
        self, identity: Identity, address: Address, filename: str, parameters: Parameters, *, counted_as: str
    ) -> Accepted:
        """As `submit`, of a recording that is still to be fetched: of tries, the addresses are compared."""
        submission = Submission(filename=filename, source_url=address.url, parameters=parameters)
        if identity.keyed:
            if await self._joblog.facts_of(identity.job_id):
                return await self._again(identity, submission)
            if await self._uploads.is_claimed(identity):
                raise idempotency.reused()
        async with self._places.held(identity.job_id, 1, owner=OWNER, counted_as=counted_as, upload=None) as held:
            fact = await self._accepted(identity, submission)
            await held.append(fact)
        if not held.won:
            return await self._again(identity, submission)
        return await self._answer(identity, fact, Status.PENDING)

    async def retry(self, view: JobView, identity: Identity, *, counted_as: str) -> None:
        """Begin the next run of a failed or cancelled job. Of two retries that race, one gets a Problem.

        A further try with the key of a run that was begun begins none, whatever became of that run.
        """
        if identity.keyed and await self._was_retried(identity, view.job_id):
            return
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
                source=None if view.source_url else view.source,
                source_url=view.source_url,
                parameters=view.parameters,
                token_sha256=view.token_sha256,
                tier=view.tier,
                retried_as=identity.job_id if identity.keyed else None,
            )
            await held.append(fact)
        if not held.won:
            if identity.keyed and await self._was_retried(identity, view.job_id):
                return
            now = await self._joblog.view(view.job_id)
            if now is not None and now.expired_at is not None:
                raise job_expired(now)
            raise Problem(409, "already_retried", "Somebody else has just retried this job.")

    async def _was_retried(self, identity: Identity, job_id: str) -> bool:
        recorded = await self._joblog.facts_of(job_id)
        return any(
            isinstance(one.fact, facts.JobAccepted) and one.fact.retried_as == identity.job_id for one in recorded
        )

    async def _accepted(self, identity: Identity, submission: Submission) -> facts.JobAccepted:
        finished = None
        if submission.source is not None:
            note = finished_key(OWNER, submission.source.digest, submission.parameters)
            finished = await self._store.record(note, Finished)
        return facts.JobAccepted(
            job_id=identity.job_id,
            run=1,
            owner=OWNER,
            at=datetime.now(UTC),
            filename=submission.filename,
            source=submission.source,
            source_url=submission.source_url,
            parameters=submission.parameters,
            token_sha256=identity.token_sha256,
            cached_at=finished[0].completed_at if finished else None,
        )

    async def _used(self, identity: Identity, submission: Submission) -> Accepted:
        """Answer for an upload of which there is a job: as before to the try that made it, no to any other."""
        recorded = await self._joblog.facts_of(identity.job_id)
        first = _first(recorded)
        if first is None or not hmac.compare_digest(first.token_sha256, identity.token_sha256):
            raise upload_used()
        return await self._again(identity, submission)

    async def _again(self, identity: Identity, submission: Submission) -> Accepted:
        """Answer a further try as the first, if it sent the same. Of another's recording nothing is told."""
        recorded = await self._joblog.facts_of(identity.job_id)
        first = _first(recorded)
        view = folded((entry.seq, entry.fact) for entry in recorded)
        if first is None or view is None:
            raise log_unavailable()  # its facts were there a moment ago: they have just left the log
        if _asked_for(first) != _asked_for(submission):
            raise idempotency.reused()
        if view.expired_at is not None:
            raise job_expired(view)
        return await self._answer(identity, first, view.status)

    async def _answer(self, identity: Identity, fact: facts.JobAccepted, status: Status) -> Accepted:
        experience = await self._history.fresh()
        size = fact.source.bytes if fact.source else 0
        estimate = experience.duration_s(fact.parameters, size) if experience else None
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


def _asked_for(one: facts.JobAccepted | Submission) -> tuple[str, str | None, str | None, Parameters]:
    """What tries of one submit have in common."""
    return one.filename, one.source.digest if one.source else None, one.source_url, one.parameters


def _first(recorded: list[Recorded]) -> facts.JobAccepted | None:
    return next((entry.fact for entry in recorded if isinstance(entry.fact, facts.JobAccepted)), None)


def check_whole(upload: Upload) -> None:
    """Whether a job can be made of an upload. Raises Problem where something is still to come, or nothing ever was."""
    if not upload.whole and upload.signed_part_bytes is not None:
        raise Problem(
            409,
            "upload_unfinished",
            "This upload is not complete yet. Put its parts where they belong, and complete it.",
        )
    if not upload.whole:
        raise Problem(
            409,
            "upload_unfinished",
            f"{upload.offset:,} of the {upload.length:,} bytes of this upload have arrived. Send the rest first.",
        )
    if not upload.length:
        raise empty_file()


async def check_unused(joblog: JobLog, used_by: str) -> None:
    """Whether what was to be made of an upload never came. Raises Problem where it is there: of a batch, the jobs may
    come later.
    """
    if await joblog.facts_of(used_by):
        raise upload_used()


def upload_used() -> Problem:
    """There is a job of it."""
    return Problem(409, "upload_used", "A job was made of this upload already. Upload the recording again.")


def job_of(upload_id: str) -> str:
    """The id of the one job that can be made of an upload."""
    return hashlib.sha256(f"job of upload {upload_id}".encode()).hexdigest()[:32]


async def _hashed(body: AsyncIterator[bytes]) -> ArtifactRef:
    """What stands for a file that is not stored."""
    digest = ContentDigest()
    total = 0
    async for block in body:
        digest.update(block)
        total += len(block)
    return ArtifactRef(key="", digest=digest.hexdigest(), bytes=total)
