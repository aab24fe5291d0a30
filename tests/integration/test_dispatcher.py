"""The dispatcher on a real server: one job does not hold up another, and those who wait are told where they are."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from nats.aio.client import Client

from chassis.admission import Admission, Ledger, Limits, Place, State
from chassis.joblog import JobLog
from contracts import facts, progress, topology
from services.dispatcher.app import serve
from services.dispatcher.engine import Pace
from services.dispatcher.positions import TOLD, Positions
from tests.integration.conftest import until
from tests.runs import Run

LIMITS = Limits(max_active_jobs=1)


@pytest.fixture
async def admission(client: Client) -> Admission:
    return Admission(await client.jetstream().key_value(topology.ADMISSION))


@asynccontextmanager
async def dispatcher(environ: dict[str, str], **limits: int) -> AsyncIterator[None]:
    stop = asyncio.Event()
    said = {f"SUBTIDE_{name.upper()}": str(value) for name, value in limits.items()}
    task = asyncio.create_task(serve(environ | said, stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)


class Heard:
    """What is said of places in the queue, as it comes."""

    def __init__(self) -> None:
        self.all: list[progress.LiveProgress] = []
        self.at_s: list[float] = []

    @classmethod
    @asynccontextmanager
    async def on(cls, client: Client) -> AsyncIterator["Heard"]:
        heard = cls()

        async def one(message: object) -> None:
            heard.all.append(msgspec.json.decode(message.data, type=progress.LiveProgress))  # type: ignore[attr-defined]
            heard.at_s.append(time.monotonic())

        subscription = await client.subscribe("progress.*.queued", cb=one)
        await client.flush()
        yield heard
        await subscription.unsubscribe()

    def last(self) -> dict[str, int | None]:
        """The last number that each job heard."""
        return {live.job_id: live.queue_position for live in self.all}


def place(state: State = State.WAITING, *, since_s: float = 0.0, counted_as: str = "anon") -> Place:
    since = datetime.now(UTC) - timedelta(seconds=since_s)
    return Place(owner="anon", counted_as=counted_as, run=1, state=state, since=since)


def waiting(count: int, *first: str) -> Ledger:
    """Some that came long ago, and others after them."""
    jobs = {job_id: place(since_s=500 - n) for n, job_id in enumerate(first)}
    return Ledger(jobs | {f"job-{n}": place(since_s=400 - n * 0.01) for n in range(count)})


def positions(joblog: JobLog) -> Positions:
    return Positions(joblog, LIMITS, Pace(), ageing_s=600.0)


async def test_only_the_first_hear_their_number(client: Client, joblog: JobLog) -> None:
    told = positions(joblog)
    async with Heard.on(client) as heard:
        told.changed(waiting(TOLD + 50))
        await until(lambda: len(heard.all) >= TOLD)
        await told.close()
        await client.flush()
        assert heard.last() == {f"job-{n}": n + 1 for n in range(TOLD)}


async def test_who_falls_behind_them_hears_that_his_number_is_no_longer_true(client: Client, joblog: JobLog) -> None:
    told = positions(joblog)
    async with Heard.on(client) as heard:
        told.changed(waiting(TOLD))
        await until(lambda: len(heard.all) >= TOLD)
        told.changed(waiting(TOLD, "overtaker"))
        await until(lambda: heard.last().get(f"job-{TOLD - 1}", 0) is None)
        await until(lambda: heard.last().get(f"job-{TOLD - 2}") == TOLD)
        assert heard.last()["overtaker"] == 1
        await told.close()


async def test_of_ledgers_that_come_fast_only_the_first_and_the_last_are_told(client: Client, joblog: JobLog) -> None:
    told = positions(joblog)
    ledgers = [waiting(2, f"first-{n}") for n in range(50)]
    async with Heard.on(client) as heard:
        told.changed(ledgers[0])
        await until(lambda: len(heard.all) == 3)
        for ledger in ledgers[1:]:
            told.changed(ledger)
            await asyncio.sleep(0)
        await until(lambda: "first-49" in heard.last())
        await until(lambda: len(heard.all) == 6)
        assert [live.job_id for live in heard.all if live.job_id.startswith("first-")] == ["first-0", "first-49"]
        # and then it is quiet for as long as there is no news
        assert heard.at_s[3] - heard.at_s[2] > 0.9
        await told.close()
        await client.flush()
        assert len(heard.all) == 6


async def test_who_stops_says_the_last_word_first(
    client: Client, joblog: JobLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.dispatcher.positions._EVERY_S", 3600.0)
    told = positions(joblog)
    async with Heard.on(client) as heard:
        told.changed(waiting(1))
        await until(lambda: len(heard.all) == 1)
        told.changed(waiting(1, "first"))
        await asyncio.wait_for(told.close(), 60)
        await client.flush()
        await until(lambda: heard.last() == {"first": 1, "job-0": 2})


async def test_those_who_wait_are_told_where_and_when(client: Client, joblog: JobLog, environ: dict[str, str]) -> None:
    async with Heard.on(client) as heard, dispatcher(environ, max_active_jobs=1):
        for job_id in "abc":
            await joblog.append(Run(job_id).accepted)
        await until(lambda: heard.last() == {"b": 1, "c": 2})
        [live] = await joblog.live_progress("c")
        assert (live.queue_position, live.starts_in_s) == (2, None)
        await joblog.append(Run("a").failed())
        await until(lambda: heard.last()["c"] == 1)


async def test_a_job_that_cannot_be_read_keeps_its_place_and_holds_up_no_other(
    joblog: JobLog, environ: dict[str, str], admission: Admission
) -> None:
    # given a place of which the log cannot even be asked
    await admission.change(lambda _: Ledger({"no such id": place(State.ACTIVE)}))
    async with dispatcher(environ, max_active_jobs=3):
        # when others are accepted, start and end
        for job_id in "abc":
            await joblog.append(Run(job_id).accepted)
        await until(lambda: _names(joblog, "a", "accepted", "started"))
        await joblog.append(Run("a").failed())
        # then they do as if it were not there, but for its place
        for job_id in "bc":
            await until(lambda job_id=job_id: _names(joblog, job_id, "accepted", "started"))
    ledger = await admission.ledger()
    assert {job_id: one.state for job_id, one in ledger.places.items()} == dict.fromkeys(
        ["no such id", "b", "c"], State.ACTIVE
    )


async def test_as_many_as_may_wait_hold_up_nobody(
    joblog: JobLog, environ: dict[str, str], admission: Admission
) -> None:
    # given as many as may wait, and the one place taken
    others = {f"job-{n}": place(since_s=n % 1500, counted_as=str(n % 30)) for n in range(2_900)}
    await admission.change(lambda _: Ledger({"runs": place(State.ACTIVE)} | others))
    async with dispatcher(environ, max_active_jobs=1):
        for n in range(20):
            await joblog.append(Run(f"new-{n}").accepted)
        places = {f"new-{n}" for n in range(20)}

        async def all_wait() -> bool:
            return places <= set((await admission.ledger()).places)

        await until(all_wait, 60)  # it was minutes for each of them


async def _names(joblog: JobLog, job_id: str, *expected: str) -> bool:
    return [facts.name(one.fact) for one in await joblog.facts_of(job_id)] == list(expected)
