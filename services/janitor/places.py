"""Which places of the admission ledger are not as the facts say: a pure function.

The dispatcher is the one that moves places on; what can be put right by waking it is.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import msgspec

from chassis.admission import Ledger, Limits, Place, State
from contracts import facts


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """Give up the place that a job has for a run."""

    job_id: str
    run: int


class Restore(msgspec.Struct, frozen=True, kw_only=True):
    """Count a job that runs and has no place."""

    started: facts.JobStarted
    tier: int


class Wake(msgspec.Struct, frozen=True, kw_only=True):
    """Have the dispatcher look at a job again."""

    accepted: facts.JobAccepted
    unheard: bool
    """Whether it has to hear of this job. Else any fact would do, and one that is still to be heard is enough."""


Remedy = Release | Restore | Wake
Known = Mapping[str, Sequence[facts.AnyFact]]
"""All facts of each job, in log order."""


def misplaced(
    ledger: Ledger, jobs: Known, limits: Limits, *, now: datetime, silent_s: float, folded: Collection[str] = ()
) -> list[Remedy]:
    """What is to be done. `silent_s`: how long a place may be held of which no fact tells and nobody renews.
    `folded`: batches that lack jobs still, so that these and the batch keep their places.
    """
    remedies: list[Remedy] = []
    for job_id, place in ledger.places.items():
        if job_id not in folded:
            remedies += _of_place(job_id, place, jobs.get(job_id, ()), now, silent_s, place.batch in folded)
    for job_id, known in jobs.items():
        remedies += _of_job(job_id, known, ledger)
    return [*remedies, *starved(ledger, jobs, limits)]


def starved(ledger: Ledger, jobs: Known, limits: Limits) -> list[Wake]:
    """A job that waits although it could run: what ended before it was not heard of."""
    if ledger.count(State.ACTIVE) >= limits.max_active_jobs:
        return []
    for job_id, place in ledger.places.items():
        of_run = _of_run(jobs.get(job_id, ()), place.run)
        accepted = _accepted(of_run)
        if place.state is not State.WAITING or accepted is None or _over(of_run):
            continue
        if ledger.count(State.ACTIVE, counted_as=place.counted_as) < limits.max_active_per_owner:
            return [Wake(accepted=accepted, unheard=False)]
    return []


def _of_place(
    job_id: str, place: Place, known: Sequence[facts.AnyFact], now: datetime, silent_s: float, is_to_come: bool
) -> list[Remedy]:
    of_run = _of_run(known, place.run)
    if _over(of_run) or any(isinstance(fact, facts.JobAccepted) and fact.run > place.run for fact in known):
        return [Release(job_id=job_id, run=place.run)]
    accepted = _accepted(of_run)
    if accepted is None:
        silent = (now - place.since).total_seconds() > silent_s
        unheard_of = all(isinstance(fact, facts.BatchAccepted) for fact in of_run)
        return [Release(job_id=job_id, run=place.run)] if silent and unheard_of and not is_to_come else []
    if place.state is State.UPLOADING:
        return [Wake(accepted=accepted, unheard=True)]
    if place.state is State.CANCELLED:
        return [Wake(accepted=accepted, unheard=False)]
    if place.state is State.ACTIVE and not any(isinstance(fact, facts.JobStarted) for fact in of_run):
        return [Wake(accepted=accepted, unheard=False)]
    return []


def _of_job(job_id: str, known: Sequence[facts.AnyFact], ledger: Ledger) -> list[Remedy]:
    run = max((fact.run for fact in known if isinstance(fact, facts.JobAccepted)), default=0)
    of_run = _of_run(known, run)
    accepted = _accepted(of_run)
    place = ledger.places.get(job_id)
    if accepted is None or _over(of_run) or (place is not None and place.run >= run):
        return []
    started = next((fact for fact in of_run if isinstance(fact, facts.JobStarted)), None)
    if started is None:
        return [Wake(accepted=accepted, unheard=True)]
    return [Restore(started=started, tier=accepted.tier)]


def _of_run(known: Sequence[facts.AnyFact], run: int) -> list[facts.AnyFact]:
    return [fact for fact in known if fact.run == run]


def _over(of_run: Sequence[facts.AnyFact]) -> bool:
    return any(facts.ends_run(fact) or isinstance(fact, facts.JobExpired) for fact in of_run)


def _accepted(of_run: Sequence[facts.AnyFact]) -> facts.JobAccepted | None:
    return next((fact for fact in of_run if isinstance(fact, facts.JobAccepted)), None)
