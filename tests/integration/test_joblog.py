"""The log on a real nats-server: a fact once, and one end to a run."""

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest
from nats.aio.client import Client

from chassis.joblog import JobLog
from contracts import facts, subjects
from contracts.failures import FailureCode
from contracts.parameters import Parameters
from tests.integration.stages import ref
from tests.lives import life
from tests.runs import Run


def now() -> datetime:
    return datetime.now(UTC)


def cancelled(run: int = 1) -> facts.JobCancelled:
    return facts.JobCancelled(job_id="a", run=run, owner="anon", at=now())


def failed(run: int = 1) -> facts.JobFailed:
    return facts.JobFailed(
        job_id="a", run=run, owner="anon", at=now(), code=FailureCode.INTERNAL, stage="s", reference="r", attempts=1
    )


def completed(run: int = 1) -> facts.JobCompleted:
    receipt = facts.StageReceipt(engine="e", seconds=0.0)
    return facts.JobCompleted(
        job_id="a", run=run, owner="anon", at=now(), results={}, language="en", duration_s=1.0, speakers=0, words=0,
        receipt=receipt,
    )  # fmt: skip


def started(run: int = 1) -> facts.JobStarted:
    return facts.JobStarted(
        job_id="a", run=run, owner="anon", at=now(), filename="f", source=ref("s"), parameters=Parameters()
    )


async def test_a_fact_is_appended_once(joblog: JobLog) -> None:
    assert await joblog.append(started()) is not None
    assert await joblog.append(started()) is None
    assert len(await joblog.facts_of("a")) == 1


async def test_of_many_who_end_a_run_one_wins(joblog: JobLog) -> None:
    for run in range(1, 6):
        await joblog.append(started(run))
        ends = [end(run) for end in (cancelled, failed, completed) for _ in range(4)]
        won = await asyncio.gather(*(joblog.append(end) for end in ends), *(joblog.append(started(run + 100)),))
        assert sum(seq is not None for seq in won[: len(ends)]) == 1
    terminal = [one.fact.run for one in await joblog.facts_of("a") if facts.ends_run(one.fact)]
    assert sorted(terminal) == [1, 2, 3, 4, 5]


async def test_a_run_that_ended_does_not_end_the_next(joblog: JobLog) -> None:
    assert await joblog.append(failed(1)) is not None
    assert await joblog.append(completed(2)) is not None
    assert await joblog.append(cancelled(2)) is None


async def test_a_job_that_was_retried_does_not_expire_until_that_run_is_over(joblog: JobLog) -> None:
    first, second = Run("a"), Run("a", run=2)
    for fact in (first.accepted, first.failed(), second.accepted):
        assert await joblog.append(fact) is not None
    assert await joblog.append(first.expired) is None
    for fact in (second.failed(), second.expired):
        assert await joblog.append(fact) is not None
    assert await joblog.append(second.expired) is None
    assert await joblog.append(msgspec.structs.replace(second.expired, on_request=True)) is None


async def test_a_job_that_expired_is_retried_no_more(joblog: JobLog) -> None:
    first = Run("a")
    for fact in (first.accepted, first.failed(), first.expired):
        assert await joblog.append(fact) is not None
    assert await joblog.append(Run("a", run=2).accepted) is None


async def test_a_retry_and_an_expiry_that_race_exclude_each_other(joblog: JobLog) -> None:
    for number in range(20):
        first, second = Run(f"race-{number}"), Run(f"race-{number}", run=2)
        await joblog.append(first.accepted)
        await joblog.append(first.failed())
        rivals = [first.expired, second.accepted, first.expired, second.accepted]
        won = await asyncio.gather(*(joblog.append(fact) for fact in rivals))
        assert sum(seq is not None for seq in won) == 1


@pytest.mark.parametrize("body", [b"{", b'{"fact":"of-tomorrow"}'])
async def test_somebody_elses_message_on_the_runs_subjects_is_no_hindrance(
    client: Client, joblog: JobLog, body: bytes
) -> None:
    await joblog.append(started())
    await client.jetstream().publish("job.of-tomorrow.anon.a.1", body)
    async with asyncio.timeout(5):
        assert await joblog.append(completed()) is not None


async def test_a_fact_published_again_wakes_and_changes_nothing(joblog: JobLog) -> None:
    fact = started()
    first = await joblog.append(fact)
    assert first is not None
    assert await joblog.again(fact) > first
    assert [one.fact for one in await joblog.facts_of("a")] == [fact]
    assert subjects.is_of_run(subjects.of(fact), fact)


async def test_a_fact_published_again_keeps_its_place(joblog: JobLog) -> None:
    whole = life(0)
    for fact in whole:
        await joblog.append(fact)
    before = await joblog.facts_of(whole[0].job_id), await joblog.view(whole[0].job_id)
    for fact in [*whole, *whole]:
        await joblog.again(fact)
    assert (await joblog.facts_of(whole[0].job_id), await joblog.view(whole[0].job_id)) == before
    history = [entry.body for entry in await joblog.history_of(whole[0].job_id)]
    assert history == [facts.encode(fact) for fact in whole] * 3


async def test_the_log_knows_a_job_of_which_it_has_anything(joblog: JobLog) -> None:
    await joblog.append(started())
    assert await joblog.knows("a")
    assert not await joblog.knows("nobody")


async def test_a_job_of_more_facts_than_the_server_answers_of_at_once_goes_on(joblog: JobLog) -> None:
    for run in range(1, 1101):
        await joblog.append(started(run))
    assert len(await joblog.facts_of("a")) == 1100
    assert len(await joblog.facts_of("a", facts.JobStarted)) == 1100
    assert await joblog.facts_of("a", facts.JobAccepted) == []
    assert await joblog.append(cancelled(1100)) is not None
    assert await joblog.append(failed(1100)) is None
    expired = facts.JobExpired(job_id="a", run=1100, owner="anon", at=now())
    assert await joblog.append(expired) is not None
    assert len(await joblog.facts_of("a")) == 1102
