"""Which waiting job starts next, and when the others may expect to."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from chassis.admission import Ledger, Limits, Place, State
from services.dispatcher.engine import Order, Pace

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def place(
    state: State = State.WAITING, *, owner: str = "anon", tier: int = 0, since_s: float = 0.0, counted_as: str = "a"
) -> Place:
    since = NOW - timedelta(seconds=since_s)
    return Place(owner=owner, counted_as=counted_as, run=1, tier=tier, state=state, since=since)


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
