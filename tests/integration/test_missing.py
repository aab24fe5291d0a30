"""A stored file that is gone fails the job that needs it; what is not the upload can be made anew, so that stays."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from nats.aio.client import Client

from chassis.joblog import JobLog
from chassis.store import Store
from contracts import facts, topology
from contracts.failures import FAILURES, FailureCode
from services.exporter.app import serve as serve_exporter
from services.janitor.app import serve as serve_janitor
from tests.integration.conftest import until
from tests.runs import Run


@asynccontextmanager
async def serving(environ: dict[str, str]) -> AsyncIterator[None]:
    """An exporter and a janitor in this process."""
    stop = asyncio.Event()
    tasks = [asyncio.create_task(serve(environ, stop)) for serve in (serve_exporter, serve_janitor)]
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 20)


@pytest.mark.parametrize("lost", ["segments", "turns"])
async def test_a_result_of_a_stage_that_was_lost_fails_the_run_and_leaves_the_upload_for_a_retry(
    client: Client, joblog: JobLog, store: Store, environ: dict[str, str], lost: str
) -> None:
    # given a job of which everything is there but the result of one stage
    run = Run("a", chunks=1, at=datetime.now(UTC) - timedelta(minutes=1))
    await store.put(run.accepted.source.key, b"x")
    if lost != "segments":
        await store.put(run.transcribed(0).segments.key, b"[]")
    if lost != "turns":
        await store.put(run.ref("diarizer", "turns.json").key, b"[]")
    for fact in run.work:
        await joblog.append(fact)
    async with serving(environ):

        async def failed() -> facts.JobFailed | None:
            known = [one.fact for one in await joblog.facts_of("a")]
            return next((fact for fact in known if isinstance(fact, facts.JobFailed)), None)

        # when it is exported
        fact = await until(failed)

        async def tidied() -> bool:
            info = await client.jetstream().consumer_info(topology.JOBS, topology.JANITOR.name)
            return not info.num_ack_pending and not info.num_pending

        await until(tidied)
    # then the run has failed with something that a retry helps against, and what it begins with is there
    assert fact.code is FailureCode.ARTIFACT_MISSING
    assert FAILURES[fact.code].retry_can_help
    assert await store.find(run.accepted.source.key) is not None
