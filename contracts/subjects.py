"""The only place where a subject is spelled: `job.<fact>.<owner>.<job_id>.<run>[.<n>]` and `progress.<job_id>.<stage>`.

Every part is one token of `[A-Za-z0-9_-]`, so nothing a user types can widen a subject.
"""

import re

import msgspec

from contracts.facts import Fact, NumberedFact, name

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
