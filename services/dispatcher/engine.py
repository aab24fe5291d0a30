"""Which waiting jobs start next: a pure function of the ledger and the limits."""

from chassis.admission import Ledger, Limits, Place, State


def next_to_start(ledger: Ledger, limits: Limits) -> list[str]:
    """Job ids to start now: by tier, then fair between owners (fewest running first), then oldest first.

    Never more than `max_active_jobs` run over all, nor `max_active_per_owner` of one owner.
    """
    started: list[str] = []
    while True:
        ledger_after = ledger
        for job_id in started:
            ledger_after = ledger_after.with_state(job_id, State.ACTIVE)
        if ledger_after.count(State.ACTIVE) >= limits.max_active_jobs:
            return started
        ready = [
            (job_id, place)
            for job_id, place in ledger_after.places.items()
            if place.state is State.WAITING
            and ledger_after.count(State.ACTIVE, counted_as=place.counted_as) < limits.max_active_per_owner
        ]
        if not ready:
            return started
        started.append(min(ready, key=lambda one: _rank(one[1], ledger_after))[0])


def queue_positions(ledger: Ledger) -> dict[str, int]:
    """The place in the queue of every waiting job, from 1, as if each job ahead had started."""
    order: list[str] = []
    rest = ledger
    while waiting := [(job_id, place) for job_id, place in rest.places.items() if place.state is State.WAITING]:
        job_id = min(waiting, key=lambda one: _rank(one[1], rest))[0]
        order.append(job_id)
        rest = rest.with_state(job_id, State.ACTIVE)
    return {job_id: number for number, job_id in enumerate(order, start=1)}


def _rank(place: Place, ledger: Ledger) -> tuple[int, int, float]:
    return place.tier, ledger.count(State.ACTIVE, counted_as=place.counted_as), place.since.timestamp()
