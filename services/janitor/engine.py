"""What is of no use any more, and when it becomes so: pure functions of facts."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from contracts import facts
from contracts.artifacts import ArtifactRef, fetched_folder, fetched_note, finished_key, part_keys
from contracts.failures import FAILURES


def useless_uploads(known: Sequence[facts.AnyFact]) -> list[str]:
    """Keys of uploads that no retry could make anything of, given the facts of one run."""
    hopeless = any(isinstance(fact, facts.JobFailed) and not FAILURES[fact.code].retry_can_help for fact in known)
    sent = [fact for fact in known if isinstance(fact, facts.JobAccepted | facts.SourceFetched) and hopeless]
    notes = [fetched_note(fact.owner, fact.job_id) for fact in sent if isinstance(fact, facts.SourceFetched)]
    return notes + [key for fact in sent if fact.source is not None for key in part_keys(fact.source)]


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
    sources: dict[str, datetime] = {}
    """Digests of what was uploaded or fetched, and since when the log tells of it."""
    keys: set[str] = set()
    """The stored files that its facts speak of, and those that lie beside them."""
    own: set[str] = set()
    """Those of them that no other job could come to use: of corrections."""
    edited: set[int] = set()
    exported: set[int] = set()
    """Versions of the transcript of the last run, and those of them that the exporter is done with."""
    folder: str | None = None
    """Where what is fetched for it lies, as long as no fact speaks of it."""
    notes: set[str] = set()
    """What it leaves once it is completed: the notes that an equal job will be quick."""

    @property
    def live(self) -> bool:
        """Whether somebody may still work on it."""
        return self.ended_at is None and not self.expired

    @property
    def unexported(self) -> bool:
        """Whether there is a correction whose subtitles are not there yet."""
        return not self.expired and not self.edited <= self.exported


class Batch(msgspec.Struct, frozen=True):
    """A batch, and where in the log it, or that it was given up, came last."""

    last_seq: int
    accepted: facts.BatchAccepted
    failed: facts.JobFailed | None = None

    @property
    def waking(self) -> facts.BatchAccepted | facts.JobFailed:
        """What the dispatcher wakes on: of a run that has ended, no other message is looked at than its end."""
        return self.failed or self.accepted


class Survey:
    """Who speaks of which file: all jobs of the log, as far as it was read."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.batches: dict[str, Batch] = {}

    def add(self, seq: int, fact: facts.AnyFact) -> None:
        """One more fact, in log order; one that came before changes nothing."""
        if isinstance(fact, facts.BatchAccepted):
            self._add_batch(seq, fact)
            return
        if isinstance(fact, facts.JobFailed) and (batch := self.batches.get(fact.job_id)) is not None:
            self.batches[fact.job_id] = msgspec.structs.replace(batch, last_seq=seq, failed=fact)
        job = self.jobs.setdefault(fact.job_id, Job(owner=fact.owner))
        job.last_seq = seq
        if isinstance(fact, facts.ShareMinted | facts.ShareRevoked):
            return  # of the job, not of a run of it
        if fact.run > job.run:
            job.run, job.ended_at, job.expired = fact.run, None, False
            job.edited, job.exported = set(), set()
        if fact.run == job.run and facts.ends_run(fact):
            job.ended_at = job.ended_at or fact.at
        job.expired = job.expired or (fact.run == job.run and isinstance(fact, facts.JobExpired))
        if isinstance(fact, facts.JobAccepted) and fact.source_url is not None:
            folder = fetched_folder(fact.owner, fact.job_id)
            job.folder = folder if _is_of(fact.owner, folder) else None
        if isinstance(fact, facts.JobAccepted | facts.JobStarted | facts.SourceFetched) and fact.source is not None:
            job.sources.setdefault(fact.source.digest, fact.at)
            job.notes.add(finished_key(fact.owner, fact.source.digest, fact.parameters))
        if isinstance(fact, facts.JobCompleted):
            job.keys |= job.notes
        keys = {key for key in _spoken_of(fact) if _is_of(fact.owner, key)}
        job.keys |= keys
        if isinstance(fact, facts.TranscriptEdited | facts.VersionExported):
            job.own |= keys
            if fact.run == job.run:
                (job.edited if isinstance(fact, facts.TranscriptEdited) else job.exported).add(fact.n)

    def forget(self, first_seq: int) -> None:
        """Jobs of which the log has nothing any more."""
        self.jobs = {job_id: job for job_id, job in self.jobs.items() if job.last_seq >= first_seq}
        self.batches = {batch_id: one for batch_id, one in self.batches.items() if one.last_seq >= first_seq}

    def folded(self) -> list[Batch]:
        """Batches that are kept, and of which the dispatcher has not accepted every job yet, given up or not."""
        return [
            batch
            for batch_id, batch in self.batches.items()
            if not (batch_id in self.jobs and self.jobs[batch_id].expired)
            and any(item.job_id in self.jobs and not self.jobs[item.job_id].run for item in batch.accepted.items)
        ]

    def removable(self, job_id: str) -> list[str]:
        """Files of an expired job that may go now, doors first."""
        job = self.jobs.get(job_id)
        if job is None or not job.expired:
            return []
        keys = set(job.keys)
        for other in self.jobs.values():
            if other.owner == job.owner and not other.expired:
                keys -= other.keys
        if job.sources.keys() & self._wanted().get(job.owner, {}):
            keys = {key for key in keys if key.startswith("uploads/") or key in job.own}
        return doors_first(keys)

    def folder(self, job_id: str) -> str | None:
        """Where in the store all is of an expired job alone."""
        job = self.jobs.get(job_id)
        return job.folder if job is not None and job.expired else None

    def abandoned(self, made_at: Mapping[str, datetime]) -> list[str]:
        """Those of some files that no unexpired job speaks of, doors first. A job that is fetched has its folder.

        A result that may be of a recording that is worked on stays, too: a stage may have found it just now.
        """
        wanted = self._wanted()
        folders = tuple(job.folder for job in self.jobs.values() if job.folder is not None and job.live)
        kept: set[str] = set()
        for job in self.jobs.values():
            if not job.expired or job.sources.keys() & wanted.get(job.owner, {}):
                kept |= job.keys
        since = {owner: min(known.values()) for owner, known in wanted.items() if known}
        for key, made in made_at.items():
            kind, owner, *_ = key.split("/")
            if kind == "cache" and owner in since and made >= since[owner]:
                kept.add(key)
        return doors_first({key for key in made_at if key not in kept and not key.startswith(folders)})

    def _add_batch(self, seq: int, batch: facts.BatchAccepted) -> None:
        """Its files are spoken of from here on, though the jobs come later."""
        known = self.batches.get(batch.job_id)
        self.batches[batch.job_id] = Batch(seq, batch, known.failed if known is not None else None)
        for item in batch.items:
            job = self.jobs.setdefault(item.job_id, Job(owner=batch.owner, last_seq=seq))
            if item.source is not None:
                job.keys |= {key for key in part_keys(item.source) if _is_of(batch.owner, key)}

    def _wanted(self) -> dict[str, dict[str, datetime]]:
        """Digests of the recordings of each owner that are worked on: results of the same ones may be used soon. With
        each, since when the log tells of it, in whichever job: no result of it is older.
        """
        wanted: dict[str, dict[str, datetime]] = {}
        for job in self.jobs.values():
            if job.live:
                wanted.setdefault(job.owner, {}).update(job.sources)
        for job in self.jobs.values():
            known = wanted.get(job.owner, {})
            for digest in known.keys() & job.sources:
                known[digest] = min(known[digest], job.sources[digest])
        return wanted


def is_door(key: str) -> bool:
    """Whether it is where others look for what lies beside it: once it is gone, nobody comes for the rest."""
    if key.startswith("cache/") and key.split("/")[2:3] == ["job"]:
        return True
    return key.endswith((".media.json", ".fetched/note.json"))


def doors_first(keys: set[str]) -> list[str]:
    """In the order in which they may be deleted, whatever comes between."""
    return sorted(keys, key=lambda key: (not is_door(key), key))


def _spoken_of(fact: facts.AnyFact) -> Iterator[str]:
    for value in msgspec.structs.asdict(fact).values():
        for ref in value.values() if isinstance(value, dict) else [value]:
            if isinstance(ref, ArtifactRef):
                yield from part_keys(ref)
    if isinstance(fact, facts.AudioExtracted):
        yield fact.audio.key.removesuffix("wav") + "media.json"
    if isinstance(fact, facts.SourceFetched):
        yield fetched_note(fact.owner, fact.job_id)


def _is_of(owner: str, key: str) -> bool:
    """A fact that somebody forged has nothing removed that is not its owner's."""
    return key.startswith((f"uploads/{owner}/", f"cache/{owner}/", f"edits/{owner}/")) and ".." not in key.split("/")
