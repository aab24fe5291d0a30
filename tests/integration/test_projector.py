"""The projector on a real log and a real Postgres."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta

import pytest
from nats.aio.client import Client

from chassis.joblog import JobLog
from cli.standalone.nats import NatsServer
from cli.standalone.postgres import PostgresServer
from contracts import facts, topology
from contracts.artifacts import ArtifactRef
from contracts.failures import FailureCode
from contracts.parameters import Parameters
from contracts.progress import Status
from contracts.projection import SCHEMA
from services.projector import engine
from services.projector.handler import Projection
from tests.integration.conftest import reset, until
from tests.integration.projecting import Tables, running

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SOURCE = ArtifactRef(key="uploads/anon/x", digest="5" * 64, bytes=1)
_ids = itertools.count()


def accepted(job_id: str | None = None, *, run: int = 1) -> facts.JobAccepted:
    number = next(_ids)
    return facts.JobAccepted(
        job_id=job_id or f"{number:032x}",
        run=run,
        owner="anon",
        at=AT + timedelta(seconds=number),
        filename="talk\x00.mp4",  # no clean name, but one that must not stop the projection
        source=SOURCE,
        parameters=Parameters(),
        token_sha256=f"{number:064x}",
    )


def failed(job: facts.JobAccepted) -> facts.JobFailed:
    return facts.JobFailed(
        job_id=job.job_id, run=job.run, owner=job.owner, at=AT, code=FailureCode.NO_AUDIO, stage="x", reference="r",
        attempts=1,
    )  # fmt: skip


@pytest.fixture
def tables(database_url: str) -> Tables:
    return Tables(database_url)


async def test_facts_become_jobs_and_tokens(environ: dict[str, str], joblog: JobLog, tables: Tables) -> None:
    first, second = accepted(), accepted()
    share = {"job_id": first.job_id, "run": 1, "owner": "anon", "at": AT}
    for fact in (
        first,
        second,
        facts.ShareMinted(**share, n=1, token_sha256="a" * 64),
        facts.ShareMinted(**share, n=2, token_sha256="b" * 64),
        facts.ShareRevoked(**share, n=1),
        failed(second),
    ):
        last = await joblog.append(fact)
    async with running(environ):
        await tables.reaches(last)
    views = await tables.views()
    assert views[first.job_id].status is Status.PENDING
    assert views[second.job_id].status is Status.FAILED
    opened = {row["token_sha256"]: row["job_id"] for row in await tables.rows("SELECT * FROM tokens")}
    assert opened == {first.token_sha256: first.job_id, second.token_sha256: second.job_id, "b" * 64: first.job_id}


async def test_the_projection_equals_the_fold_of_the_log_when_facts_come_while_it_runs(
    environ: dict[str, str], joblog: JobLog, tables: Tables
) -> None:
    jobs = [accepted() for _ in range(40)]
    async with running(environ | {"SUBTIDE_PROJECTOR_BATCH": "7"}):
        await asyncio.gather(*(joblog.append(job) for job in jobs))
        seqs = await asyncio.gather(*(joblog.append(failed(job)) for job in jobs))
        await tables.reaches(max(seq or 0 for seq in seqs))
    views = await tables.views()
    assert views == {job.job_id: await joblog.view(job.job_id) for job in jobs}


@pytest.mark.parametrize(
    ("subject", "body"),
    [
        ("job.accepted.anon.x.1", b"not json"),
        (
            "job.invented.anon.x.1",
            b'{"fact":"invented","job_id":"x","run":1,"owner":"anon","at":"2026-01-01T00:00:00Z"}',
        ),
        ("job.accepted.anon.other.1", facts.encode(accepted("not-other"))),
        ("job.cancelled.anon.orphan.1", facts.encode(facts.JobCancelled(job_id="orphan", run=1, owner="anon", at=AT))),
        (
            "job.cancelled.anon.naive.1",
            b'{"fact":"cancelled","job_id":"naive","run":1,"owner":"anon","at":"2026-01-01T00:00:00"}',
        ),
        (
            "job.share-minted.anon.x.1.99999999999999999999",
            b'{"fact":"share-minted","job_id":"x","run":1,"owner":"anon","at":"2026-01-01T00:00:00Z","n":'
            b'99999999999999999999,"token_sha256":"\\u0000"}',
        ),
    ],
)
async def test_what_is_no_fact_goes_to_a_table_of_its_own_and_the_rest_is_projected(
    environ: dict[str, str], client: Client, joblog: JobLog, tables: Tables, subject: str, body: bytes
) -> None:
    unknown = (await client.jetstream().publish(subject, body)).seq
    after = accepted()
    last = await joblog.append(after)
    async with running(environ):
        await tables.reaches(last)
    rows = await tables.rows("SELECT * FROM unknown_facts")
    assert [(row["seq"], row["subject"], row["body"]) for row in rows] == [(unknown, subject, body)]
    assert rows[0]["reason"]
    assert list(await tables.views()) == [after.job_id]


async def test_it_goes_on_where_it_stopped(environ: dict[str, str], joblog: JobLog, tables: Tables) -> None:
    first = accepted()
    seq = await joblog.append(first)
    async with running(environ):
        await tables.reaches(seq)
    seq = await joblog.append(failed(first))
    async with running(environ):
        await tables.reaches(seq)
    assert (await tables.views())[first.job_id].status is Status.FAILED


async def test_it_starts_without_postgres_and_survives_losing_it(
    environ: dict[str, str], joblog: JobLog, tables: Tables, postgres_server: PostgresServer
) -> None:
    first, second = accepted(), accepted()
    postgres_server.stop()
    try:
        async with running(environ) as task:
            await joblog.append(first)
            await asyncio.sleep(0.3)
            assert not task.done()
            postgres_server.start()
            await tables.reaches(1)
            postgres_server.stop()
            last = await joblog.append(second)
            await asyncio.sleep(0.3)
            postgres_server.start()
            await tables.reaches(last)
    finally:
        postgres_server.stop()
        postgres_server.start()
    assert set(await tables.views()) == {first.job_id, second.job_id}


async def test_a_second_projector_waits_until_the_first_is_gone(
    environ: dict[str, str], joblog: JobLog, tables: Tables
) -> None:
    waiting = await Projection.open(environ["DATABASE_URL"])
    async with waiting:
        async with running(environ):
            await tables.reaches(await joblog.append(accepted()))
            assert not await waiting.try_lock()
        await until(waiting.try_lock)


@pytest.mark.parametrize("damage", ["TRUNCATE jobs, tokens, watermark, unknown_facts", f"DROP SCHEMA {SCHEMA} CASCADE"])
async def test_emptied_or_dropped_tables_come_back_by_replay(
    environ: dict[str, str], joblog: JobLog, tables: Tables, damage: str
) -> None:
    job = accepted()
    last = await joblog.append(job)
    async with running(environ):
        await tables.reaches(last)
        await tables.rows(damage)
        await tables.reaches(last)
        assert list(await tables.views()) == [job.job_id]


async def test_a_log_that_was_made_anew_replaces_the_projection(
    environ: dict[str, str], client: Client, joblog: JobLog, tables: Tables, numbers: topology.Numbers
) -> None:
    old = [accepted() for _ in range(3)]
    for job in old:
        last = await joblog.append(job)
    async with running(environ):
        await tables.reaches(last)
    await reset(client, numbers)
    new = [accepted() for _ in range(4)]  # further than the old log: only its age gives it away
    for job in new:
        last = await joblog.append(job)
    async with running(environ):
        await tables.reaches(last)

        async def replaced() -> bool:
            return set(await tables.views()) == {job.job_id for job in new}

        await until(replaced)


async def test_a_log_whose_beginning_was_removed_is_projected_from_its_first_message(
    environ: dict[str, str], client: Client, joblog: JobLog, tables: Tables
) -> None:
    jobs = [accepted() for _ in range(3)]
    for job in jobs:
        last = await joblog.append(job)
    await client.jetstream().purge_stream(topology.JOBS, seq=3)
    async with running(environ):
        await tables.reaches(last)
    assert list(await tables.views()) == [jobs[2].job_id]


async def test_a_batch_that_does_not_follow_the_watermark_is_refused_and_leaves_nothing(
    environ: dict[str, str], joblog: JobLog, tables: Tables, nats_server: NatsServer
) -> None:
    last = await joblog.append(accepted())
    async with running(environ):
        await tables.reaches(last)
    late = accepted()
    for after in ((last or 0) - 1, last or 0, (last or 0) + 1):
        message = engine.Message(seq=after, subject=f"job.accepted.anon.{late.job_id}.1", body=facts.encode(late))
        async with await Projection.open(environ["DATABASE_URL"]) as projection:
            with pytest.raises(engine.OutOfOrder):
                await projection.apply(after, [message])
    assert late.job_id not in await tables.views()
