"""Rows that somebody edited, jobs that expired, and `wait`."""

import asyncio

import pytest
from nats.aio.client import Client

from chassis.joblog import JobLog
from contracts import facts, topology
from contracts.progress import Status
from services.projector.reading import wait
from tests.integration.conftest import reset, until
from tests.integration.projecting import Tables, append_all, running
from tests.lives import AT, ENDS, accepted, life

OFTEN = {"SUBTIDE_RECONCILE_S": "0.2"}
NUMBER_OF = {end: number for number, end in enumerate(ENDS)}
RUNNING = accepted(NUMBER_OF["running"]).job_id


@pytest.fixture
def tables(environ: dict[str, str]) -> Tables:
    return Tables(environ["DATABASE_URL"])


async def healed(tables: Tables, right: dict[str, list[tuple[object, ...]]]) -> None:
    async def so() -> bool:
        return await tables.dump() == right

    await until(so)


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE jobs SET status = 'pending', seq = 1, view = '\\x7b7d'",
        "UPDATE jobs SET owner = 'somebody', accepted_at = now() WHERE status = 'processing'",
        "DELETE FROM tokens WHERE job_id IN (SELECT job_id FROM jobs WHERE status = 'processing')",
        "INSERT INTO jobs VALUES ('nobodys', 'anon', 'pending', now(), 1, '\\x00')",
        f"INSERT INTO jobs VALUES ('{NUMBER_OF['expired']:032x}', 'anon', 'pending', now(), 1, '\\x00')",
    ],
)
async def test_a_row_that_somebody_edited_becomes_what_the_log_says(
    environ: dict[str, str], joblog: JobLog, tables: Tables, edit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    last = await append_all(joblog, [fact for number in range(len(ENDS)) for fact in life(number)])
    await joblog.again(life(NUMBER_OF["running"])[0])  # what woke somebody again is in the row and in the log
    async with running(environ | OFTEN):
        await tables.reaches(last + 1)
        right = await tables.dump()
        assert "row_healed" not in capsys.readouterr().out
        await tables.rows(edit)
        assert await tables.dump() != right
        await healed(tables, right)
    assert "row_healed" in capsys.readouterr().out


async def test_rows_that_are_right_are_left_alone(
    environ: dict[str, str], joblog: JobLog, tables: Tables, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(environ | {"SUBTIDE_RECONCILE_S": "0.01"}):
        for number in range(2 * len(ENDS)):
            for fact in life(number):
                last = await joblog.append(fact)
                if fact.run == 1 and not isinstance(fact, facts.JobAccepted):
                    last = await joblog.again(fact)
        await tables.reaches(last)
    assert "row_healed" not in capsys.readouterr().out


async def test_a_fact_for_a_row_that_nobody_can_read_heals_it_and_counts(
    environ: dict[str, str], joblog: JobLog, tables: Tables
) -> None:
    last = await append_all(joblog, life(NUMBER_OF["running"]))
    async with running(environ):
        await tables.reaches(last)
        await tables.rows("UPDATE jobs SET status = 'failed', view = '\\xff'")
        end = facts.JobCancelled(job_id=RUNNING, run=1, owner="anon", at=AT)
        await tables.reaches(await joblog.append(end))
    views = await tables.views()
    assert views == {RUNNING: await joblog.view(RUNNING)}
    assert views[RUNNING].status is Status.CANCELLED


async def test_a_row_stays_where_the_log_forgot_the_beginning_of_the_job(
    environ: dict[str, str], client: Client, joblog: JobLog, tables: Tables
) -> None:
    last = await append_all(joblog, life(NUMBER_OF["running"]))
    async with running(environ):
        await tables.reaches(last)
        before = await tables.dump()
    await client.jetstream().purge_stream(topology.JOBS, seq=4)
    async with running(environ | OFTEN):
        await tables.reaches(await joblog.append(accepted(100)))
        await asyncio.sleep(0.5)
        after = await tables.dump()
    assert [row for row in after["jobs"] if row[0] == RUNNING] == before["jobs"]


async def test_a_log_made_anew_under_a_running_projector_replaces_the_tables(
    environ: dict[str, str], client: Client, joblog: JobLog, tables: Tables, numbers: topology.Numbers
) -> None:
    async with running(environ | OFTEN):
        await tables.reaches(await append_all(joblog, life(0)))
        await reset(client, numbers)
        await joblog.append(accepted(100))

        async def replaced() -> bool:
            return list(await tables.views()) == [accepted(100).job_id]

        await until(replaced)


async def test_an_expired_job_is_gone_for_good_and_late_facts_of_it_are_no_riddle(
    environ: dict[str, str], client: Client, joblog: JobLog, tables: Tables
) -> None:
    [*before, expired, late] = life(NUMBER_OF["expired"])
    async with running(environ):
        await tables.reaches(await append_all(joblog, before))
        assert len(await tables.views()) == 1
        await tables.reaches(await joblog.append(expired))
        assert (await tables.views(), await tables.rows("SELECT * FROM tokens")) == ({}, [])
        await tables.reaches(await joblog.append(late))
        await joblog.again(before[0])
        await tables.reaches(await joblog.again(accepted(NUMBER_OF["expired"], run=2)))  # which append refuses
        dump = await tables.dump()
    assert (dump["jobs"], dump["tokens"], dump["unknown_facts"]) == ([], [], [])
    assert [row[0] for row in dump["expired_jobs"]] == [before[0].job_id]


async def test_who_expired_is_forgotten_with_the_log(
    environ: dict[str, str], client: Client, joblog: JobLog, tables: Tables
) -> None:
    async with running(environ | OFTEN):
        await tables.reaches(await append_all(joblog, life(NUMBER_OF["expired"])))
        last = await joblog.append(accepted(100))
        assert len(await tables.rows("SELECT * FROM expired_jobs")) == 1
        await client.jetstream().purge_stream(topology.JOBS, seq=last)

        async def forgotten() -> bool:
            return not await tables.rows("SELECT * FROM expired_jobs")

        await until(forgotten)


async def test_wait_returns_once_the_tables_have_reached_a_fact(
    environ: dict[str, str], joblog: JobLog, tables: Tables
) -> None:
    first = await joblog.append(accepted(1))
    waiting = asyncio.create_task(wait(tables.url, (first or 0) + 1))
    async with running(environ):
        assert await asyncio.wait_for(wait(tables.url, first or 0), 10) == first
        assert not waiting.done()
        await joblog.append(accepted(2))
        assert await asyncio.wait_for(waiting, 10) == (first or 0) + 1
