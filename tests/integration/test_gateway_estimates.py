"""What a caller is told of the time a job takes, and lists that show what was just done; both come from Postgres."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from websockets.asyncio.client import connect

from chassis.joblog import JobLog
from chassis.store import Store
from cli.standalone.postgres import PostgresServer
from contracts import facts
from contracts.progress import LiveProgress, Stage
from services.projector.app import serve as serve_projector
from tests.integration.conftest import Gateway, running_gateway, until
from tests.integration.stages import RECEIPT, Stages


async def complete(joblog: JobLog, job_id: str) -> None:
    """A job of ten seconds of sound that ran for 40 s: 20 s of diarization beside less of everything else."""
    stages = Stages(joblog, job_id)
    await stages.start()
    await stages.extract()
    await stages.plan(1)
    await stages.transcribe(0)
    of_job = stages.of_job
    await joblog.append(
        facts.SpeakersDiarized(
            **of_job, turns=None, speakers=1, receipt=facts.StageReceipt(engine="test/1", seconds=20.0)
        )
    )
    started_at = (await stages.view()).started_at
    assert started_at is not None
    await joblog.append(
        facts.JobCompleted(
            **of_job | {"at": started_at + timedelta(seconds=40)},
            results={},
            language="en",
            duration_s=10.0,
            speakers=1,
            words=1,
            receipt=RECEIPT,
        )
    )


@pytest.fixture
async def projector(environ: dict[str, str]) -> AsyncIterator[None]:
    stop = asyncio.Event()
    projecting = asyncio.create_task(serve_projector(environ, stop))
    yield
    stop.set()
    await projecting


async def listed(gateway: Gateway, *jobs: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await gateway.http.post("/api/jobs/query", json={"tokens": [job["access_token"] for job in jobs]})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["jobs"]
    return found


async def got(gateway: Gateway, job: dict[str, Any]) -> dict[str, Any]:
    answer = await gateway.http.get(f"/api/jobs/{job['job_id']}", params={"token": job["access_token"]})
    body: dict[str, Any] = answer.json()
    return body


async def projects(gateway: Gateway) -> bool:
    return (await gateway.http.post("/api/jobs/query", json={"tokens": ["x"]})).status_code == 200


async def test_a_list_shows_what_was_done_just_before(
    gateway: Gateway, projector: None, joblog: JobLog, store: Store
) -> None:
    await until(lambda: projects(gateway))
    jobs = []
    for count in range(1, 11):
        jobs.append(await gateway.submit())
        found = await listed(gateway, *jobs)
        assert (found[0]["job_id"], len(found)) == (jobs[-1]["job_id"], count)
    one = jobs[0]
    assert (
        await gateway.http.delete(f"/api/jobs/{one['job_id']}", params={"token": one["access_token"]})
    ).status_code == 200
    assert (await listed(gateway, one))[0]["status"] == "cancelled"


async def test_a_list_leaves_out_a_job_that_is_gone(gateway: Gateway, projector: None) -> None:
    await until(lambda: projects(gateway))
    kept, gone = await gateway.submit(), await gateway.submit()
    for params in ({}, {"delete": "true"}):
        path = f"/api/jobs/{gone['job_id']}"
        answer = await gateway.http.delete(path, params={"token": gone["access_token"], **params})
        assert answer.status_code == 200
    assert [one["job_id"] for one in await listed(gateway, kept, gone)] == [kept["job_id"]]


async def test_a_list_does_not_wait_for_ever_for_a_projector_that_is_away(
    gateway: Gateway, environ: dict[str, str]
) -> None:
    stop = asyncio.Event()
    projecting = asyncio.create_task(serve_projector(environ, stop))
    await until(lambda: projects(gateway))
    first = await gateway.submit()
    assert len(await listed(gateway, first)) == 1
    stop.set()
    await projecting
    second = await gateway.submit()
    assert [one["job_id"] for one in await listed(gateway, first, second)] == [first["job_id"]]


async def test_estimates_come_from_jobs_that_completed(
    environ: dict[str, str], joblog: JobLog, projector: None
) -> None:
    async with running_gateway(environ) as gateway:
        await until(lambda: projects(gateway))
        first = await gateway.submit()
        assert "estimated_duration_seconds" not in first
        assert (await got(gateway, first))["estimated_remaining_seconds"] is None
        await complete(joblog, first["job_id"])
        assert (await listed(gateway, first))[0]["status"] == "completed"
    async with running_gateway(environ) as gateway:  # which has read nothing yet
        await gateway.http.get("/health/ready")

        async def estimated() -> float | None:
            return (await gateway.submit()).get("estimated_duration_seconds")

        assert await until(estimated) == 40.0
        job = await gateway.submit()
        stages = Stages(joblog, job["job_id"])
        assert (await got(gateway, job))["estimated_remaining_seconds"] is None
        await stages.start()
        assert (await got(gateway, job))["estimated_remaining_seconds"] == 40.0
        await stages.extract()
        left = [(await got(gateway, job))["estimated_remaining_seconds"]]
        assert 0 < left[0] < 40.0
        async with connect(gateway.ws_url) as socket:
            await socket.send(json.dumps({"type": "subscribe", "job_id": job["job_id"], "token": job["access_token"]}))
            async with asyncio.timeout(10):
                snapshot = json.loads(await socket.recv())
                assert snapshot["job"]["estimated_remaining_seconds"] == left[0]
                await joblog.report(LiveProgress(job_id=job["job_id"], run=1, stage=Stage.DIARIZING, fraction=0.5))
                progress = json.loads(await socket.recv())
        assert progress["type"] == "progress"
        assert progress["estimated_remaining_seconds"] == pytest.approx(left[0] / 2, abs=0.1)
        await stages.fail()
        assert (await got(gateway, job))["estimated_remaining_seconds"] is None


async def test_a_job_in_the_queue_is_shown_when_it_may_start(gateway: Gateway, joblog: JobLog) -> None:
    job = await gateway.submit()
    assert (await got(gateway, job))["starts_in_s"] is None
    await joblog.report(
        LiveProgress(job_id=job["job_id"], run=1, stage=Stage.QUEUED, fraction=0.0, queue_position=2, starts_in_s=90.0)
    )

    async def shown() -> bool:
        body = await got(gateway, job)
        return (body["queue_position"], body["starts_in_s"]) == (2, 90.0)

    await until(shown)


async def test_with_postgres_gone_in_the_middle_only_lists_stop(
    environ: dict[str, str], postgres_server: PostgresServer, joblog: JobLog, store: Store, projector: None
) -> None:
    async with running_gateway(environ) as gateway:
        await until(lambda: projects(gateway))
        before = await gateway.submit()
        assert len(await listed(gateway, before)) == 1
        await asyncio.to_thread(postgres_server.kill)
        try:
            job = await gateway.submit()
            stages = Stages(joblog, job["job_id"])
            async with connect(gateway.ws_url) as socket:
                await socket.send(
                    json.dumps({"type": "subscribe", "job_id": job["job_id"], "token": job["access_token"]})
                )
                async with asyncio.timeout(10):
                    assert json.loads(await socket.recv())["type"] == "snapshot"
                    await stages.start()
                    assert json.loads(await socket.recv())["fact"] == "started"
            await stages.complete(store)
            assert (await got(gateway, job))["status"] == "completed"
            download = await gateway.http.get(
                f"/api/jobs/{job['job_id']}/download/srt", params={"token": job["access_token"]}
            )
            assert download.status_code == 200
            refused = await gateway.http.post("/api/jobs/query", json={"tokens": [job["access_token"]]})
            assert (refused.status_code, refused.json()["code"]) == (503, "list_unavailable")
            assert refused.json()["detail"].endswith(".")
            shared = await gateway.http.post(f"/api/jobs/{job['job_id']}/share", params={"token": job["access_token"]})
            assert shared.status_code == 201
        finally:
            postgres_server.start()

        async def complete_list() -> bool:
            answer = await gateway.http.post(
                "/api/jobs/query", json={"tokens": [before["access_token"], job["access_token"]]}
            )
            return answer.status_code == 200 and answer.json()["total"] == 2

        await until(complete_list, 30)


async def test_a_postgres_that_does_not_answer_holds_up_no_submit(environ: dict[str, str], joblog: JobLog) -> None:
    """It takes connections and says nothing: ten submits would wait for minutes."""
    silent = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    host, port = silent.sockets[0].getsockname()[:2]
    try:
        async with running_gateway(environ | {"DATABASE_URL": f"postgresql://{host}:{port}/x"}) as gateway:
            async with asyncio.timeout(15):
                for _ in range(10):
                    assert "estimated_duration_seconds" not in await gateway.submit()
    finally:
        silent.close()
