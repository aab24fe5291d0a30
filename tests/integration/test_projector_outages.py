"""The projector loses its database, its life or its lock in mid-load, and the rows are the same in the end."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from nats.aio.client import Client

from chassis.joblog import JobLog
from cli.standalone.postgres import PostgresServer
from contracts import facts, subjects
from contracts.projection import SCHEMA
from tests.integration.conftest import until
from tests.integration.projecting import Load, Tables, append_all, process, running
from tests.lives import AT, accepted, life

Dump = dict[str, list[tuple[Any, ...]]]
DATABASE = "projector_test"


async def on(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


@pytest.fixture
async def own_database(postgres_server: PostgresServer, environ: dict[str, str]) -> AsyncIterator[dict[str, str]]:
    """The environment with a database that may be dropped."""
    drop = f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)"
    await on(postgres_server.url, drop, f"CREATE DATABASE {DATABASE}")
    yield environ | {"DATABASE_URL": postgres_server.url.rpartition("/")[0] + f"/{DATABASE}"}
    await on(postgres_server.url, drop)


async def replayed(environ: dict[str, str], last_seq: int, **settings: str) -> Dump:
    """What a projector that starts with nothing makes of the log."""
    tables = Tables(environ["DATABASE_URL"])
    await on(tables.url, f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    async with running(environ | settings):
        await tables.reaches(last_seq)
    return await tables.dump()


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_database_dropped_in_mid_load_comes_back_row_by_row(
    own_database: dict[str, str], postgres_server: PostgresServer, client: Client, joblog: JobLog, restarted: bool
) -> None:
    tables = Tables(own_database["DATABASE_URL"])
    async with AsyncExitStack() as projector:
        await projector.enter_async_context(running(own_database))
        async with Load(joblog) as load:
            await load.has_appended(150)
            await client.jetstream().publish("job.accepted.anon.poison.1", b"poison")
            await tables.reaches(load.last_seq)
            if restarted:
                await projector.aclose()
            before = {row["job_id"]: tuple(row) for row in await tables.rows("SELECT * FROM jobs")}
            await on(postgres_server.url, f"DROP DATABASE {DATABASE} WITH (FORCE)")
            await load.has_appended(150)
            await on(postgres_server.url, f"CREATE DATABASE {DATABASE}")
            if restarted:
                await projector.enter_async_context(running(own_database))
            await load.has_appended(150)
        await tables.reaches(load.last_seq)
        after = await tables.dump()
    expired = {row[0] for row in after["expired_jobs"]}
    ended = {job_id for job_id, row in before.items() if row[2] in ("completed", "cancelled")} - expired
    assert ended
    assert [row for row in after["jobs"] if row[0] in ended] == [before[job_id] for job_id in sorted(ended)]
    assert len(after["unknown_facts"]) == 1
    assert after == await replayed(own_database, load.last_seq)


async def test_rows_are_the_same_before_a_drop_and_after_it(
    own_database: dict[str, str], postgres_server: PostgresServer, joblog: JobLog
) -> None:
    tables = Tables(own_database["DATABASE_URL"])
    last = await append_all(joblog, [fact for number in range(18) for fact in life(number)])
    async with running(own_database):
        await tables.reaches(last)
        before = await tables.dump()
        await on(postgres_server.url, f"DROP DATABASE {DATABASE} WITH (FORCE)", f"CREATE DATABASE {DATABASE}")
        await tables.reaches(last)
        assert await tables.dump() == before
    assert len(before["jobs"]) == 15


async def test_postgres_killed_in_mid_load_costs_nothing(
    environ: dict[str, str], postgres_server: PostgresServer, joblog: JobLog
) -> None:
    tables = Tables(environ["DATABASE_URL"])
    async with running(environ) as projector:
        async with Load(joblog) as load:
            await load.has_appended(100)
            postgres_server.kill()
            try:
                await asyncio.sleep(3)
                await load.has_appended(100)
            finally:
                postgres_server.start()
            await load.has_appended(100)
        await tables.reaches(load.last_seq)
        assert not projector.done()
    assert await tables.dump() == await replayed(environ, load.last_seq)


async def test_the_projector_killed_again_and_again_in_mid_load_costs_nothing(
    environ: dict[str, str], joblog: JobLog, tmp_path: Path
) -> None:
    tables = Tables(environ["DATABASE_URL"])
    batches = environ | {"SUBTIDE_PROJECTOR_BATCH": "3"}
    async with Load(joblog) as load:
        for _ in range(3):
            with process("services.projector", environ=batches, log=tmp_path / "log"):
                seen = max(await tables.watermark(), 0)
                await tables.reaches(seen + 30)
    async with running(environ):
        await tables.reaches(load.last_seq)
    assert await tables.dump() == await replayed(environ, load.last_seq)


async def test_of_two_projectors_the_second_takes_over_from_one_that_is_killed(
    environ: dict[str, str], joblog: JobLog, tmp_path: Path
) -> None:
    tables = Tables(environ["DATABASE_URL"])
    logs = [tmp_path / "first", tmp_path / "second"]
    async with Load(joblog) as load:
        with process("services.projector", environ=environ, log=logs[0]) as first:
            await tables.reaches(20)
            with process("services.projector", environ=environ, log=logs[1]) as second:
                await until(lambda: b'"waiting"' in logs[1].read_bytes(), 20)
                first.kill()
                await load.has_appended(50)
                await tables.reaches(load.last_seq)
                assert second.poll() is None
                await load.finish()
                await tables.reaches(load.last_seq)
    assert b"projection_interrupted" not in logs[1].read_bytes()
    assert await tables.dump() == await replayed(environ, load.last_seq)


OF_JOB = b'"job_id":"a","run":1,"owner":"anon","at":"%s"}'
POISON: list[tuple[str, bytes]] = [
    ("job.accepted.anon.a.1", b"{"),
    ("job.accepted.anon.a.1", b"\xff\x00"),
    ("job.accepted.anon.a.1", b""),
    ("job.unheard-of.anon.a.1", b'{"fact":"unheard-of",' + OF_JOB % b"2026-01-01T00:00:00Z"),
    ("job.accepted.anon.a.1", b'{"fact":"nul\\u0000"}'),
    ("job.accepted.anon.a.1", b'{"fact":"accepted","x":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    ("job.cancelled.anon.a.1", facts.encode(facts.JobCancelled(job_id="b", run=1, owner="anon", at=AT))),
    ("job.cancelled.anon.a.1", facts.encode(facts.JobCancelled(job_id="a", run=1, owner="anon", at=AT))),
    ("job.cancelled.anon.a.1", b'{"fact":"cancelled",' + OF_JOB % b"9999-12-31T23:59:59-14:00"),
    ("job.accepted.anon.a.1", facts.encode(accepted(0)).replace(b'"filename":"', b'"filename":"\\ud800')),
    ("job.one.two", b"short"),
    (f"job.{'x' * 3000}.anon.a.1", b"long"),
]


async def test_poison_stops_nothing_is_kept_aside_and_listed(
    environ: dict[str, str], client: Client, joblog: JobLog
) -> None:
    tables = Tables(environ["DATABASE_URL"])
    expected = []
    for number, (subject, body) in enumerate(POISON):
        await joblog.append(accepted(number))
        ack = await client.jetstream().publish(subject, body)
        expected.append((ack.seq, subject, body))
    later = facts.encode(accepted(90)).replace(b'{"fact"', b'{"added_later":{"a":[1]},"fact"', 1)
    await client.jetstream().publish(subjects.of(accepted(90)), later)
    # The broker's own answers to a reader carry such headers; a message may carry them, too.
    hostile = {"Status": "404", "Description": "No Messages", "Nats-Num-Pending": "0"}
    await client.jetstream().publish(subjects.of(accepted(91)), facts.encode(accepted(91)), headers=hostile)
    last = await joblog.append(accepted(92))
    async with running(environ):
        await tables.reaches(last)
    listed = await tables.rows("SELECT * FROM unknown_facts ORDER BY seq")
    assert [(row["seq"], row["subject"], row["body"]) for row in listed] == expected
    assert all(row["reason"] for row in listed)
    assert set(await tables.views()) == {accepted(number).job_id for number in [*range(len(POISON)), 90, 91, 92]}


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_same_log_in_batches_of_any_size_makes_equal_rows(
    environ: dict[str, str], client: Client, joblog: JobLog, seed: int
) -> None:
    chance = random.Random(seed)
    lives = [life(number) for number in range(12)]
    while lives := [rest for rest in lives if rest]:
        fact = chance.choice(lives).pop(0)
        last = await joblog.append(fact)
        if chance.random() < 0.1:
            last = await joblog.again(fact)
        if chance.random() < 0.1:
            last = (await client.jetstream().publish(f"job.poison.anon.a.{last}", b"poison")).seq
    assert last is not None
    dumps = [await replayed(environ, last, SUBTIDE_PROJECTOR_BATCH=size) for size in ("200", "1", "7")]
    assert dumps[0] == dumps[1] == dumps[2]
    assert len(dumps[0]["jobs"]) == 10
