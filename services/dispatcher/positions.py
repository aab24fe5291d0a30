"""Tells those who wait where they are in the queue: lossy, at most once a second, and the last word always."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

import nats.errors

from chassis import telemetry
from chassis.admission import Ledger, Limits, State
from chassis.joblog import JobLog
from contracts import progress
from services.dispatcher.engine import Order, Pace

TOLD = 100
"""Who is further behind hears no number: it would change all the time, and each is a message."""

_EVERY_S = 1.0
_BROKER_AWAY = (nats.errors.Error, OSError)


class Positions:
    """Of ledgers that come faster than they can be told only the last is. One that could not be told is tried again."""

    def __init__(self, joblog: JobLog, limits: Limits, pace: Pace, *, ageing_s: float) -> None:
        self._joblog = joblog
        self._limits = limits
        self._pace = pace
        self._ageing_s = ageing_s
        self._latest: Ledger | None = None
        self._telling: asyncio.Task[None] | None = None
        self._numbered: set[tuple[str, int]] = set()
        """The runs that have heard a number."""

    def changed(self, ledger: Ledger) -> None:
        """Have a ledger told, now or in a moment."""
        self._latest = ledger
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell_until_told(), name="positions")

    async def close(self) -> None:
        """Tell what is to be told still, if the broker is there."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait({self._telling})
        if self._latest is not None:
            with suppress(*_BROKER_AWAY):
                await self._tell(self._latest)

    async def _tell_until_told(self) -> None:
        while (ledger := self._latest) is not None:
            try:
                await self._tell(ledger)
            except _BROKER_AWAY as error:
                telemetry.logger(stage="dispatcher").debug("positions_not_told", error=repr(error))
            else:
                if self._latest is ledger:
                    self._latest = None
            await asyncio.sleep(_EVERY_S)

    async def _tell(self, ledger: Ledger) -> None:
        now = datetime.now(UTC)
        queue = Order(self._limits, ageing_s=self._ageing_s, now=now).queue(ledger, TOLD)
        starts = self._pace.starts_in_s(ledger, len(queue), self._limits.max_active_jobs, now)
        numbered = {(job_id, ledger.places[job_id].run) for job_id in queue}
        for job_id, run in self._numbered - numbered:
            place = ledger.places.get(job_id)
            if place is not None and (place.run, place.state) == (run, State.WAITING):
                await self._say(job_id, run)  # the number it has heard is no longer true
        self._numbered |= numbered
        for position, job_id in enumerate(queue, start=1):
            await self._say(job_id, ledger.places[job_id].run, position, starts[position - 1] if starts else None)
        self._numbered = numbered

    async def _say(self, job_id: str, run: int, position: int | None = None, starts_in_s: float | None = None) -> None:
        await self._joblog.report(
            progress.LiveProgress(
                job_id=job_id,
                run=run,
                stage=progress.Stage.QUEUED,
                fraction=0.0,
                queue_position=position,
                starts_in_s=None if starts_in_s is None else round(starts_in_s, 1),
            )
        )
