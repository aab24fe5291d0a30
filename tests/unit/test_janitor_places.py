"""Which places of the ledger are not as the facts say."""

from datetime import UTC, datetime, timedelta

import pytest

from chassis.admission import Ledger, Limits, Place, State
from contracts import facts
from services.janitor.places import Release, Remedy, Restore, Wake, misplaced
from tests.runs import Run

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUN = Run("a", at=NOW)
RETRY = Run("a", run=2, at=NOW)


def place(state: State, *, run: int = 1, silent_s: float = 0.0, counted_as: str = "anon") -> Place:
    return Place(owner="anon", counted_as=counted_as, run=run, state=state, since=NOW - timedelta(seconds=silent_s))


def found(places: dict[str, Place], jobs: dict[str, list[facts.AnyFact]], limits: Limits | None = None) -> list[Remedy]:
    return misplaced(Ledger(places), jobs, limits or Limits(), now=NOW, silent_s=90.0)


@pytest.mark.parametrize("end", [RUN.completed, RUN.failed(), RUN.cancelled, RUN.expired])
@pytest.mark.parametrize("state", list(State))
def test_a_job_that_is_over_has_no_place(state: State, end: facts.AnyFact) -> None:
    assert found({"a": place(state)}, {"a": [RUN.accepted, end]}) == [Release(job_id="a", run=1)]


@pytest.mark.parametrize("state", list(State))
def test_a_place_of_which_nobody_says_anything_is_given_up(state: State) -> None:
    assert found({"a": place(state, silent_s=91.0)}, {"a": []}) == [Release(job_id="a", run=1)]
    assert found({"a": place(state, silent_s=89.0)}, {"a": []}) == []


def test_a_retry_may_take_its_place_before_it_is_accepted() -> None:
    assert found({"a": place(State.UPLOADING, run=2)}, {"a": [RUN.accepted, RUN.failed()]}) == []


def test_an_accepted_job_does_not_stay_among_the_uploads() -> None:
    assert found({"a": place(State.UPLOADING)}, {"a": [RUN.accepted]}) == [Wake(accepted=RUN.accepted, unheard=True)]


def test_an_accepted_job_without_a_place_gets_one() -> None:
    assert found({}, {"a": [RUN.accepted]}) == [Wake(accepted=RUN.accepted, unheard=True)]


def test_a_retry_does_not_run_on_the_place_of_the_run_before() -> None:
    known = [RUN.accepted, RUN.failed(), RETRY.accepted]
    assert found({"a": place(State.ACTIVE)}, {"a": known}) == [
        Release(job_id="a", run=1),
        Wake(accepted=RETRY.accepted, unheard=True),
    ]


def test_a_job_that_runs_without_a_place_is_counted_again() -> None:
    assert found({}, {"a": [RUN.accepted, RUN.started]}) == [Restore(started=RUN.started, tier=0)]


def test_an_active_job_is_started_and_a_cancelled_one_cancelled() -> None:
    woken = [Wake(accepted=RUN.accepted, unheard=False)]
    assert found({"a": place(State.ACTIVE)}, {"a": [RUN.accepted]}) == woken
    assert found({"a": place(State.ACTIVE)}, {"a": [RUN.accepted, RUN.started]}) == []
    assert found({"a": place(State.CANCELLED)}, {"a": [RUN.accepted]}) == woken


def test_a_job_waits_only_as_long_as_it_must() -> None:
    waiting = {"a": place(State.WAITING), "b": place(State.ACTIVE)}
    jobs = {"a": [RUN.accepted], "b": [Run("b").accepted, Run("b").started]}
    assert found(waiting, jobs) == [Wake(accepted=RUN.accepted, unheard=False)]
    assert found(waiting, jobs, Limits(max_active_jobs=1)) == []
    assert found(waiting, jobs, Limits(max_active_per_owner=1)) == []


def test_jobs_that_are_over_need_nothing() -> None:
    assert found({}, {"a": [RUN.accepted, RUN.started, RUN.completed], "b": []}) == []
