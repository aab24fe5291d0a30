"""The only place where a subject is spelled: `job.<fact>.<owner>.<job_id>.<run>[.<n>]` and `progress.<job_id>.<stage>`.

Every part is one token of `[A-Za-z0-9_-]`, so nothing a user types can widen a subject.
"""

import re

import msgspec

from contracts.facts import AnyFact, Fact, NumberedFact, decode, name

RECONCILE = "ask.reconcile"
"""Request and reply: have everything that should not be put right now."""

LIVE = "live"
"""Prefix under which both streams are republished for those who only listen."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")


class FactSubject(msgspec.Struct, frozen=True):
    """A parsed subject of the stream `JOBS`."""

    fact: str
    owner: str
    job_id: str
    run: int
    n: int | None = None


def of(fact: Fact) -> str:
    """The subject of a fact: its identity, since it is published create-only."""
    parts = ["job", name(fact), _token(fact.owner), _token(fact.job_id), str(fact.run)]
    if isinstance(fact, NumberedFact):
        parts.append(str(fact.n))
    return ".".join(parts)


def fact_on(subject: str, body: bytes) -> AnyFact:
    """The fact that a message is. Raises ValueError (msgspec.MsgspecError is one) where it is none, or another's."""
    fact = decode(body)
    if of(fact) != subject:
        raise ValueError("the fact does not belong on its subject")
    return fact


def parse(subject: str) -> FactSubject:
    """Raises ValueError on anything but a subject of a fact."""
    parts = subject.split(".")
    if (
        len(parts) not in (5, 6)
        or parts[0] != "job"
        or not all(part.isascii() and part.isdigit() for part in parts[4:])
    ):
        raise ValueError(f"{subject!r} is not the subject of a fact")
    _, fact, owner, job_id, run, *n = parts
    return FactSubject(_token(fact), _token(owner), _token(job_id), int(run), int(n[0]) if n else None)


def every(fact: type[Fact]) -> str:
    """All facts of a kind, of every job: what a durable filters by."""
    return f"job.{name(fact)}.>"


def of_job(job_id: str) -> str:
    """All facts of a job, every run and number."""
    return f"job.*.*.{_token(job_id)}.>"


def of_job_and_kind(job_id: str, kind: type[Fact]) -> str:
    """All facts of one kind of a job, every run and number."""
    return f"job.{name(kind)}.*.{_token(job_id)}.>"


def of_run(fact: Fact) -> str:
    """The facts of the same run that a run has one of: what guards its one terminal fact."""
    return f"job.*.{_token(fact.owner)}.{_token(fact.job_id)}.{fact.run}"


def is_of_run(subject: str, fact: Fact) -> bool:
    """Whether `of_run(fact)` matches a subject."""
    parts = subject.split(".")
    return len(parts) == 5 and parts[2:] == [fact.owner, fact.job_id, str(fact.run)]


def of_every_run(fact: Fact) -> str:
    """As `of_run`, of all runs of the job: what guards that it expires while nobody retries it."""
    return f"job.*.{_token(fact.owner)}.{_token(fact.job_id)}.*"


def is_of_every_run(subject: str, fact: Fact) -> bool:
    """Whether `of_every_run(fact)` matches a subject."""
    parts = subject.split(".")
    return len(parts) == 5 and parts[2:4] == [fact.owner, fact.job_id]


def live(fact: type[Fact]) -> str:
    """Where a fact of a kind is heard as it happens, by those who can afford to miss it."""
    return f"{LIVE}.{every(fact)}"


def schedule(fact: Fact) -> str:
    """Where the schedule of a fact that is to come lies; one per job, so setting it again replaces it."""
    return f"schedule.{name(fact)}.{_token(fact.owner)}.{_token(fact.job_id)}"


def due(fact: Fact) -> str:
    """Where a scheduled fact is put when its time has come; nobody has acted on it yet."""
    return f"due.{name(fact)}.{_token(fact.owner)}.{_token(fact.job_id)}"


def progress(job_id: str, stage: str) -> str:
    """Where a stage says how far it is; one message is kept per subject."""
    return f"progress.{_token(job_id)}.{_token(stage)}"


def progress_of_job(job_id: str) -> str:
    """The progress of every stage of a job."""
    return f"progress.{_token(job_id)}.*"


def _token(part: str) -> str:
    if not _TOKEN.fullmatch(part):
        raise ValueError(f"{part!r} cannot be part of a subject: use 1 to 128 of A-Z a-z 0-9 _ -")
    return part
