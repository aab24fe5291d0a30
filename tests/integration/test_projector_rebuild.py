"""`subtide projection rebuild`: the tables made anew while they are read and written."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
from nats.aio.client import Client

from chassis.joblog import JobLog
from contracts import topology
from contracts.projection import SCHEMA
from services.projector import engine
from services.projector.handler import SWAP_LOCK, Projection
from services.projector.rebuild import FRESH, REPLACED, Refused, rebuild
from tests.integration.conftest import reset, until
from tests.integration.projecting import QUICK, Load, Tables, append_all, process, running
from tests.lives import ENDS, accepted, life

STAYING = [end for end in ENDS if end != "expired"]
LIVES = [fact for number in range(12) for fact in life(number)]


@pytest.fixture
async def tables(environ: dict[str, str]) -> Tables:
    tables = Tables(environ["DATABASE_URL"])
    for leftover in (FRESH, REPLACED):
        await tables.rows(f"DROP SCHEMA IF EXISTS {leftover} CASCADE")
    return tables


class Reader:
    """Reads as the gateway does, all the time: one connection, statements prepared once."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.looks = 0
        self.schemas: set[str] = set()
        self._done = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Reader":
        self._task = asyncio.create_task(self._read())
        await until(lambda: self.looks)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._done = True
        assert self._task is not None
        await self._task

    async def _read(self) -> None:
        connection = await asyncpg.connect(self.tables.url, server_settings={"search_path": SCHEMA})
        jobs = opened = watermark = 0
        while not self._done:
            before = jobs, opened, watermark
            jobs = await connection.fetchval("SELECT count(*) FROM jobs")
            opened = await connection.fetchval(
                "SELECT count(*) FROM jobs WHERE job_id IN (SELECT job_id FROM tokens WHERE token_sha256 <> $1)", ""
            )
            watermark = await connection.fetchval("SELECT seq FROM watermark")
            assert (jobs, opened, watermark) >= before
            assert jobs >= before[0]
            assert opened >= before[1]
            assert watermark >= before[2]
            self.looks += 1
        await connection.close()


