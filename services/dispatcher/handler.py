"""Moves the ledger on with the facts, and starts what fits."""

from collections.abc import Sequence
from datetime import UTC, datetime

from chassis.admission import Admission, Ledger, Limits, Place, State
from chassis.joblog import JobLog
from chassis.settle import Work
from contracts import facts, progress
from services.dispatcher.engine import Order, Pace


class Dispatcher:
    """Wakes on a job that was accepted or ended, and on a batch of them.

    Every wake does the same: correct the ledger by the fact, start what fits, then publish `started` for each active
    job that lacks it and `cancelled` for each that was cancelled while it waited. Both are published create-only, so
    a crash after any line is made good by the redelivery.
    """

    def __init__(self, joblog: JobLog, admission: Admission, limits: Limits, *, ageing_s: float) -> None:
        self._joblog = joblog
        self._admission = admission
        self._limits = limits
        self._ageing_s = ageing_s
        self._pace = Pace()

    async def __call__(self, fact: facts.AnyFact, work: Work) -> Sequence[facts.Fact]:
        """Returns the facts that the new ledger calls for."""
        if isinstance(fact, facts.BatchAccepted):
            return await self._unfolded(fact)
        if isinstance(fact, facts.JobCompleted) and not fact.cached:
            began = next((known.at for known in work.facts() if isinstance(known, facts.JobStarted)), fact.at)
            self._pace.ran(max(0.0, (fact.at - began).total_seconds()))
        ledger = await self._admission.change(lambda ledger: self._moved_on(ledger, fact))
        published: list[facts.Fact] = []
        for job_id, place in ledger.places.items():
            if place.state is State.CANCELLED:
                published.append(
                    facts.JobCancelled(job_id=job_id, run=place.run, owner=place.owner, at=datetime.now(UTC))
                )
            elif place.state is State.ACTIVE and (started := await self._started(job_id, place)) is not None:
                published.append(started)
        await self._tell_positions(ledger)
        return published

    async def _tell_positions(self, ledger: Ledger) -> None:
        queue = self._order().queue(ledger)
        starts = self._pace.starts_in_s(ledger, len(queue), self._limits.max_active_jobs, datetime.now(UTC))
        for position, job_id in enumerate(queue, start=1):
            await self._joblog.report(
                progress.LiveProgress(
                    job_id=job_id,
                    run=ledger.places[job_id].run,
                    stage=progress.Stage.QUEUED,
                    fraction=0.0,
                    queue_position=position,
                    starts_in_s=round(starts[position - 1], 1) if starts else None,
                )
            )

    def _order(self) -> Order:
        return Order(self._limits, ageing_s=self._ageing_s, now=datetime.now(UTC))

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
        for job_id in self._order().next_to_start(ledger):
            ledger = ledger.with_state(job_id, State.ACTIVE)
        return ledger

    async def _unfolded(self, batch: facts.BatchAccepted) -> list[facts.Fact]:
        """The jobs of a batch that the log does not have yet. They get their places before: after a crash they are here
        still, and found again.
        """
        items = [item for item in batch.items if not await self._joblog.facts_of(item.job_id)]

        def placed(ledger: Ledger) -> Ledger:
            taken = ledger.places.get(batch.job_id)
            ledger = ledger.without(batch.job_id)
            for item in items:
                if item.job_id not in ledger.places:
                    place = Place(
                        owner=batch.owner,
                        counted_as=taken.counted_as if taken else batch.owner,
                        run=1,
                        tier=batch.tier,
                        state=State.WAITING,
                        since=batch.at,
                        batch=batch.job_id,
                    )
                    ledger = ledger.with_place(item.job_id, place)
            return ledger

        await self._admission.change(placed)
        return [
            facts.JobAccepted(
                job_id=item.job_id,
                run=1,
                owner=batch.owner,
                at=batch.at,
                filename=item.filename,
                source=item.source,
                source_url=item.source_url,
                parameters=batch.parameters,
                token_sha256=item.token_sha256,
                tier=batch.tier,
            )
            for item in items
        ]

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
            source_url=accepted.source_url,
            parameters=accepted.parameters,
        )
