"""`Idempotency-Key`: however often a submit is tried, and whatever dies meanwhile, it is one job."""

import asyncio
import hashlib
import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from nats.aio.client import Client

from chassis.admission import Admission, Limits, Place, State
from chassis.joblog import JobLog
from chassis.store import Store
from cli.standalone.nats import NatsServer
from cli.standalone.server import free_port
from contracts import facts, topology
from contracts.artifacts import ContentDigest
from contracts.progress import Status
from tests.integration.conftest import Gateway, running_gateway, until
from tests.integration.stages import Stages

SECRET = {"SUBTIDE_GATEWAY_SECRET": "the same for every gateway"}
TIGHT = {"SUBTIDE_MAX_ACTIVE_JOBS": "1", "SUBTIDE_MAX_QUEUED_JOBS": "0"}


@pytest.fixture
async def admission(client: Client) -> Admission:
    return Admission(await client.jetstream().key_value(topology.ADMISSION))


async def submit(
    gateway: Gateway, key: str, content: bytes = b"sound", name: str = "talk.mp4", **fields: str
) -> httpx.Response:
    return await gateway.http.post(
        "/api/jobs/submit",
        files={"file": (name, content)},
        data=fields,
        headers={"Idempotency-Key": key},
    )


async def accepted(joblog: JobLog) -> list[facts.JobAccepted]:
    decoded = [facts.decode(entry.body) for entry in await joblog.read(1, 1000)]
    return [fact for fact in decoded if isinstance(fact, facts.JobAccepted)]


def uploads(artifacts_url: str) -> list[bytes]:
    folder = Path(artifacts_url.removeprefix("file://")) / "uploads"
    return [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]


async def test_a_retry_is_answered_as_the_first_try_was(
    gateway: Gateway, joblog: JobLog, store: Store, artifacts_url: str
) -> None:
    key = str(uuid.uuid4())
    first, second = [await submit(gateway, key, language="de") for _ in range(2)]
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()
    (fact,) = await accepted(joblog)
    assert fact.token_sha256 == hashlib.sha256(first.json()["access_token"].encode()).hexdigest()
    assert await store.get(fact.source.key) == b"sound"
    assert uploads(artifacts_url) == [b"sound"]
    opened = await gateway.http.get(
        f"/api/jobs/{first.json()['job_id']}", headers={"Authorization": f"Bearer {second.json()['access_token']}"}
    )
    assert opened.status_code == 200


async def test_a_retry_is_told_how_the_job_stands_now(gateway: Gateway, joblog: JobLog, store: Store) -> None:
    first = (await submit(gateway, "k")).json()
    stages = Stages(joblog, first["job_id"])
    await stages.start()
    assert (await submit(gateway, "k")).json()["status"] == "processing"
    await stages.complete(store)
    again = (await submit(gateway, "k")).json()
    assert (again["status"], again["access_token"]) == ("completed", first["access_token"])


async def test_another_key_or_none_is_another_job(gateway: Gateway, joblog: JobLog) -> None:
    answers = [await submit(gateway, "a"), await submit(gateway, "b")]
    bodies = [answer.json() for answer in answers] + [await gateway.submit(), await gateway.submit()]
    assert len({body["job_id"] for body in bodies}) == len({body["access_token"] for body in bodies}) == 4
    assert len(await accepted(joblog)) == 4


@pytest.mark.parametrize(
    "other", [{"content": b"other"}, {"language": "de"}, {"name": "b.mp4"}], ids=["recording", "settings", "name"]
)
async def test_a_key_that_stands_for_something_else_is_refused_and_nothing_is_told(
    gateway: Gateway, joblog: JobLog, artifacts_url: str, admission: Admission, other: dict[str, Any]
) -> None:
    first = (await submit(gateway, "k")).json()
    refused = await submit(gateway, "k", **other)
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
    assert first["job_id"] not in refused.text
    assert first["access_token"] not in refused.text
    assert len(await accepted(joblog)) == 1
    assert uploads(artifacts_url) == [b"sound"]
    assert list((await admission.ledger()).places) == [first["job_id"]]


