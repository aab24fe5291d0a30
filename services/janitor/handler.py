"""What the janitor does with a message of each of its durables."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import msgspec

from chassis.joblog import JobLog
from chassis.settle import Decode, Work
from chassis.store import Store
from contracts import consequences, facts, subjects, topology
from contracts.failures import FailureCode
from services.janitor.engine import Job, expiry, may_expire, useless_uploads
from services.janitor.owed import owed
from services.janitor.removal import Removal
from services.janitor.schedules import Schedules


class Tidying:
    """Wakes on a job that ended (its expiry is scheduled) or expired (its files are deleted).

    Setting a schedule twice is setting it, and deleting twice is deleting, so a crash after any line is made good by
    the redelivery.
    """

    def __init__(self, store: Store, schedules: Schedules, removal: Removal, *, retention_s: float) -> None:
        self._store = store
        self._schedules = schedules
        self._removal = removal
        self._retention_s = retention_s

    async def __call__(self, fact: facts.AnyFact, work: Work) -> Sequence[facts.Fact]:
        """Publishes nothing in the log: it says already why."""
        if isinstance(fact, facts.JobExpired):
            work.log.info("files_deleted", files=await self._removal.expire(fact.job_id))
            return []
        ended = Job(owner=fact.owner, run=fact.run, ended_at=fact.at)
        expired = expiry(fact.job_id, ended, self._retention_s, datetime.now(UTC))
        assert expired is not None
        await self._schedules.arrange(expired)
        for key in useless_uploads(work.facts()):
            await self._store.delete(key)
            work.log.info("upload_deleted", key=key)
        return []


class Expiring:
    """Wakes on a schedule that is due. Create-only, so a schedule that fires twice expires a job once."""

    def __init__(self, joblog: JobLog) -> None:
        self._joblog = joblog

    async def __call__(self, fact: facts.AnyFact, work: Work) -> Sequence[facts.Fact]:
        """Returns `expired`, or nothing where the job was retried since."""
        known = [recorded.fact for recorded in await self._joblog.facts_of(fact.job_id)]
        if not isinstance(fact, facts.JobExpired) or not may_expire(known, fact):
            work.log.info("not_expired", reason="it was retried")
            return []
        return [fact]


async def due(_: str, body: bytes) -> facts.AnyFact:
    """The fact whose time has come; it is not on a subject of its own yet."""
    return facts.decode(body)


class Burying:
    """Wakes on a message that was delivered too often, whichever worker it killed each time."""

    def __init__(self, numbers: topology.Numbers) -> None:
        self._numbers = numbers

    async def __call__(self, fact: facts.AnyFact, work: Work) -> Sequence[facts.Fact]:
        """Returns what the failure of that step means for its job; nothing where the step was done after all."""
        stage = work.subject.rpartition(".")[2]
        if not _is_undone(stage, fact, work.facts(), self._numbers.window):
            work.log.warning("dead_letter_ignored", dead_stage=stage, reason="it calls for nothing that is missing")
            return []
        reference = uuid.uuid4().hex[:12]
        work.log.error("dead_letter", dead_stage=stage, reference=reference)
        failed = facts.JobFailed(
            job_id=fact.job_id,
            run=fact.run,
            owner=fact.owner,
            at=datetime.now(UTC),
            code=FailureCode.WORKER_LOST,
            stage=stage,
            reference=reference,
            attempts=self._numbers.max_deliver,
            detail=f"delivered {self._numbers.max_deliver} times",
        )
        return [consequences.of_failure(fact, failed)]


class _Advisory(msgspec.Struct, frozen=True, kw_only=True):
    """What the broker says of a message that it no longer delivers."""

    stream_seq: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


def dead_letter(joblog: JobLog) -> Decode:
    """The fact that an advisory is about."""

    async def decode(_: str, body: bytes) -> facts.AnyFact:
        seq = msgspec.json.decode(body, type=_Advisory).stream_seq
        entries = await joblog.read(seq, 1)
        if not entries or entries[0].seq != seq:
            raise ValueError(f"message {seq} has left the log")
        return subjects.fact_on(entries[0].subject, entries[0].body)

    return decode


def _is_undone(stage: str, fact: facts.AnyFact, known: Sequence[facts.AnyFact], window: int) -> bool:
    if isinstance(fact, facts.JobAccepted):
        return not any(isinstance(other, facts.JobStarted) for other in known)
    return any((step.durable, step.fact) == (stage, fact) for step in owed(known, window=window))
