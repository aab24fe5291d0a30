"""Places in the ledger: refused before a byte is read, never more than there are, said to be held while they are."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from chassis.admission import Admission, Ledger, Place, State
from chassis.joblog import JobLog
from chassis.store import Store
from contracts import topology
from tests.integration.conftest import Gateway, running_gateway, until
from tests.integration.stages import Stages

STRICT = {"SUBTIDE_MAX_ACTIVE_JOBS": "3", "SUBTIDE_MAX_QUEUED_JOBS": "0"}
FULL = {"SUBTIDE_MAX_ACTIVE_JOBS": "0", "SUBTIDE_MAX_QUEUED_JOBS": "0"}


@pytest.fixture
async def admission(client: Client) -> Admission:
    return Admission(await client.jetstream().key_value(topology.ADMISSION))


class Raw:
    """A client that says exactly what it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def submitting(cls, gateway: Gateway, *headers: str) -> "Raw":
        host, port = gateway.url.removeprefix("http://").split(":")
        one = cls(*await asyncio.open_connection(host, int(port)))
        lines = [
            "POST /api/jobs/submit HTTP/1.1",
            "Host: localhost",
            "Content-Type: multipart/form-data; boundary=b",
            *headers,
        ]
        one.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await one.writer.drain()
        return one

    async def answer(self) -> tuple[str, dict[str, str], dict[str, Any]]:
        """Status line, headers and body; reads no more than its length."""
        async with asyncio.timeout(10):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            return head[0], headers, json.loads(await self.reader.readexactly(int(headers["content-length"])))

    async def end(self) -> bytes:
        """What else comes, until the server closes."""
        async with asyncio.timeout(10):
            return await self.reader.read()