@pytest.mark.parametrize("key", ["", "two words", "x" * 256])
async def test_what_is_no_key_is_refused_before_anything_is_taken(
    gateway: Gateway, joblog: JobLog, admission: Admission, key: str
) -> None:
    answer = await submit(gateway, key)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key")
    assert await accepted(joblog) == []
    assert (await admission.ledger()).places == {}


async def test_another_gateway_with_the_same_secret_gives_the_same_answer(
    environ: dict[str, str], joblog: JobLog
) -> None:
    answers = []
    for _ in range(2):
        async with running_gateway(environ | SECRET) as gateway:
            answers.append((await submit(gateway, "k")).json())
    assert answers[0] == answers[1]
    assert len(await accepted(joblog)) == 1


async def test_a_retry_finds_its_own_place_however_full_it_is(
    environ: dict[str, str], joblog: JobLog, admission: Admission
) -> None:
    async with running_gateway(environ | TIGHT) as gateway:
        first = (await submit(gateway, "k")).json()
        assert (await submit(gateway, "other")).status_code == 429
        assert (await submit(gateway, "k")).status_code == 202
        await admission.change(lambda ledger: ledger.without(first["job_id"]))  # the job is over
        assert (await submit(gateway, "new")).status_code == 202
        assert (await submit(gateway, "k")).json()["job_id"] == first["job_id"]
    assert len((await admission.ledger()).places) == 1
    assert len(await accepted(joblog)) == 2


class Slow:
    """A form of which the last part comes only when it is told to."""

    def __init__(self, content: bytes = b"sound") -> None:
        self.go = asyncio.Event()
        self.content = content

    async def body(self) -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="talk.mp4"\r\n\r\n'
        yield self.content[:1]
        await self.go.wait()
        yield self.content[1:] + b"\r\n--b--\r\n"

    async def submit(self, gateway: Gateway, key: str) -> httpx.Response:
        return await gateway.http.post(
            "/api/jobs/submit",
            content=self.body(),
            headers={"Content-Type": "multipart/form-data; boundary=b", "Idempotency-Key": key},
        )


async def test_tries_at_the_same_time_are_one_job_and_leave_one_upload(
    environ: dict[str, str], joblog: JobLog, admission: Admission, artifacts_url: str
) -> None:
    """On two gateways, with room for one job only."""
    async with AsyncExitStack() as stack:
        gateways = [await stack.enter_async_context(running_gateway(environ | SECRET | TIGHT)) for _ in range(2)]
        slow = Slow()
        tries = [asyncio.create_task(slow.submit(gateway, "k")) for gateway in gateways for _ in range(2)]
        await until(lambda: _uploads(admission, 4))
        slow.go.set()
        answers = [(await one) for one in tries]
    assert [answer.status_code for answer in answers] == [202] * 4
    assert len({(answer.json()["job_id"], answer.json()["access_token"]) for answer in answers}) == 1
    assert len(await accepted(joblog)) == 1
    assert uploads(artifacts_url) == [b"sound"]
    (place,) = (await admission.ledger()).places.values()
    assert place.state is State.UPLOADING


async def test_a_try_that_breaks_off_takes_nothing_from_the_one_beside_it(
    environ: dict[str, str], joblog: JobLog, admission: Admission, artifacts_url: str
) -> None:
    async with running_gateway(environ | TIGHT) as gateway:
        left, stayed = Slow(), Slow()
        leaving = asyncio.create_task(left.submit(gateway, "k"))
        staying = asyncio.create_task(stayed.submit(gateway, "k"))
        await until(lambda: _uploads(admission, 2))
        leaving.cancel()
        await until(lambda: _uploads(admission, 1))
        assert (await submit(gateway, "other")).status_code == 429
        stayed.go.set()
        assert (await staying).status_code == 202
    assert len(await accepted(joblog)) == 1
    assert uploads(artifacts_url) == [b"sound"]