@contextmanager
def command(environ: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with process("cli.main", "projection", "rebuild", environ=environ, log=log) as child:
        yield child


async def oids(tables: Tables) -> int:
    """Which tables are in use."""
    [row] = await tables.rows("SELECT 'jobs'::regclass::oid AS oid")
    return int(row["oid"])


async def test_readers_and_the_projector_go_on_while_the_tables_are_replaced(
    environ: dict[str, str], client: Client, joblog: JobLog, tables: Tables
) -> None:
    async with running(environ | {"SUBTIDE_PROJECTOR_BATCH": "5"}) as projector:
        async with Load(joblog, ends=STAYING) as load:
            await load.has_appended(100)
            await tables.reaches(load.last_seq)
            async with Reader(tables), Reader(tables):
                for _ in range(4):
                    in_use = await oids(tables)
                    made = await rebuild(client, tables.url)
                    assert await oids(tables) != in_use
                    assert made.facts >= 100
                    await load.has_appended(50)
                    await tables.reaches(load.last_seq)
                last = await load.finish()
                await tables.reaches(last)
        assert not projector.done()
    after = await tables.dump()
    assert await tables.schemas() == [SCHEMA]
    await rebuild(client, tables.url)
    assert await tables.dump() == after


async def test_the_command_says_what_it_made(environ: dict[str, str], joblog: JobLog, tables: Tables) -> None:
    await append_all(joblog, LIVES)
    command = [sys.executable, "-m", "cli.main", "projection", "rebuild"]
    done = await asyncio.to_thread(subprocess.run, command, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"The tables are made anew: {len(LIVES)} facts, 10 jobs.\n"
    assert len(await tables.views()) == 10
    assert await tables.schemas() == [SCHEMA]


async def test_a_second_one_is_refused_with_a_sentence(
    environ: dict[str, str], client: Client, joblog: JobLog, tables: Tables
) -> None:
    await append_all(joblog, LIVES)
    async with await Projection.open(tables.url, FRESH) as first:
        assert await first.try_lock()
        with pytest.raises(Refused, match="Another rebuild"):
            await rebuild(client, tables.url)
    assert (await rebuild(client, tables.url)).jobs == 10


async def test_of_two_at_once_one_does_it(client: Client, joblog: JobLog, tables: Tables) -> None:
    last = await append_all(joblog, LIVES)
    done = await asyncio.gather(*(rebuild(client, tables.url) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(one, Refused) or one.facts == len(LIVES) for one in done)  # type: ignore[union-attr]
    assert await tables.watermark() == last
    assert await tables.schemas() == [SCHEMA]


async def test_killed_at_any_moment_it_leaves_the_tables_in_use_and_the_next_one_succeeds(
    environ: dict[str, str], client: Client, joblog: JobLog, tables: Tables, tmp_path: Path
) -> None:
    async def begun() -> bool:
        return FRESH in await tables.schemas()

    async with running(environ), Load(joblog, ends=STAYING) as load:
        await load.has_appended(500)
        await tables.reaches(load.last_seq)
        async with Reader(tables):
            for later_s in (0.0, 0.03, 0.06, 0.12):
                with command(environ, tmp_path / "log") as child:
                    await until(begun, 30)
                    await asyncio.sleep(later_s)
                    child.kill()
                    child.wait()
            await rebuild(client, tables.url)
            last = await load.finish()
            await tables.reaches(last)
    after = await tables.dump()
    assert await tables.schemas() == [SCHEMA]
    await rebuild(client, tables.url)
    assert await tables.dump() == after


async def test_killed_at_the_swap_it_leaves_the_tables_in_use_and_the_next_one_succeeds(
    environ: dict[str, str], client: Client, joblog: JobLog, tables: Tables, tmp_path: Path
) -> None:
    async with running(environ) as projector:
        await tables.reaches(await append_all(joblog, LIVES))
        before = await tables.dump()
        writer = await asyncpg.connect(tables.url)
        async with writer.transaction():
            await writer.execute(f"SELECT pg_advisory_xact_lock_shared({SWAP_LOCK})")
            with command(environ, tmp_path / "log") as child:

                async def waits_for_the_writer() -> bool:
                    asked = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                    return bool(await tables.rows(asked))

                await until(waits_for_the_writer, 30)
                child.kill()
                child.wait()
            assert await tables.dump() == before
        await writer.close()
        last = await joblog.append(accepted(100))
        await tables.reaches(last)
        assert not projector.done()
        after = await tables.dump()
        assert await rebuild(client, tables.url)
        assert await tables.dump() == after


async def test_what_a_killed_one_left_is_dropped_by_the_projector(
    environ: dict[str, str], joblog: JobLog, tables: Tables
) -> None:
    for leftover in (FRESH, REPLACED):
        await tables.rows(f"CREATE SCHEMA {leftover}")
        await tables.rows(f"CREATE TABLE {leftover}.jobs (job_id text)")
    async with running(environ):
        await tables.reaches(await append_all(joblog, LIVES))
    assert await tables.schemas() == [SCHEMA]


async def test_tables_of_another_log_are_replaced(
    environ: dict[str, str], client: Client, joblog: JobLog, tables: Tables, numbers: topology.Numbers
) -> None:
    async with running(environ):
        await tables.reaches(await append_all(joblog, LIVES))
    await reset(client, numbers)
    last = await joblog.append(accepted(100))
    assert (await rebuild(client, tables.url)).jobs == 1
    assert await tables.watermark() == last


async def test_readers_are_not_taken_back_where_the_log_forgot_its_end(
    environ: dict[str, str], client: Client, joblog: JobLog, tables: Tables
) -> None:
    async with running(environ):
        last = await append_all(joblog, LIVES)
        await tables.reaches(last)
    await client.jetstream().purge_stream(topology.JOBS)
    assert (await rebuild(client, tables.url)).facts == 0
    assert await tables.watermark() == last
    later = await joblog.append(accepted(100))
    async with running(environ):
        await tables.reaches(later)
    assert list(await tables.views()) == [accepted(100).job_id]


async def test_a_log_made_anew_during_the_replay_is_not_mixed_with_the_old_one(
    environ: dict[str, str], client: Client, joblog: JobLog, tables: Tables, numbers: topology.Numbers
) -> None:
    async with running(environ):
        await tables.reaches(await append_all(joblog, LIVES))
    before = await tables.dump()
    writer = await asyncpg.connect(tables.url)
    async with writer.transaction():
        await writer.execute(f"SELECT pg_advisory_xact_lock_shared({SWAP_LOCK})")
        under_way = asyncio.create_task(rebuild(client, tables.url))

        async def waits_for_the_writer() -> bool:
            return bool(await tables.rows("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))

        await until(waits_for_the_writer, 30)
        await reset(client, numbers)
        await joblog.append(accepted(100))
    await writer.close()
    with pytest.raises(engine.OutOfOrder):
        await under_way
    assert await tables.dump() == before


async def test_without_a_log_or_a_database_there_is_a_sentence(environ: dict[str, str], client: Client) -> None:
    async def said(**changed: str) -> str:
        command = [sys.executable, "-m", "cli.main", "projection", "rebuild"]
        done = await asyncio.to_thread(
            subprocess.run, command, env=environ | changed, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (1, "")
        return done.stderr

    assert "No broker answers at nats://127.0.0.1:1 " in await said(NATS_URL="nats://u:secret@127.0.0.1:1")
    database = await said(DATABASE_URL="postgresql://u:secret@127.0.0.1:1/x")
    assert "The database at postgresql://127.0.0.1:1/x failed, so the tables are as they were" in database
    assert "secret" not in database
    await client.jetstream().delete_stream(topology.JOBS)
    assert "subtide provision" in await said()


async def test_it_serves_a_projector_that_is_far_behind(
    environ: dict[str, str], client: Client, joblog: JobLog, tables: Tables
) -> None:
    await append_all(joblog, LIVES[:5])
    async with running(environ):
        await tables.reaches(5)
    last = await append_all(joblog, LIVES[5:])
    await rebuild(client, tables.url)
    before = await tables.dump()
    async with running(environ | QUICK):
        await tables.reaches(await joblog.append(accepted(100)))
    after = await tables.dump()
    assert (before["watermark"][0][1], len(after["jobs"])) == (last, len(before["jobs"]) + 1)
