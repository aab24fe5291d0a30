"""What is of no use any more, and when it becomes so: pure functions of facts."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from contracts import facts
from contracts.artifacts import ArtifactRef, finished_key
from contracts.failures import FAILURES


def useless_uploads(known: Sequence[facts.AnyFact]) -> list[str]:
    """Keys of uploads that no retry could make anything of, given the facts of one run."""
    hopeless = any(isinstance(fact, facts.JobFailed) and not FAILURES[fact.code].retry_can_help for fact in known)
    return [fact.source.key for fact in known if isinstance(fact, facts.JobAccepted) and hopeless]


def expiry(job_id: str, job: "Job", retention_s: float, now: datetime) -> facts.JobExpired | None:
    """The fact that is to come, of a job that has ended. A clock that was ahead makes nothing last longer."""
    if job.ended_at is None or job.expired:
        return None
    ended_at = job.ended_at if job.ended_at.tzinfo else job.ended_at.replace(tzinfo=UTC)
    due = min(ended_at, now) + timedelta(seconds=retention_s)
    return facts.JobExpired(job_id=job_id, run=job.run, owner=job.owner, at=due)


def may_expire(known: Sequence[facts.AnyFact], expired: facts.JobExpired) -> bool:
    """Whether the time has come, given all facts of the job: not if it was retried since.

    A job of which the log has nothing left is as good as over.
    """
    runs = [fact for fact in known if not isinstance(fact, facts.ShareMinted | facts.ShareRevoked)]
    of_run = [fact for fact in runs if fact.run == expired.run]
    if any(fact.run > expired.run for fact in runs):
        return False
    return not of_run or any(facts.ends_run(fact) for fact in of_run)


class Job(msgspec.Struct, kw_only=True):
    """What is kept in mind of a job."""

    owner: str
    last_seq: int = 0
    run: int = 0
    ended_at: datetime | None = None
    """When the last run ended."""
    expired: bool = False
    sources: set[str] = set()
    """Digests of what was uploaded."""
    keys: set[str] = set()
    """The stored files that its facts speak of, and those that lie beside them."""
    notes: set[str] = set()
    """What it leaves once it is completed: the notes that an equal job will be quick."""

    @property
    def live(self) -> bool:
        """Whether somebody may still work on it."""
        return self.ended_at is None and not self.expired


class Survey:
    """Who speaks of which file: all jobs of the log, as far as it was read."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}

    def add(self, seq: int, fact: facts.AnyFact) -> None:
        """One more fact, in log order; one that came before changes nothing."""
        job = self.jobs.setdefault(fact.job_id, Job(owner=fact.owner))
        job.last_seq = seq
        if isinstance(fact, facts.ShareMinted | facts.ShareRevoked):
            return  # of the job, not of a run of it
        if fact.run > job.run:
            job.run, job.ended_at, job.expired = fact.run, None, False
        if fact.run == job.run and facts.ends_run(fact):
            job.ended_at = job.ended_at or fact.at
        job.expired = job.expired or (fact.run == job.run and isinstance(fact, facts.JobExpired))
        if isinstance(fact, facts.JobAccepted | facts.JobStarted):
            job.sources.add(fact.source.digest)
            job.notes.add(finished_key(fact.owner, fact.source.digest, fact.parameters))
        if isinstance(fact, facts.JobCompleted):
            job.keys |= job.notes
        job.keys |= {key for key in _spoken_of(fact) if _is_of(fact.owner, key)}

    def forget(self, first_seq: int) -> None:
        """Jobs of which the log has nothing any more."""
        self.jobs = {job_id: job for job_id, job in self.jobs.items() if job.last_seq >= first_seq}

    def removable(self, job_id: str) -> list[str]:
        """Files of an expired job that may go now, doors first."""
        job = self.jobs.get(job_id)
        if job is None or not job.expired:
            return []
        keys = set(job.keys)
        for other in self.jobs.values():
            if other.owner == job.owner and not other.expired:
                keys -= other.keys
        if job.sources & self._wanted().get(job.owner, set()):
            keys = {key for key in keys if key.startswith("uploads/")}
        return doors_first(keys)

    def abandoned(self, keys: Sequence[str]) -> list[str]:
        """Those of some files that no unexpired job speaks of, doors first."""
        wanted = self._wanted()
        kept: set[str] = set()
        for job in self.jobs.values():
            if not job.expired or job.sources & wanted.get(job.owner, set()):
                kept |= job.keys
        return doors_first(set(keys) - kept)

    def _wanted(self) -> dict[str, set[str]]:
        """Digests of the recordings of each owner that are worked on: results of the same ones may be used soon."""
        wanted: dict[str, set[str]] = {}
        for job in self.jobs.values():
            if job.live:
                wanted.setdefault(job.owner, set()).update(job.sources)
        return wanted


def is_door(key: str) -> bool:
    """Whether it is where others look for what lies beside it: once it is gone, nobody comes for the rest."""
    return key.endswith(".media.json") or (key.startswith("cache/") and key.split("/")[2:3] == ["job"])


def doors_first(keys: set[str]) -> list[str]:
    """In the order in which they may be deleted, whatever comes between."""
    return sorted(keys, key=lambda key: (not is_door(key), key))


def _spoken_of(fact: facts.AnyFact) -> Iterator[str]:
    for value in msgspec.structs.asdict(fact).values():
        for ref in value.values() if isinstance(value, dict) else [value]:
            if isinstance(ref, ArtifactRef):
                yield ref.key
    if isinstance(fact, facts.AudioExtracted):
        yield fact.audio.key.removesuffix("wav") + "media.json"


def _is_of(owner: str, key: str) -> bool:
    """A fact that somebody forged has nothing removed that is not its owner's."""
    return key.startswith((f"uploads/{owner}/", f"cache/{owner}/")) and ".." not in key.split("/")
