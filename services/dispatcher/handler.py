"""Moves the ledger on with the facts, and starts what fits."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

import msgspec
import nats.errors

from chassis.admission import Admission, Ledger, Limits, Place, State
from chassis.joblog import JobLog, LogFull
from chassis.settle import Work
from contracts import facts
from services.dispatcher.engine import Order, Pace
from services.dispatcher.positions import Positions

_AT_ONCE = 8
_UNREADABLE = (nats.errors.Error, OSError, ValueError)


class NotUnfolded(LogFull):
    """The jobs of a batch are promised: as with a full log the message is handed back, and that is no try."""


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
        self._positions = Positions(joblog, limits, self._pace, ageing_s=ageing_s)

    async def close(self) -> None:
        """Say what is to be said still."""
        await self._positions.close()

    async def __call__(self, fact: facts.AnyFact, work: Work) -> Sequence[facts.Fact]:
        """Returns the facts that the new ledger calls for."""
        if (batch := _batch_of(fact, work)) is not None:
            await self._unfold(batch, work)
            return []
        if isinstance(fact, facts.JobCompleted) and not fact.cached:
            began = next((known.at for known in work.facts() if isinstance(known, facts.JobStarted)), fact.at)
            self._pace.ran(max(0.0, (fact.at - began).total_seconds()))
        ledger = await self._admission.change(lambda ledger: self._moved_on(ledger, fact))
        self._positions.changed(ledger)
        cancelled = [
            facts.JobCancelled(job_id=job_id, run=place.run, owner=place.owner, at=datetime.now(UTC))
            for job_id, place in ledger.places.items()
            if place.state is State.CANCELLED
        ]
        limit = asyncio.Semaphore(_AT_ONCE)
        started = await asyncio.gather(
            *(
                self._started(job_id, place, fact, work, limit)
                for job_id, place in ledger.places.items()
                if place.state is State.ACTIVE
            )
        )
        return [*cancelled, *(one for one in started if one is not None)]

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
        order = Order(self._limits, ageing_s=self._ageing_s, now=datetime.now(UTC))
        for job_id in order.next_to_start(ledger):
            ledger = ledger.with_state(job_id, State.ACTIVE)
        return ledger

    async def _unfold(self, batch: facts.BatchAccepted, work: Work) -> None:
        """Make the jobs of a batch that the log does not have yet, in the order of the items.

        They get their places before, so that after a crash they are here still, and found again. The place of the batch
        stands for none of them then, and says whom they count for until all are accepted.
        """
        limit = asyncio.Semaphore(_AT_ONCE)

        async def is_missing(item: facts.BatchItem) -> bool:
            async with limit:
                return not await self._joblog.facts_of(item.job_id)

        try:
            missing = await asyncio.gather(*(is_missing(item) for item in batch.items))
            items = [item for item, lacks in zip(batch.items, missing, strict=True) if lacks]
            await self._admission.change(partial(_placed, batch=batch, items=items))
            for item in items:
                await self._joblog.append(_accepted(batch, item))
            await self._admission.release(batch.job_id)
        except TimeoutError as error:
            raise NotUnfolded(f"the log or the ledger does not answer: {error!r}") from error
        work.log.info("unfolded", jobs=len(items))

    async def _started(
        self, job_id: str, place: Place, woken_by: facts.AnyFact, work: Work, limit: asyncio.Semaphore
    ) -> facts.JobStarted | None:
        """The fact that an active job lacks. One that cannot be read keeps its place and is looked at again at the
        next wake: no other job is to fail for it.
        """
        try:
            async with limit:
                entries = await self._joblog.facts_of(job_id)
        except _UNREADABLE as error:
            if job_id == woken_by.job_id:
                raise
            work.log.warning("facts_not_read", unread_job_id=job_id, error=repr(error))
            return None
        recorded = [entry.fact for entry in entries if entry.fact.run == place.run]
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


def _batch_of(fact: facts.AnyFact, work: Work) -> facts.BatchAccepted | None:
    """The batch to unfold. One that was given up is gone on with, as long as it is kept: its jobs are promised."""
    if isinstance(fact, facts.BatchAccepted):
        return fact
    known = work.facts() if isinstance(fact, facts.JobFailed) else []
    if any(isinstance(one, facts.JobExpired) for one in known):
        return None
    return next((one for one in known if isinstance(one, facts.BatchAccepted)), None)


def _placed(ledger: Ledger, batch: facts.BatchAccepted, items: Sequence[facts.BatchItem]) -> Ledger:
    own = ledger.places.get(batch.job_id)
    kept = own or next((place for place in ledger.places.values() if place.batch == batch.job_id), None)
    place = Place(
        owner=batch.owner,
        counted_as=kept.counted_as if kept else batch.owner,
        run=1,
        tier=batch.tier,
        state=State.WAITING,
        since=batch.at,
        batch=batch.job_id,
    )
    places = {item.job_id: place for item in items if item.job_id not in ledger.places}
    if own is not None:
        places[batch.job_id] = msgspec.structs.replace(own, jobs=0, batch=batch.job_id)
    return ledger.with_places(places)


def _accepted(batch: facts.BatchAccepted, item: facts.BatchItem) -> facts.JobAccepted:
    return facts.JobAccepted(
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
