"""Which waiting job starts next, and when the others may expect to."""

import time
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from chassis.admission import Ledger, Limits, Place, State
from services.dispatcher.engine import Order, Pace

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def place(
    state: State = State.WAITING,
    *,
    owner: str = "anon",
    tier: int = 0,
    since_s: float = 0.0,
    counted_as: str = "a",
    jobs: int = 1,
) -> Place:
    since = NOW - timedelta(seconds=since_s)
    return Place(owner=owner, counted_as=counted_as, run=1, tier=tier, state=state, since=since, jobs=jobs)


def order(*, active: int = 3, per_owner: int = 5, ageing_s: float = 600.0) -> Order:
    limits = Limits(max_active_jobs=active, max_active_per_owner=per_owner)
    return Order(limits, ageing_s=ageing_s, now=NOW)


places = st.builds(
    place,
    st.sampled_from(State),
    tier=st.integers(0, 3),
    since_s=st.floats(0, 10_000),
    counted_as=st.sampled_from("abc"),
)
ledgers = st.lists(places, max_size=12).map(lambda all_: Ledger({f"j{n}": one for n, one in enumerate(all_)}))


@given(ledgers, st.integers(0, 5), st.integers(1, 3))
def test_the_limits_hold_whatever_waits(ledger: Ledger, active: int, per_owner: int) -> None:
    started = order(active=active, per_owner=per_owner).next_to_start(ledger)

    before, after = ledger, ledger
    for job_id in started:
        assert ledger.places[job_id].state is State.WAITING
        after = after.with_state(job_id, State.ACTIVE)
    assert after.count(State.ACTIVE) <= max(active, before.count(State.ACTIVE))
    for owner in "abc":
        held = before.count(State.ACTIVE, counted_as=owner)
        assert after.count(State.ACTIVE, counted_as=owner) <= max(per_owner, held)


@given(ledgers)
def test_no_place_stays_free_while_a_job_may_start(ledger: Ledger) -> None:
    started = order(active=2, per_owner=2).next_to_start(ledger)

    for job_id in started:
        ledger = ledger.with_state(job_id, State.ACTIVE)
    waiting = [one for one in ledger.places.values() if one.state is State.WAITING]
    assert ledger.count(State.ACTIVE) >= 2 or all(
        ledger.count(State.ACTIVE, counted_as=one.counted_as) >= 2 for one in waiting
    )


def one_by_one(ledger: Ledger, *, free: float = float("inf"), per_owner: float = float("inf")) -> list[str]:
    """The order as it is defined: whoever is first now starts, and then all are looked at again."""
    started: list[str] = []
    while ledger.count(State.ACTIVE) < free:
        ready = [
            (job_id, one)
            for job_id, one in ledger.places.items()
            if one.state is State.WAITING and ledger.count(State.ACTIVE, counted_as=one.counted_as) < per_owner
        ]
        if not ready:
            break

        def rank(one: Place, ledger: Ledger = ledger) -> tuple[int, int, float]:
            tier = one.tier - int(max(0.0, (NOW - one.since).total_seconds()) // 600.0)
            return tier, ledger.count(State.ACTIVE, counted_as=one.counted_as), one.since.timestamp()

        started.append(min(ready, key=lambda each: rank(each[1]))[0])
        ledger = ledger.with_state(started[-1], State.ACTIVE)
    return started


_crowded = st.builds(
    place,
    st.sampled_from([State.WAITING, State.WAITING, *State]),
    tier=st.integers(-1, 2),
    # many that came at the same moment, a few to the second of the next tier, one from a clock that is ahead
    since_s=st.sampled_from([-5.0, 0.0, 0.0, 1.0, 599.0, 600.0, 601.0, 5000.0]),
    counted_as=st.sampled_from("abcd"),
    jobs=st.sampled_from([1, 1, 1, 0, 3]),
)


@given(st.lists(_crowded, max_size=25), st.integers(0, 12), st.integers(0, 5), st.integers(0, 30))
def test_the_order_is_as_if_all_were_looked_at_after_each_start(
    all_: list[Place], active: int, per_owner: int, first: int
) -> None:
    ledger = Ledger({f"j{n}": one for n, one in enumerate(all_)})
    tested = order(active=active, per_owner=per_owner)

    expected = one_by_one(ledger)
    assert tested.queue(ledger) == expected
    assert tested.queue(ledger, first) == expected[:first]
    assert tested.next_to_start(ledger) == one_by_one(ledger, free=active, per_owner=per_owner)


def test_as_many_as_may_wait_hold_nobody_up() -> None:
    """They took minutes once; the bound is far from what it takes, and far from that."""
    ledger = Ledger(
        {f"j{n}": place(tier=n % 3, since_s=n % 1500, counted_as=str(n % 40)) for n in range(Limits().max_waiting_jobs)}
    )
    began = time.process_time()
    assert len(order().queue(ledger)) == len(ledger.places)
    assert len(order().next_to_start(ledger)) == 3
    assert time.process_time() - began < 1.0


def test_the_lower_tier_goes_first_then_the_oldest() -> None:
    ledger = Ledger(
        {"late": place(since_s=1), "early": place(since_s=9), "paid": place(tier=-1), "free": place(tier=1, since_s=99)}
    )
    assert order(active=9, per_owner=9).queue(ledger) == ["paid", "early", "late", "free"]


def test_owners_take_turns() -> None:
    ledger = Ledger(
        {f"a{n}": place(counted_as="a", since_s=100 - n) for n in range(3)} | {"b0": place(counted_as="b", since_s=1)}
    )
    assert order().queue(ledger) == ["a0", "b0", "a1", "a2"]


def test_a_low_tier_is_served_at_last() -> None:
    ledger = Ledger({"patient": place(tier=3, since_s=4 * 600 + 1)} | {f"new{n}": place(since_s=1) for n in range(5)})
    assert order(active=1).next_to_start(ledger) == ["patient"]
    assert order(active=1, ageing_s=6000).next_to_start(ledger) == ["new0"]


def test_a_start_is_expected_when_a_running_job_should_end() -> None:
    pace = Pace()
    assert pace.starts_in_s(Ledger(), 1, 2, NOW) is None
    for seconds in (90.0, 100.0, 500.0):
        pace.ran(seconds)
    ledger = Ledger({"x": place(State.ACTIVE, since_s=30), "y": place(State.ACTIVE, since_s=200)})

    assert pace.starts_in_s(ledger, 3, 2, NOW) == [0.0, 70.0, 100.0]
    assert pace.starts_in_s(Ledger(), 3, 2, NOW) == [0.0, 0.0, 100.0]


@given(ledgers, st.integers(0, 6), st.integers(0, 4), st.lists(st.floats(0, 1e5), min_size=1, max_size=60))
def test_starts_are_never_in_the_past_and_come_in_order(
    ledger: Ledger, queued: int, active: int, runs: list[float]
) -> None:
    pace = Pace()
    for seconds in runs:
        pace.ran(seconds)
    starts = pace.starts_in_s(ledger, queued, active, NOW)
    assert starts is not None
    assert starts == sorted(starts)
    assert all(start >= 0.0 for start in starts)