async def test_a_try_too_many_at_once_is_refused(gateway: Gateway, admission: Admission) -> None:
    slow = Slow()
    tries = [asyncio.create_task(slow.submit(gateway, "k")) for _ in range(4)]
    await until(lambda: _uploads(admission, 4))
    refused = await submit(gateway, "k")
    slow.go.set()
    assert [(await one).status_code for one in tries] == [202] * 4
    assert (refused.status_code, refused.json()["code"]) == (409, "submit_in_progress")


async def test_a_place_that_was_dropped_meanwhile_is_taken_again_or_the_job_is_refused(
    environ: dict[str, str], joblog: JobLog, admission: Admission, artifacts_url: str
) -> None:
    """A gateway that nobody heard of for a while: what has its place now keeps it."""
    async with running_gateway(environ | TIGHT) as gateway:
        slow, late = Slow(), Slow()
        for one, key, taken in ((slow, "free", False), (late, "gone", True)):
            trying = asyncio.create_task(one.submit(gateway, key))
            await until(lambda: _job_ids(admission))
            (job_id,) = await _job_ids(admission)
            await admission.release(job_id)
            if taken:
                assert (await submit(gateway, "newcomer")).status_code == 202
            one.go.set()
            answer = await trying
            if taken:
                assert (answer.status_code, answer.json()["code"]) == (429, "queue_full")
            else:
                assert answer.status_code == 202
                assert await _job_ids(admission) == [job_id]
                await admission.release(job_id)
    assert len(await accepted(joblog)) == 2
    assert len(uploads(artifacts_url)) == 2


async def _uploads(admission: Admission, count: int) -> bool:
    """Whether so many uploads share the one place."""
    return [len(place.uploads) for place in (await admission.ledger()).places.values()] == [count]


async def _job_ids(admission: Admission) -> list[str]:
    return list((await admission.ledger()).places)


async def test_an_expired_job_is_not_begun_again_by_its_key(
    gateway: Gateway, joblog: JobLog, store: Store, artifacts_url: str
) -> None:
    job = (await submit(gateway, "k")).json()
    stages = Stages(joblog, job["job_id"])
    await stages.start()
    await stages.complete(store)
    deleted = await gateway.http.delete(
        f"/api/jobs/{job['job_id']}", params={"delete": "true", "token": job["access_token"]}
    )
    assert deleted.status_code == 200
    again = await submit(gateway, "k")
    assert (again.status_code, again.json()["code"]) == (410, "expired")
    assert (await submit(gateway, "k", b"other")).status_code == 422


async def test_a_broker_that_is_killed_during_submits_loses_and_doubles_nothing(
    environ: dict[str, str], joblog: JobLog, store: Store, nats_server: NatsServer
) -> None:
    """Every 202 is in the log with its bytes; what was not answered is retried and is no second job."""
    roomy = {"SUBTIDE_MAX_ACTIVE_JOBS": "100"}
    async with running_gateway(environ | SECRET | roomy | {"SUBTIDE_MAX_ACTIVE_PER_OWNER": "100"}) as gateway:
        some = asyncio.Event()

        async def persist(n: int) -> tuple[dict[str, Any], int]:
            tries = 0
            while True:
                tries += 1
                answer = await submit(gateway, f"key-{n}", f"sound {n}".encode())
                if answer.status_code == 202:
                    some.set()
                    body: dict[str, Any] = answer.json()
                    return body, tries
                assert answer.status_code == 503
                await asyncio.sleep(0.2)

        async with asyncio.timeout(90):
            submitting = [asyncio.create_task(persist(n)) for n in range(50)]
            await some.wait()
            await asyncio.to_thread(nats_server.kill)
            nats_server.start()
            answers = [await one for one in submitting]
    jobs = await accepted(joblog)
    assert len(jobs) == 50
    assert {fact.job_id for fact in jobs} == {body["job_id"] for body, _ in answers}
    for fact in jobs:
        digest = ContentDigest()
        digest.update(await store.get(fact.source.key))
        assert digest.hexdigest() == fact.source.digest


