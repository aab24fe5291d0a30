"""Which waiting jobs start next, and when: pure functions of the ledger and the limits."""

import heapq
import statistics
from collections import Counter, deque
from collections.abc import Iterator
from datetime import datetime
from itertools import islice

from chassis.admission import Ledger, Limits, State

_RUNS_REMEMBERED = 50


class Order:
    """By tier, then fair between owners (fewest running first), then oldest first.

    A job rises by one tier for every `ageing_s` that it waits, so that a low tier is served at last however many
    higher ones come in. What a whole queue costs is n log n: it is asked for at every wake.
    """

    def __init__(self, limits: Limits, *, ageing_s: float, now: datetime) -> None:
        self._limits = limits
        self._ageing_s = ageing_s
        self._now = now

    def next_to_start(self, ledger: Ledger) -> list[str]:
        """Job ids to start now. Never more than `max_active_jobs` run over all, nor `max_active_per_owner` of one."""
        active = ledger.count(State.ACTIVE)
        started: list[str] = []
        if active >= self._limits.max_active_jobs:
            return started
        for job_id in self._in_order(ledger, self._limits.max_active_per_owner):
            started.append(job_id)
            active += ledger.places[job_id].jobs
            if active >= self._limits.max_active_jobs:
                break
        return started

    def queue(self, ledger: Ledger, first: int | None = None) -> list[str]:
        """Every waiting job, or the first so many, in the order in which they would start if each job ahead had
        started.
        """
        return list(islice(self._in_order(ledger), first))

    def _in_order(self, ledger: Ledger, max_active_per_owner: float = float("inf")) -> Iterator[str]:
        """Jobs of one owner start in a fixed order, since what else counts is the same for all of them: only the heads
        of the owners' lines are compared. An owner whose head may not start is let go: his jobs do not become fewer.
        """
        running: Counter[str] = Counter()
        lines: dict[str, list[tuple[int, float, int, str]]] = {}
        for n, (job_id, place) in enumerate(ledger.places.items()):
            if place.state is State.ACTIVE:
                running[place.counted_as] += place.jobs
            elif place.state is State.WAITING:
                waited_s = (self._now - place.since).total_seconds()
                tier = place.tier - int(max(0.0, waited_s) // self._ageing_s)
                lines.setdefault(place.counted_as, []).append((tier, place.since.timestamp(), n, job_id))
        heads: list[tuple[int, int, float, int, str]] = []

        def step_up(counted_as: str) -> None:
            if (line := lines[counted_as]) and running[counted_as] < max_active_per_owner:
                tier, since, n, _ = line[0]
                heapq.heappush(heads, (tier, running[counted_as], since, n, counted_as))

        for counted_as, line in lines.items():
            heapq.heapify(line)
            step_up(counted_as)
        while heads:
            *_, counted_as = heapq.heappop(heads)
            *_, job_id = heapq.heappop(lines[counted_as])
            yield job_id
            running[counted_as] += ledger.places[job_id].jobs
            step_up(counted_as)


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
