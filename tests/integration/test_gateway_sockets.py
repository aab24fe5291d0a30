"""The websocket: every fact once and in order, whatever happens on the way."""

import asyncio
import json
import random
from typing import Any

import pytest
from nats.aio.client import Client
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from chassis.joblog import JobLog
from chassis.store import Store
from cli.standalone.nats import NatsServer
from contracts import facts
from contracts.progress import LiveProgress, Stage
from tests.integration.conftest import Gateway, running_gateway, until
from tests.integration.stages import Stages


class Socket:
    """A client that remembers what it was sent."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.received: list[dict[str, Any]] = []
        self._reading = asyncio.create_task(self._read())

    async def ask(self, **message: Any) -> None:
        await self.connection.send(json.dumps(message))

    async def subscribe(self, job: dict[str, Any], **rest: Any) -> None:
        await self.ask(type="subscribe", job_id=job["job_id"], token=job["access_token"], **rest)

    def of(self, kind: str, job: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        return [
            one for one in self.received if one["type"] == kind and (job is None or one.get("job_id") == job["job_id"])
        ]

    async def reaches(self, kind: str, count: int = 1, job: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        await until(lambda: len(self.of(kind, job)) >= count)
        return self.of(kind, job)

    def seqs(self, job: dict[str, Any]) -> list[int]:
        return [one["seq"] for one in self.of("fact", job)]

    async def close(self) -> None:
        await self.connection.close()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        try:
            async for text in self.connection:
                self.received.append(json.loads(text))
        except ConnectionClosed:
            return


async def opened(gateway: Gateway) -> Socket:
    return Socket(await connect(gateway.ws_url))


@pytest.fixture
async def socket(gateway: Gateway) -> Any:
    one = await opened(gateway)
    yield one
    await one.close()


async def test_a_snapshot_comes_first_and_then_every_fact_with_its_sequence(
    gateway: Gateway, joblog: JobLog, store: Store, socket: Socket
) -> None:
    job = await gateway.submit()
    stages = Stages(joblog, job["job_id"])
    started = await stages.start()
    await socket.subscribe(job)
    (snapshot,) = await socket.reaches("snapshot")
    assert socket.received[0] is snapshot
    assert snapshot["seq"] == started
    assert snapshot["job"]["status"] == "processing"
    expected = [
        await stages.extract(), await stages.plan(2), await stages.transcribe(1), await stages.transcribe(0),
        await stages.complete(store),
    ]  # fmt: skip
    said = await socket.reaches("fact", 5)
    assert socket.seqs(job) == expected
    assert [one["fact"] for one in said] == [
        "extracted", "planned", "chunk_transcribed", "chunk_transcribed", "completed",
    ]  # fmt: skip
    assert said[2]["data"]["captions"] == [{"start": 1.0, "end": 2.0, "text": "chunk 1"}]
    assert said[4]["data"]["results"] == ["json", "srt", "txt", "vtt"]
    await until(lambda: socket.of("progress", job)[-1]["progress"] == 100.0)
    shown = [one["progress"] for one in socket.of("progress", job)]
    assert shown == sorted(shown)


async def test_no_message_tells_a_token_a_hash_or_a_place_in_the_store(
    gateway: Gateway, joblog: JobLog, store: Store, socket: Socket
) -> None:
    job = await gateway.submit()
    stages = Stages(joblog, job["job_id"])
    await socket.subscribe(job, since=0)
    await gateway.http.post(f"/api/jobs/{job['job_id']}/share", params={"token": job["access_token"]})
    for step in (stages.start(), stages.extract(), stages.plan(1), stages.transcribe(0), stages.fail()):
        await step
    await socket.reaches("fact", 7)
    text = json.dumps(socket.received)
    view = await stages.view()
    for secret in (job["access_token"], view.token_sha256, view.shares[0].token_sha256, "cache/", "uploads/", "secret"):
        assert secret not in text
    assert socket.of("fact")[-1]["data"]["message"] == "The file has no sound track."


async def test_live_progress_between_facts_is_passed_on_and_never_falls(
    gateway: Gateway, joblog: JobLog, socket: Socket
) -> None:
    job = await gateway.submit()
    stages = Stages(joblog, job["job_id"])
    await stages.start()
    await socket.subscribe(job)
    await socket.reaches("snapshot")
    for fraction in (0.2, 0.6, 0.1, 0.8):
        await joblog.report(
            LiveProgress(job_id=job["job_id"], run=1, stage=Stage.EXTRACTING, fraction=fraction, message="x")
        )
    await until(lambda: socket.of("progress") and socket.of("progress")[-1]["stages"]["extracting"] == 0.8)
    shown = [one["progress"] for one in socket.of("progress")]
    assert shown == sorted(shown)


async def test_since_says_again_what_was_missed_and_goes_on_live(
    gateway: Gateway, joblog: JobLog, store: Store, socket: Socket
) -> None:
    job = await gateway.submit()
    stages = Stages(joblog, job["job_id"])
    seqs = [1, await stages.start(), await stages.extract(), await stages.plan(1)]
    await socket.subscribe(job, since=seqs[1])
    await socket.reaches("fact", 2)
    (snapshot,) = socket.of("snapshot")
    assert (snapshot["seq"], snapshot["job"]["progress_stage"]) == (seqs[1], "extracting")
    assert socket.seqs(job) == seqs[2:]
    seqs.append(await stages.transcribe(0))
    await socket.reaches("fact", 3)
    assert socket.seqs(job) == seqs[2:]

    everything = await opened(gateway)
    await everything.subscribe(job, since=0)
    await everything.reaches("fact", 5)
    assert everything.seqs(job) == seqs
    nothing = await opened(gateway)
    await nothing.subscribe(job, since=10_000)
    (snapshot,) = await nothing.reaches("snapshot")
    assert snapshot["seq"] == seqs[-1]
    await everything.close()
    await nothing.close()


async def test_there_is_no_gap_and_no_duplicate_while_facts_are_appended(gateway: Gateway, joblog: JobLog) -> None:
    job = await gateway.submit()
    stages = Stages(joblog, job["job_id"])
    await stages.start()
    chunks = 60
    await stages.plan(chunks)
    rng = random.Random(7)

    async def append() -> None:
        for n in range(chunks):
            await stages.transcribe(n)

    async def watch() -> tuple[int, list[int]]:
        await asyncio.sleep(rng.random() * 0.1)
        one = await opened(gateway)
        await one.subscribe(job)
        (snapshot,) = await one.reaches("snapshot")
        await until(lambda: (one.seqs(job) or [snapshot["seq"]])[-1] == last)
        await one.close()
        return snapshot["seq"], one.seqs(job)

    last = 3 + chunks
    results = (await asyncio.gather(append(), *(watch() for _ in range(15))))[1:]
    everything = [entry.seq for entry in await joblog.facts_of(job["job_id"])]
    for seq, seen in results:  # type: ignore[misc]
        assert seen == [one for one in everything if one > seq]
    assert len({seq for seq, _ in results}) > 1  # type: ignore[misc]


async def test_many_jobs_share_a_socket_and_a_wrong_token_closes_nothing(
    gateway: Gateway, joblog: JobLog, socket: Socket
) -> None:
    first, second, third = [await gateway.submit() for _ in range(3)]
    await socket.subscribe(first)
    await socket.subscribe({"job_id": second["job_id"], "access_token": first["access_token"]})
    await socket.subscribe({"job_id": "0" * 32, "access_token": "x"})
    await socket.subscribe({"job_id": "any.*>", "access_token": "x"})
    await socket.connection.send("rubbish")
    await socket.ask(type="sing")
    await socket.subscribe(third)
    await socket.ask(type="ping")
    await socket.reaches("pong")
    assert [one["code"] for one in socket.of("error")] == ["job_not_found"] * 3 + ["invalid_message"] * 2
    assert [one["job_id"] for one in socket.of("snapshot")] == [first["job_id"], third["job_id"]]
    for job in (first, second, third):
        await Stages(joblog, job["job_id"]).start()
    await socket.reaches("fact", 2)
    assert {one["job_id"] for one in socket.of("fact")} == {first["job_id"], third["job_id"]}
    await socket.ask(type="unsubscribe", job_id=first["job_id"])
    for job in (first, third):
        await Stages(joblog, job["job_id"]).extract()
    await socket.reaches("fact", 2, third)
    assert len(socket.seqs(first)) == 1


async def test_a_socket_watches_only_so_many_jobs(environ: dict[str, str]) -> None:
    async with running_gateway(environ | {"SUBTIDE_GATEWAY_MAX_JOBS_PER_SOCKET": "1"}) as gateway:
        socket = await opened(gateway)
        first, second = await gateway.submit(), await gateway.submit()
        await socket.subscribe(first)
        await socket.subscribe(first)
        await socket.subscribe(second)
        (error,) = await socket.reaches("error")
        assert (error["code"], error["job_id"]) == ("too_many_jobs", second["job_id"])
        assert len(socket.of("snapshot")) == 2
        await socket.close()


async def test_a_share_may_watch_until_it_is_revoked(gateway: Gateway, joblog: JobLog, socket: Socket) -> None:
    job = await gateway.submit()
    path, owner = f"/api/jobs/{job['job_id']}/share", {"token": job["access_token"]}
    share = (await gateway.http.post(path, params=owner)).json()["share_token"]
    await socket.subscribe({"job_id": job["job_id"], "access_token": share})
    await socket.reaches("snapshot")
    await gateway.http.delete(f"{path}/1", params=owner)
    (error,) = await socket.reaches("error")
    assert (error["code"], error["job_id"]) == ("job_not_found", job["job_id"])
    await Stages(joblog, job["job_id"]).start()
    await socket.ask(type="ping")
    await socket.reaches("pong")
    assert socket.of("fact") == []


async def test_what_happens_while_the_broker_is_away_is_said_afterwards(
    gateway: Gateway, joblog: JobLog, socket: Socket, client: Client, nats_server: NatsServer
) -> None:
    job = await gateway.submit()
    stages = Stages(joblog, job["job_id"])
    await socket.subscribe(job)
    await socket.reaches("snapshot")
    for _ in range(2):
        nats_server.stop()
        await until(lambda: not client.is_connected)
        nats_server.start()
        await until(lambda: client.is_connected)
    # Appended as soon as this client is back, which may be before or after the gateway is.
    expected = [await stages.start(), await stages.extract()]
    await until(lambda: socket.seqs(job) == expected, 20)
    expected.append(await stages.plan(1))
    await until(lambda: socket.seqs(job) == expected, 20)


async def test_the_server_stops_at_once_with_open_sockets(environ: dict[str, str], joblog: JobLog) -> None:
    async with running_gateway(environ | {"SUBTIDE_GATEWAY_SHUTDOWN_S": "600"}) as gateway:
        job = await gateway.submit()
        sockets = [await opened(gateway) for _ in range(5)]
        for one in sockets[:3]:
            await one.subscribe(job)
            await one.reaches("snapshot")
        gateway.stop.set()
        await asyncio.wait_for(gateway.task, 60)
        for one in sockets:
            await asyncio.wait_for(one.connection.wait_closed(), 5)
            assert one.connection.close_code == 1012


async def test_who_leaves_is_forgotten(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    from services.gateway.feed import Feed

    feeds: list[Feed] = []
    start = Feed.start

    async def started(self: Feed, client: Client) -> None:
        feeds.append(self)
        await start(self, client)

    monkeypatch.setattr(Feed, "start", started)
    async with running_gateway(environ) as gateway:
        job = await gateway.submit()
        polite, rude = await opened(gateway), await opened(gateway)
        for one in (polite, rude):
            await one.subscribe(job)
            await one.reaches("snapshot")
        assert feeds[0].watching == 2
        rude.connection.transport.abort()
        await until(lambda: feeds[0].watching == 1)
        await polite.close()
        await until(lambda: feeds[0].watching == 0)


async def test_who_reads_too_slowly_is_told_to_come_back(environ: dict[str, str], joblog: JobLog) -> None:
    async with running_gateway(environ | {"SUBTIDE_GATEWAY_MAX_MESSAGES_BEHIND": "5"}) as gateway:
        job = await gateway.submit()
        connection = await connect(gateway.ws_url, max_queue=1, compression=None)
        await connection.send(json.dumps({"type": "subscribe", "job_id": job["job_id"], "token": job["access_token"]}))
        assert json.loads(await connection.recv())["type"] == "snapshot"
        stages = Stages(joblog, job["job_id"])
        await stages.start()
        text = "".join(random.Random(1).choices("abcdefghij", k=400_000))
        for n in range(60):
            await joblog.append(
                facts.ChunkTranscribed(
                    **stages.of_job, n=n, segments=facts.ArtifactRef(key="k", digest="d", bytes=1),
                    captions=[facts.Caption(start=0.0, end=1.0, text=text)],
                    receipt=facts.StageReceipt(engine="x", seconds=1.0),
                )
            )  # fmt: skip
        slow = Socket(connection)
        await asyncio.wait_for(connection.wait_closed(), 10)
        seen = slow.seqs(job)
        again = await opened(gateway)
        await again.subscribe(job, since=seen[-1])
        await until(lambda: [*seen, *again.seqs(job)][-1:] == [62], 20)
        assert [seq for seq in [*seen, *again.seqs(job)] if seq > 1] == list(range(2, 63))
        assert connection.close_code == 1013
        assert len(seen) < 61
        await again.close()
