"""Servers that are killed and services that are restarted under load: what was promised is kept."""

import asyncio
from typing import Any

from nats.js.errors import NotFoundError

from contracts import facts, topology
from tests.chaos import evidence, invariants
from tests.chaos.clients import Plan, Users
from tests.chaos.conftest import JOB_S, Patient
from tests.chaos.engines import Script
from tests.integration.conftest import until


def plans(name: str, count: int, *, work_s: float, **options: Any) -> list[Plan]:
    return [
        Plan(
            name=f"{name}-{number}.mp4",
            script=Script(salt=f"{name} {number % 10}", chunks=1 + number % 10 % 3, work_s=work_s),
            parameters={},
            **options,
        )
        for number in range(count)
    ]


async def test_a_broker_killed_during_fifty_submits_loses_no_job_and_makes_none_twice(patient: Patient) -> None:
    users = Users(patient.cluster.gateways, seed=0)
    try:
        # given fifty users who send again, with the same key, what was not answered
        living = [asyncio.create_task(users.live(plan)) for plan in plans("broker", 50, work_s=0.02)]
        for share in (0.2, 0.5):
            await until(lambda share=share: len(users.promised) > 50 * share, 30)  # type: ignore[misc]
            patient.cluster.nats.kill()
        await asyncio.wait_for(asyncio.gather(*living), 2 * JOB_S)
    finally:
        await users.close()
    # then each has one job, which is done
    await patient.quiet()
    entries = await evidence.log(patient.client)
    assert len(users.promised) == 50
    assert users.ended == {"completed": 50}
    assert users.complaints == []
    assert invariants.without_acceptance(entries, users.promised) == []
    assert invariants.accepted_twice(entries) == []
    assert invariants.with_two_ends(entries) == []


async def test_a_rolling_restart_fails_no_job_and_no_websocket_misses_a_fact(patient: Patient) -> None:
    cluster = patient.cluster
    users = Users(cluster.gateways, seed=1)
    try:
        # given users at work, each watching their job
        living = [
            asyncio.create_task(_after(0.4 * number, users, plan))
            for number, plan in enumerate(plans("rolling", 16, work_s=0.3, watch=True))
        ]
        await until(lambda: users.promised, 20)
        # when every service is restarted, one after the other
        for service in cluster.services.values():
            assert await service.terminate() == 0
            await until(lambda service=service: service.alive, 10)  # type: ignore[misc]
            await cluster.until_serving()
        await asyncio.wait_for(asyncio.gather(*living), JOB_S)
        await users.watched(20)
    finally:
        await users.close()
    # then no job failed, nothing counted as a try, and nobody missed a fact or heard one twice
    await patient.quiet()
    known = invariants.readable(await evidence.log(patient.client))
    assert users.ended == {"completed": 16}
    assert users.complaints == []
    assert [sentence for watcher in users.watchers for sentence in watcher.complaints(known)] == []
    assert sum(watcher.connections for watcher in users.watchers) > 16
    jobs = {job_id for job_id, _ in users.promised}
    attempts = {
        fact.receipt.attempts
        for _, fact in known
        if fact.job_id in jobs and isinstance(fact, facts.AudioExtracted | facts.ChunkTranscribed | facts.JobCompleted)
    }
    assert attempts == {1}


async def test_a_broker_that_forgot_what_it_kept_in_memory_is_put_right(patient: Patient) -> None:
    job = await patient.submit(Script(salt="forgotten progress", chunks=4, work_s=0.5))
    js = patient.client.jetstream()
    await js.delete_stream(topology.PROGRESS)  # as a restart does
    while not isinstance(await patient.ended(job), facts.JobCompleted):
        answer = await patient.http.get(f"/api/jobs/{job.job_id}", params={"token": job.token})
        assert answer.status_code == 200, answer.text

    async def made_again() -> bool:
        try:
            await js.stream_info(topology.PROGRESS)
        except NotFoundError:
            return False
        return True

    await until(made_again, 20)


async def test_without_postgres_jobs_go_on_and_lists_catch_up(patient: Patient) -> None:
    cluster = patient.cluster
    cluster.held.add("postgres")
    cluster.postgres.kill()
    try:
        job = await patient.submit(Script(salt="without postgres"))
        assert isinstance(await patient.end(job), facts.JobCompleted)
        listed = await patient.http.get("/api/jobs", params={"tokens": job.token})
        assert (listed.status_code, listed.headers["content-type"]) == (503, "application/problem+json")
    finally:
        cluster.held.discard("postgres")

    async def listed_as_completed() -> bool:
        answer = await patient.http.get("/api/jobs", params={"tokens": job.token})
        return answer.status_code == 200 and [one["status"] for one in answer.json()["jobs"]] == ["completed"]

    await until(listed_as_completed, 40)


async def _after(delay_s: float, users: Users, plan: Plan) -> None:
    await asyncio.sleep(delay_s)
    await users.live(plan)
