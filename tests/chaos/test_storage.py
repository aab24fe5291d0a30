"""A store without room, a log without room, a death between storing and publishing: nothing accepted is lost."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest

from chassis.child import EnginePool, EngineSpec
from chassis.service import Connected, serve_stage
from chassis.settle import Handler
from cli.standalone.launch import kill, launch
from contracts import facts, topology
from services.extractor.handler import Extraction
from tests.chaos import engines
from tests.chaos.cluster import Service
from tests.chaos.conftest import Patient
from tests.chaos.engines import Misdeed, Script
from tests.integration.conftest import until


async def test_a_full_store_refuses_submits_and_loses_no_job(patient: Patient) -> None:
    cluster = patient.cluster
    if not cluster.has_disk_of_its_own:
        pytest.skip("only root can give the store a small disk of its own")
    # given a job for the extractor, whose sound there is no room for
    (extractor,) = cluster.of("extractor")
    async with _held(extractor):
        before = await patient.submit(Script(salt="before the disk was full", chunks=6, work_s=0.5))
        cluster.fill_disk()
    try:
        # when others are sent
        refused = await patient.try_submit(Script(salt="while the disk was full"))
        assert (refused.status_code, refused.json()["code"]) == (507, "store_full")
        # and it was tried more often than a failure would be
        await until(
            lambda: len(patient.notes(before, "extract", ended=False)) > patient.cluster.numbers.retries + 2, 40
        )
        assert not [fact for fact in await patient.known(before) if facts.ends_run(fact)]
    finally:
        cluster.free_disk()
    # then all goes on once there is room
    assert isinstance(await patient.end(before), facts.JobCompleted)
    again = await patient.submit(Script(salt="while the disk was full"))
    assert isinstance(await patient.end(again), facts.JobCompleted)
    await patient.quiet()


async def test_a_full_log_refuses_submits_and_loses_no_job(patient: Patient) -> None:
    before = await patient.submit(Script(salt="before the log was full", chunks=2, work_s=0.5))
    await until(lambda: patient.notes(before, "extract", ended=False), 20)
    async with _full_log(patient):
        refused = await patient.try_submit(Script(salt="while the log was full"))
        assert (refused.status_code, refused.json()["code"]) == (503, "log_full")
        await until(lambda: patient.notes(before, "extract", ended=True), 20)
    assert isinstance(await patient.end(before), facts.JobCompleted)
    again = await patient.submit(Script(salt="while the log was full"))
    assert isinstance(await patient.end(again), facts.JobCompleted)
    await patient.quiet()


async def test_an_exporter_that_dies_between_storing_and_publishing_changes_nothing(patient: Patient) -> None:
    cluster = patient.cluster
    (exporter,) = cluster.of("exporter")
    async with _held(exporter):
        dying = launch(
            [sys.executable, "-m", "tests.chaos.dying_exporter"], env=exporter.environ, log=cluster.logs / "dying.log"
        )
        try:
            job = await patient.submit(Script(salt="stored, not published", chunks=2))
            await until(lambda: dying.poll() is not None, 30)
        finally:
            kill(dying)
        # given results that are stored and a log that does not know of them
        results = cluster.artifacts / "cache" / "anon" / "exporter"
        stored = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in results.iterdir()}
        assert not [fact for fact in await patient.known(job) if facts.ends_run(fact)]
    # when another exporter does it again, then the files are those that were there
    completed = await patient.end(job)
    assert isinstance(completed, facts.JobCompleted)
    assert {cluster.artifacts / ref.key for ref in completed.results.values()} <= stored.keys()
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in stored} == stored
    await patient.quiet()


async def test_a_hanging_engine_is_killed_at_the_ceiling_and_tried_again(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given an extractor with a low ceiling
    (extractor,) = patient.cluster.of("extractor")
    monkeypatch.setenv(engines.FOLDER, str(patient.cluster.notes))
    durable = msgspec.structs.replace(topology.EXTRACTOR, ceiling_s=0.8)
    stop = asyncio.Event()

    async def build(connected: Connected, stack: AsyncExitStack) -> Handler:
        pool = EnginePool(EngineSpec(target="tests.chaos.engines:FakeExtractor", fresh=True), workers=1)
        stack.push_async_callback(pool.close)
        return Extraction(connected.store, pool)

    async with _held(extractor):
        serving = asyncio.create_task(serve_stage(extractor.environ, stop, durable=durable, workers=1, build=build))
        try:
            # when its engine hangs once, and in another job for ever
            once = await patient.submit(Script(salt="hangs", misdeeds=[Misdeed(step="extract", act="hang", times=1)]))
            assert isinstance(await patient.end(once), facts.JobCompleted)
            ever = await patient.submit(Script(salt="hangs for ever", misdeeds=[Misdeed(step="extract", act="hang")]))
            failed = await patient.end(ever)
        finally:
            stop.set()
            await asyncio.wait_for(serving, 20)
    # then the job of the one is done, and that of the other has failed
    assert len(patient.notes(once, "extract", ended=False)) == 2
    assert isinstance(failed, facts.JobFailed)
    assert (failed.code, failed.attempts) == ("timed_out", 4)


@asynccontextmanager
async def _held(service: Service) -> AsyncIterator[None]:
    """The service is down in the block."""
    service.held = True
    await service.terminate()
    try:
        yield
    finally:
        service.held = False


@asynccontextmanager
async def _full_log(patient: Patient) -> AsyncIterator[None]:
    js = patient.client.jetstream()
    info = await js.stream_info(topology.JOBS)
    info.config.max_bytes = info.state.bytes
    await js.update_stream(info.config)
    try:
        yield
    finally:
        info.config.max_bytes = patient.cluster.numbers.jobs_max_bytes
        await js.update_stream(info.config)
