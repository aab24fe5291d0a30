"""One small cluster for all tests of failure paths: what a test breaks, the supervisor starts again."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import msgspec
import nats.errors
import pytest
from nats.aio.client import Client

from chassis.joblog import JobLog
from contracts import facts
from tests.chaos import engines, evidence
from tests.chaos.cluster import SMALL, Cluster
from tests.chaos.engines import Note, Script
from tests.integration.conftest import until

SETTINGS = {
    "SUBTIDE_MAX_QUEUED_JOBS": "100",
    "SUBTIDE_MAX_ACTIVE_JOBS": "20",
    "SUBTIDE_MAX_ACTIVE_PER_OWNER": "20",
    "SUBTIDE_TRANSCRIBER_WORKERS": "1",
}
JOB_S = 45.0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job that was accepted."""

    script: Script
    job_id: str
    token: str


class Patient:
    """A cluster under supervision, with a connection and a client of its API."""

    def __init__(self, cluster: Cluster, client: Client, http: httpx.AsyncClient) -> None:
        self.cluster = cluster
        self.client = client
        self.http = http
        self.joblog = JobLog(client)

    async def submit(self, script: Script, **parameters: str) -> Job:
        """A job of a script."""
        answer = await self.try_submit(script, **parameters)
        assert answer.status_code == 202, answer.text
        return Job(script=script, job_id=answer.json()["job_id"], token=answer.json()["access_token"])

    async def try_submit(self, script: Script, *, key: str = "", **parameters: str) -> httpx.Response:
        """Whatever is answered."""
        return await self.http.post(
            "/api/jobs/submit",
            files={"file": (f"{key or script.salt}.mp4", script.upload())},
            data=parameters,
            headers={"Idempotency-Key": key or script.digest},
        )

    async def known(self, job: Job) -> list[facts.AnyFact]:
        """What the log says of a job, every message."""
        entries = await self.joblog.history_of(job.job_id)
        return [facts.decode(entry.body) for entry in entries]

    async def ended(self, job: Job) -> facts.AnyFact | None:
        """The terminal fact, if it is there and the broker is."""
        try:
            return next((fact for fact in await self.known(job) if facts.ends_run(fact)), None)
        except (OSError, TimeoutError, nats.errors.Error):
            return None

    async def end(self, job: Job) -> facts.AnyFact:
        """The terminal fact, once it is there."""
        fact: facts.AnyFact = await until(lambda: self.ended(job), JOB_S)
        return fact

    def notes(self, job: Job, step: str, *, ended: bool) -> list[Note]:
        """The calls of a step that began or ended for a job."""
        return [
            note
            for note in engines.notes(self.cluster.notes)
            if (note.script, note.step, note.ended) == (job.script.digest, step, ended)
        ]

    async def quiet(self) -> None:
        """Wait until nothing is on the way on any durable, and no place is taken."""

        async def nothing_left() -> bool:
            left = await evidence.consumers(self.client)
            return (
                not any(one.pending or one.unacked for one in left) and not (await evidence.ledger(self.client)).places
            )

        await until(nothing_left, JOB_S)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Started once; its logs are kept where a test failed."""
    folder = Path(tempfile.mkdtemp(prefix="subtide-chaos-test-"))
    made = Cluster(folder, members=SMALL, environ=SETTINGS)
    try:
        asyncio.run(made.start())
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def patient(cluster: Cluster) -> AsyncIterator[Patient]:
    """The cluster, all of it serving, under supervision for the test."""
    client = await cluster.connect()
    try:
        async with httpx.AsyncClient(base_url=cluster.gateways[0], timeout=20) as http, cluster.supervised():
            await until(lambda: all(service.alive for service in cluster.services.values()), 20)
            yield Patient(cluster, client, http)
    finally:
        await client.close()