async def test_an_answer_that_was_lost_leaves_the_upload_of_the_job_alone(
    gateway: Gateway, joblog: JobLog, store: Store, admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log takes the fact, and the acknowledgement never comes."""
    append = JobLog.append

    async def unanswered(self: JobLog, fact: facts.Fact) -> int | None:
        await append(self, fact)
        raise TimeoutError

    monkeypatch.setattr(JobLog, "append", unanswered)
    assert (await submit(gateway, "k")).status_code == 503
    monkeypatch.undo()
    (fact,) = await accepted(joblog)
    assert await store.get(fact.source.key) == b"sound"
    assert list((await admission.ledger()).places) == [fact.job_id]
    answer = await submit(gateway, "k")
    assert (answer.status_code, answer.json()["job_id"]) == (202, fact.job_id)
    view = await joblog.view(fact.job_id)
    assert view is not None
    assert view.status is Status.PENDING


async def test_a_fact_that_may_still_come_keeps_its_upload_but_no_place(
    gateway: Gateway, joblog: JobLog, admission: Admission, artifacts_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody said what became of it: if it comes after all, its recording is there; if not, the janitor removes it."""

    async def lost(_: JobLog, fact: facts.Fact) -> int | None:
        raise TimeoutError

    monkeypatch.setattr(JobLog, "append", lost)
    assert (await submit(gateway, "k")).status_code == 503
    monkeypatch.undo()
    assert await accepted(joblog) == []
    assert (await admission.ledger()).places == {}
    assert uploads(artifacts_url) == [b"sound"]
    assert (await submit(gateway, "k")).status_code == 202
    assert len(await accepted(joblog)) == 1


async def test_a_gateway_that_is_killed_during_an_upload_does_not_keep_the_retry_out(
    environ: dict[str, str], joblog: JobLog, admission: Admission
) -> None:
    """Its place is still taken, and it is the retry's."""
    port = free_port()
    settings = environ | SECRET | TIGHT
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.gateway", env=os.environ | settings | {"SUBTIDE_GATEWAY_PORT": str(port)}
    )
    try:

        async def begun() -> asyncio.StreamWriter | None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return None
            return writer

        writer = await until(begun, 30)
        writer.write(
            b"POST /api/jobs/submit HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: k\r\nContent-Length: 1000000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx'
        )
        await until(lambda: _uploads(admission, 1))
    finally:
        process.kill()
        await process.wait()
    writer.close()
    async with running_gateway(settings) as gateway:
        assert (await submit(gateway, "other")).status_code == 429
        answer = await submit(gateway, "k")
    assert answer.status_code == 202
    assert await _job_ids(admission) == [answer.json()["job_id"]]
    assert len(await accepted(joblog)) == 1


async def test_uploads_share_a_place_until_the_last_of_them_gives_up(admission: Admission) -> None:
    def place(upload: str, run: int = 1) -> Place:
        return Place(
            owner="anon", counted_as="a", run=run, state=State.UPLOADING, since=datetime.now(UTC), uploads=[upload]
        )

    limits = Limits(max_active_jobs=1, max_queued_jobs=0)
    await admission.take("job", place("one"), limits)
    await admission.take("job", place("two"), limits)
    await admission.take("job", place("two"), limits)
    await admission.give_up("job", "one")
    await admission.give_up("job", "one")
    assert (await admission.ledger()).places["job"].uploads == ["two"]
    await admission.give_up("job", "two")
    assert (await admission.ledger()).places == {}
    await admission.take("job", place("one"), limits)
    await admission.change(lambda ledger: ledger.with_state("job", State.ACTIVE))
    await admission.take("job", place("two"), limits)
    await admission.give_up("job", "one")
    assert (await admission.ledger()).places["job"].state is State.ACTIVE
    await admission.take("job", place("three", run=2), limits)
    assert (await admission.ledger()).places["job"].run == 2