class TestRefusal:
    """Of a submit for which there is no place."""

    @pytest.fixture
    async def gateway(self, environ: dict[str, str]) -> AsyncIterator[Gateway]:
        async with running_gateway(environ | FULL) as one:
            yield one

    async def test_comes_before_the_body_and_ends_the_connection(self, gateway: Gateway) -> None:
        client = await Raw.submitting(gateway, "Content-Length: 1000000000")
        status, headers, problem = await client.answer()
        assert status.startswith("HTTP/1.1 429")
        assert problem["code"] == "queue_full"
        assert problem["detail"].startswith("System busy: ")
        assert int(headers["retry-after"]) > 0
        assert headers["connection"] == "close"
        assert await client.end() == b""
        client.writer.close()

    async def test_does_not_ask_for_the_body_either(self, gateway: Gateway) -> None:
        client = await Raw.submitting(gateway, "Content-Length: 1000000000", "Expect: 100-continue")
        status, _, _ = await client.answer()
        assert status.startswith("HTTP/1.1 429")
        assert await client.end() == b""
        client.writer.close()

    async def test_is_not_lost_to_one_who_sends_on_and_reads_afterwards(self, gateway: Gateway) -> None:
        size = 20_000_000
        client = await Raw.submitting(gateway, f"Content-Length: {size}")
        for _ in range(20):
            client.writer.write(b"x" * (size // 20))
            await client.writer.drain()
        status, _, problem = await client.answer()
        assert status.startswith("HTTP/1.1 429")
        assert problem["code"] == "queue_full"
        assert await client.end() == b""
        client.writer.close()

    async def test_of_a_file_announced_as_too_large_is_no_different(self, gateway: Gateway) -> None:
        client = await Raw.submitting(gateway, "Content-Length: 99999999999")
        status, headers, problem = await client.answer()
        assert status.startswith("HTTP/1.1 413")
        assert (problem["code"], headers["connection"]) == ("file_too_large", "close")
        client.writer.close()

    async def test_leaves_a_connection_whose_body_was_read_as_it_is(self, gateway: Gateway) -> None:
        answer = await gateway.http.post("/api/jobs/query", json={"tokens": []})
        assert "connection" not in answer.headers


async def test_eight_clients_racing_on_two_gateways_never_hold_more_than_three_places(
    environ: dict[str, str], admission: Admission, client: Client
) -> None:
    """100 submits at 3 + 0, while jobs end and make room. Every ledger that was ever written is looked at."""
    held: list[int] = []
    over = asyncio.Event()
    numbers = random.Random(7)

    async def written(message: Msg) -> None:
        held.append(len(json.loads(message.data)["places"]))

    async def end_jobs() -> None:
        while not over.is_set():
            places = list((await admission.ledger()).places)
            if places and numbers.random() < 0.3:
                await admission.release(numbers.choice(places))
            await asyncio.sleep(0.005)

    await client.subscribe(f"$KV.{topology.ADMISSION}.>", cb=written)

    async with AsyncExitStack() as stack:
        gateways = [await stack.enter_async_context(running_gateway(environ | STRICT)) for _ in range(2)]
        waiting = list(range(100))
        answers: list[httpx.Response] = []

        async def submit_all(gateway: Gateway) -> None:
            while waiting:
                waiting.pop()
                answers.append(await gateway.http.post("/api/jobs/submit", files={"file": ("a", b"x" * 100_000)}))

        ending = asyncio.create_task(end_jobs())
        await asyncio.gather(*(submit_all(gateways[n % 2]) for n in range(8)))
        over.set()
        await ending
    await client.flush()
    statuses = [answer.status_code for answer in answers]
    assert len(statuses) == 100
    assert set(statuses) == {202, 429}
    assert max(held) == 3
    assert len(held) > statuses.count(202)
    for answer in answers:
        if answer.status_code == 429:
            assert answer.json()["code"] == "queue_full"
            assert "retry-after" in answer.headers


async def test_a_place_is_renewed_as_long_as_its_upload_lasts(environ: dict[str, str], admission: Admission) -> None:
    longest_ago = datetime(2026, 1, 1, tzinfo=UTC)
    async with running_gateway(environ | {"SUBTIDE_HEARTBEAT_S": "0.05"}) as gateway:
        go = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx'
            await go.wait()
            yield b"\r\n--b--\r\n"

        submitting = asyncio.create_task(
            gateway.http.post(
                "/api/jobs/submit", content=body(), headers={"Content-Type": "multipart/form-data; boundary=b"}
            )
        )

        async def since(later_than: datetime) -> datetime | None:
            return next(
                (place.since for place in (await admission.ledger()).places.values() if place.since > later_than), None
            )

        first = await until(lambda: since(longest_ago))
        second = await until(lambda: since(first))
        await until(lambda: since(second))
        go.set()
        assert (await submitting).status_code == 202


def place(state: State, since: datetime) -> Place:
    return Place(owner="anon", counted_as="a", run=1, state=state, since=since)


async def test_only_places_that_are_still_being_uploaded_are_renewed_and_all_of_them_at_once(
    admission: Admission,
) -> None:
    then = datetime.now(UTC) - timedelta(hours=1)
    states = {"a": State.UPLOADING, "b": State.UPLOADING, "waits": State.WAITING, "other": State.UPLOADING}
    await admission.change(lambda _: Ledger({job_id: place(state, then) for job_id, state in states.items()}))
    await admission.renew(["a", "b", "waits", "gone"])
    places = (await admission.ledger()).places
    assert places["a"].since == places["b"].since > then
    assert places["waits"].since == places["other"].since == then
    assert list(places) == list(states)


async def test_a_retry_replaces_the_place_of_the_run_before_and_is_counted_once(
    environ: dict[str, str], admission: Admission, joblog: JobLog, store: Store
) -> None:
    """The dispatcher has not heard yet that the run before is over."""
    async with running_gateway(environ | {"SUBTIDE_MAX_ACTIVE_JOBS": "1", "SUBTIDE_MAX_QUEUED_JOBS": "0"}) as gateway:
        job = await gateway.submit()
        stages = Stages(joblog, job["job_id"])
        await admission.change(lambda ledger: ledger.with_state(job["job_id"], State.ACTIVE))
        await stages.start()
        await stages.fail()
        answer = await gateway.http.post(f"/api/jobs/{job['job_id']}/retry", params={"token": job["access_token"]})
        assert answer.status_code == 202
        (held,) = (await admission.ledger()).places.values()
        assert (held.run, held.state) == (2, State.UPLOADING)
        assert (await gateway.http.post("/api/jobs/submit", files={"file": ("a", b"x")})).status_code == 429
