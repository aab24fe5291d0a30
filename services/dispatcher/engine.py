"""Which waiting jobs start next, and when: pure functions of the ledger and the limits."""

import heapq
import statistics
from collections import deque
from datetime import datetime

from chassis.admission import Ledger, Limits, Place, State

_RUNS_REMEMBERED = 50


class Order:
    """By tier, then fair between owners (fewest running first), then oldest first.

    A job rises by one tier for every `ageing_s` that it waits, so that a low tier is served at last however many
    higher ones come in.
    """

    def __init__(self, limits: Limits, *, ageing_s: float, now: datetime) -> None:
        self._limits = limits
        self._ageing_s = ageing_s
        self._now = now

    def next_to_start(self, ledger: Ledger) -> list[str]:
        """Job ids to start now. Never more than `max_active_jobs` run over all, nor `max_active_per_owner` of one."""
        started: list[str] = []
        while ledger.count(State.ACTIVE) < self._limits.max_active_jobs:
            ready = [
                (job_id, place)
                for job_id, place in _waiting(ledger)
                if ledger.count(State.ACTIVE, counted_as=place.counted_as) < self._limits.max_active_per_owner
            ]
            if not ready:
                break
            started.append(min(ready, key=lambda one: self._rank(one[1], ledger))[0])
            ledger = ledger.with_state(started[-1], State.ACTIVE)
        return started

    def queue(self, ledger: Ledger) -> list[str]:
        """Every waiting job, in the order in which they would start if each job ahead had started."""
        order: list[str] = []
        while waiting := _waiting(ledger):
            order.append(min(waiting, key=lambda one: self._rank(one[1], ledger))[0])
            ledger = ledger.with_state(order[-1], State.ACTIVE)
        return order

    def _rank(self, place: Place, ledger: Ledger) -> tuple[int, int, float]:
        waited_s = (self._now - place.since).total_seconds()
        tier = place.tier - int(max(0.0, waited_s) // self._ageing_s)
        return tier, ledger.count(State.ACTIVE, counted_as=place.counted_as), place.since.timestamp()


class Pace:
    """How long jobs run, from those that ended lately."""

    def __init__(self) -> None:
        self._run_s: deque[float] = deque(maxlen=_RUNS_REMEMBERED)

    def ran(self, seconds: float) -> None:
        """One more job has completed."""
        self._run_s.append(seconds)

    def starts_in_s(self, ledger: Ledger, queued: int, max_active: int, now: datetime) -> list[float] | None:
        """Seconds until each of `queued` waiting jobs starts, in order; None as long as nothing is known.

        Every job is taken to run as long as the median of the last ones.
        """
        if not self._run_s:
            return None
        run_s = statistics.median(self._run_s)
        active = [place for place in ledger.places.values() if place.state is State.ACTIVE]
        free_at = [max(0.0, run_s - (now - place.since).total_seconds()) for place in active]
        free_at += [0.0] * max(0, max_active - len(active))
        heapq.heapify(free_at)
        starts: list[float] = []
        for _ in range(queued if free_at else 0):
            starts.append(heapq.heappop(free_at))
            heapq.heappush(free_at, starts[-1] + run_s)
        return starts


def _waiting(ledger: Ledger) -> list[tuple[str, Place]]:
    return [(job_id, place) for job_id, place in ledger.places.items() if place.state is State.WAITING]
