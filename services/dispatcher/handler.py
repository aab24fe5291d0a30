"""Moves the ledger on with the facts, and starts what fits."""

from collections.abc import Sequence
from datetime import UTC, datetime

from chassis.admission import Admission, Ledger, Limits, Place, State
from chassis.joblog import JobLog
from chassis.settle import Work
from contracts import facts, progress
from services.dispatcher.engine import next_to_start, queue_positions


class Dispatcher:
    """Wakes on a job that was accepted or ended.

    Every wake does the same: correct the ledger by the fact, start what fits, then publish `started` for each active
    job that lacks it and `cancelled` for each that was cancelled while it waited. Both are published create-only, so
    a crash after any line is made good by the redelivery.
    """

    def __init__(self, joblog: JobLog, admission: Admission, limits: Limits) -> None:
        self._joblog = joblog
        self._admission = admission
        self._limits = limits

    async def __call__(self, fact: facts.AnyFact, work: Work) -> Sequence[facts.Fact]:
        """Returns the facts that the new ledger calls for."""
        ledger = await self._admission.change(lambda ledger: self._moved_on(ledger, fact))
        published: list[facts.Fact] = []
        for job_id, place in ledger.places.items():
            if place.state is State.CANCELLED:
                published.append(
                    facts.JobCancelled(job_id=job_id, run=place.run, owner=place.owner, at=datetime.now(UTC))
                )
            elif place.state is State.ACTIVE and (started := await self._started(job_id, place)) is not None:
                published.append(started)
        for job_id, position in queue_positions(ledger).items():
            await self._joblog.report(
                progress.LiveProgress(
                    job_id=job_id,
                    run=ledger.places[job_id].run,
                    stage=progress.Stage.QUEUED,
                    fraction=0.0,
                    queue_position=position,
                )
            )
        return published

    def _moved_on(self, ledger: Ledger, fact: facts.AnyFact) -> Ledger:
        place = ledger.places.get(fact.job_id)
        if isinstance(fact, facts.JobAccepted):
            if place is None or place.run < fact.run:
                # The bucket was lost, or a retry came without a place: the log is the truth.
                place = Place(
                    owner=fact.owner,
                    counted_as=fact.owner,
                    run=fact.run,
                    tier=fact.tier,
                    state=State.WAITING,
                    since=fact.at,
                )
                ledger = ledger.with_place(fact.job_id, place)
            elif place.state is State.UPLOADING:
                ledger = ledger.with_state(fact.job_id, State.WAITING)
        elif place is not None and place.run == fact.run:
            ledger = ledger.without(fact.job_id)
        for job_id in next_to_start(ledger, self._limits):
            ledger = ledger.with_state(job_id, State.ACTIVE)
        return ledger

    async def _started(self, job_id: str, place: Place) -> facts.JobStarted | None:
        recorded = [entry.fact for entry in await self._joblog.facts_of(job_id) if entry.fact.run == place.run]
        accepted = next((fact for fact in recorded if isinstance(fact, facts.JobAccepted)), None)
        if accepted is None or any(isinstance(fact, facts.JobStarted) for fact in recorded):
            return None
        return facts.JobStarted(
            job_id=job_id,
            run=place.run,
            owner=accepted.owner,
            at=datetime.now(UTC),
            filename=accepted.filename,
            source=accepted.source,
            parameters=accepted.parameters,
        )
