"""How much is let in, and that the ledger of it fits into one message."""

from datetime import UTC, datetime

import msgspec
import pytest

from chassis.admission import PLACES_MAX, Ledger, Limits, Place, State
from chassis.settings import SettingsError, load

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def place(state: State, *, counted_as: str = "a", jobs: int = 1, batch: str = "") -> Place:
    return Place(owner="anon", counted_as=counted_as, run=1, state=state, since=NOW, jobs=jobs, batch=batch)


def test_the_longest_ledger_fits_into_a_message_of_the_broker() -> None:
    alone = Place(
        owner="anon", counted_as="f" * 32, run=999, tier=10, state=State.UPLOADING, since=NOW, uploads=["f" * 8] * 6
    )
    of_a_batch = Place(
        owner="anon", counted_as="f" * 32, run=999, tier=10, state=State.CANCELLED, since=NOW, batch="f" * 32
    )
    for longest in (alone, of_a_batch):
        ledger = Ledger({f"{n:032x}": longest for n in range(PLACES_MAX)})
        assert len(msgspec.json.encode(ledger)) < (1 << 20) - 1024  # the headers count, too


def test_limits_that_the_ledger_has_no_room_for_are_refused_at_the_start() -> None:
    with pytest.raises(SettingsError, match=r"SUBTIDE_MAX_\w+_JOBS: .*3,500 together, and are 3,498 and 3"):
        load(Limits, "SUBTIDE_", {"SUBTIDE_MAX_WAITING_JOBS": "3498"})
    assert load(Limits, "SUBTIDE_", {"SUBTIDE_MAX_WAITING_JOBS": "3497"}).max_waiting_jobs == 3497


@pytest.mark.parametrize("state", [State.UPLOADING, State.WAITING, State.CANCELLED])
def test_no_more_jobs_wait_over_all_owners_than_may(state: State) -> None:
    limits = Limits(max_waiting_jobs=5, max_active_jobs=100, max_active_per_owner=100)
    ledger = Ledger({"batch": place(state, jobs=4), "runs": place(State.ACTIVE)})
    assert ledger.has_room("b", limits)
    assert not ledger.has_room("b", limits, jobs=2)
    assert not ledger.with_place("one more", place(State.WAITING, counted_as="c")).has_room("b", limits)


def test_a_batch_whose_jobs_have_places_is_one_entry_with_them() -> None:
    ledger = Ledger(
        {
            "batch": place(State.UPLOADING, jobs=0, batch="batch"),
            "one": place(State.WAITING, batch="batch"),
            "two": place(State.WAITING, batch="batch"),
        }
    )
    assert ledger.queued("a") == 1
    assert ledger.unstarted() == 2
