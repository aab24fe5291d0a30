"""Expiry, deletion, the sweep and dead letters, on real servers."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import nats.errors
import pytest
from nats.aio.client import Client

from chassis.joblog import JobLog
from chassis.store import Store
from contracts import facts, subjects, topology
from contracts.artifacts import finished_key, part_key, part_keys, staged_key
from contracts.failures import FailureCode
from contracts.uploads import Upload, bucket_key, claim_key
from services.janitor.app import serve
from tests.integration.conftest import until
from tests.runs import Run

RETENTION_S = 1.0


@pytest.fixture
def numbers() -> topology.Numbers:
    """A job is kept for a second, and a message is dead after two deliveries."""
    return topology.Numbers(
        retention_s=RETENTION_S,
        ack_wait_s=1.0,
        heartbeat_s=0.3,
        retry_delay_s=0.05,
        retry_factor=1.0,
        max_deliver=2,
        reconcile_s=3600.0,
        abandoned_s=3600.0,
        jobs_max_bytes=64 << 20,
    )


@pytest.fixture
def janitor_environ(environ: dict[str, str], numbers: topology.Numbers) -> dict[str, str]:
    """The same numbers for the service."""
    return environ | {
        **{f"SUBTIDE_{name.upper()}": str(value) for name, value in msgspec.structs.asdict(numbers).items()},
        "SUBTIDE_JANITOR_SECOND_LOOK_S": "0.2",
    }


@asynccontextmanager
async def janitor(environ: dict[str, str]) -> AsyncIterator[None]:
    """A janitor in this process."""
    stop = asyncio.Event()
    task = asyncio.create_task(serve(environ, stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)


@pytest.fixture
async def running(janitor_environ: dict[str, str]) -> AsyncIterator[None]:
    """A janitor, as long as the test."""
    async with janitor(janitor_environ):
        yield


async def say(joblog: JobLog, *said: facts.AnyFact) -> None:
    for fact in said:
        assert await joblog.append(fact) is not None


async def store_all(store: Store, run: Run) -> list[str]:
    """Everything that the stages store for a job."""
    keys = {
        run.accepted.source.key,
        *(run.ref("extractor", suffix).key for suffix in ("wav", "peaks.json", "media.json")),
        run.planned.plan.key,
        *(run.transcribed(n).segments.key for n in range(run.chunks)),
        run.ref("diarizer", "turns.json").key,
        *(ref.key for ref in run.completed.results.values()),
        finished_key(run.owner, run.accepted.source.digest, run.parameters),
    }
    for key in keys:
        await store.put(key, b"x")
    return sorted(keys)


async def stored(store: Store) -> list[str]:
    return sorted([file.key for prefix in ("uploads/", "cache/") async for file in store.list(prefix)])


async def names(joblog: JobLog, job_id: str) -> list[str]:
    return [facts.name(one.fact) for one in await joblog.facts_of(job_id)]


async def expires(joblog: JobLog, job_id: str) -> None:
    async def expired() -> bool:
        return "expired" in await names(joblog, job_id)

    await until(expired)


async def reconcile(client: Client) -> int:
    answer = await client.request(subjects.RECONCILE, b"", timeout=20)
    return int(msgspec.json.decode(answer.data)["processed"])


async def listening(client: Client) -> None:
    """Wait until the janitor hears requests; what it heals meanwhile is healed."""

    async def asked() -> bool:
        try:
            await reconcile(client)
        except (nats.errors.Error, LookupError):
            return False
        return True

    await until(asked)


def age(path: Path, seconds: float) -> None:
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


async def test_a_job_expires_and_nothing_of_it_is_left(
    client: Client, joblog: JobLog, store: Store, running: None
) -> None:
    run = Run("a")
    await store_all(store, run)
    await say(joblog, *run.work, run.completed)
    await expires(joblog, "a")
    await until(lambda: _is_empty(store))
    [*_, last] = await joblog.facts_of("a")
    assert isinstance(last.fact, facts.JobExpired)
    assert last.fact.at == run.completed.at + timedelta(seconds=RETENTION_S)
    assert not last.fact.on_request


async def _is_empty(store: Store) -> bool:
    return await stored(store) == []


async def test_what_another_job_uses_outlives_the_one_that_made_it(
    client: Client, joblog: JobLog, store: Store, running: None
) -> None:
    # given two jobs of one recording, the second of them with a run that goes on
    first, second = Run("a"), Run("b")
    keys = await store_all(store, first)
    await store.put(second.accepted.source.key, b"x")
    await say(joblog, *second.work, *first.work, first.completed)
    # when the first expires, only what is its own goes
    await expires(joblog, "a")
    await until(lambda: _lacks(store, "uploads/anon/a"))
    assert await stored(store) == sorted([*(key for key in keys if key != "uploads/anon/a"), "uploads/anon/b"])
    # and everything with the second
    await say(joblog, second.completed)
    await until(lambda: _is_empty(store), 15)


async def _lacks(store: Store, key: str) -> bool:
    return await store.find(key) is None


async def test_a_deletion_on_request_does_not_wait(
    client: Client, joblog: JobLog, store: Store, janitor_environ: dict[str, str]
) -> None:
    run = Run("a")
    await store_all(store, run)
    await say(joblog, *run.work, run.completed, msgspec.structs.replace(run.expired, on_request=True))
    async with janitor(janitor_environ | {"SUBTIDE_RETENTION_S": "3600"}):
        await until(lambda: _is_empty(store))


async def test_a_job_that_was_retried_does_not_expire_with_its_first_run(
    client: Client, joblog: JobLog, store: Store, running: None
) -> None:
    # given a job that failed, and was retried before it would have expired
    first, second = Run("a"), Run("a", run=2)
    await store.put(first.accepted.source.key, b"x")
    await say(joblog, first.accepted, first.failed())
    await say(joblog, second.accepted, second.started)
    # when the time of the first run has come and gone
    js = client.jetstream()

    async def was_due() -> bool:
        info = await js.consumer_info(topology.SCHEDULES, topology.RETENTION.name)
        return bool(info.ack_floor and info.ack_floor.stream_seq)

    await until(was_due)
    # then the job is there still, until its second run is over
    assert await names(joblog, "a") == ["accepted", "failed", "accepted", "started"]
    assert await stored(store) == ["uploads/anon/a"]
    await say(joblog, second.failed())
    await until(lambda: _is_empty(store))


async def test_an_ended_job_has_one_schedule_however_often_it_is_said(
    client: Client, joblog: JobLog, janitor_environ: dict[str, str]
) -> None:
    run = Run("a")
    await say(joblog, run.accepted, run.failed())
    for _ in range(3):
        await joblog.again(run.failed())
    async with janitor(janitor_environ | {"SUBTIDE_RETENTION_S": "3600"}):
        await until(lambda: _settled(client, topology.JANITOR))
    info = await client.jetstream().stream_info(topology.SCHEDULES, subjects_filter=">")
    assert info.state.subjects == {"schedule.expired.anon.a": 1}


async def _settled(client: Client, durable: topology.Durable) -> bool:
    info = await client.jetstream().consumer_info(durable.stream, durable.name)
    return info.num_ack_pending == 0 and info.num_pending == 0


async def test_the_upload_of_a_hopeless_job_goes_at_once(
    client: Client, joblog: JobLog, store: Store, janitor_environ: dict[str, str]
) -> None:
    hopeless, unlucky = Run("a"), Run("b")
    for run in (hopeless, unlucky):
        await store.put(run.accepted.source.key, b"x")
    await say(joblog, hopeless.accepted, hopeless.failed(FailureCode.NO_AUDIO))
    await say(joblog, unlucky.accepted, unlucky.failed(FailureCode.STORE_FULL))
    async with janitor(janitor_environ | {"SUBTIDE_RETENTION_S": "3600"}):
        await until(lambda: _settled(client, topology.JANITOR))
    assert await stored(store) == ["uploads/anon/b"]


@pytest.mark.parametrize("body", [b"\xff", b"{}", b'{"fact":"completed"}'])
async def test_poison_among_the_schedules_stops_nothing(
    client: Client, joblog: JobLog, running: None, body: bytes
) -> None:
    await client.jetstream().publish("due.expired.anon.poison", body)
    run = Run("a")
    await say(joblog, run.accepted, run.failed())
    await expires(joblog, "a")


async def test_the_sweep_deletes_what_is_old_and_nobody_speaks_of(
    client: Client, joblog: JobLog, store: Store, janitor_environ: dict[str, str], tmp_path: Path
) -> None:
    # given files of a job, an upload that broke off, a result nobody waited for, and what dead workers left
    run = Run("a")
    keys = await store_all(store, run)
    await say(joblog, *run.work, run.completed)
    await store.put("uploads/anon/broken-off", b"x")
    await store.put("cache/anon/extractor/z.wav", b"x")
    for key in [*keys, "uploads/anon/broken-off", "cache/anon/extractor/z.wav"]:
        age(tmp_path / "artifacts" / key, 7200)
    old, young = tmp_path / "tmp" / "work-old", tmp_path / "tmp" / "work-young"
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "audio.wav").write_bytes(b"x")
        age(folder, 7200)
    age(old / "audio.wav", 7200)
    age(young / "audio.wav", -3600)
    part = tmp_path / "artifacts" / "uploads/anon/killed#1"
    part.write_bytes(b"x")
    age(part, 7200)
    # when it is swept, as soon as the log is old enough to tell, and once more
    await store.put("uploads/anon/coming", b"x")
    age(tmp_path / "artifacts" / "uploads/anon/coming", -3600)
    numbers = {"SUBTIDE_RETENTION_S": "3600", "SUBTIDE_ABANDONED_S": "1", "SUBTIDE_RECONCILE_S": "0.2"}
    async with janitor(janitor_environ | numbers):
        await until(lambda: _lacks(store, "uploads/anon/broken-off"))
        assert await reconcile(client) == 0
    # then those are gone, and no others
    assert await stored(store) == sorted([*keys, "uploads/anon/coming"])
    assert (old.exists(), young.exists(), part.exists()) == (False, True, False)


async def test_the_sweep_spares_a_result_that_a_job_may_just_have_found(
    client: Client, joblog: JobLog, store: Store, janitor_environ: dict[str, str], tmp_path: Path
) -> None:
    # given a chunk of a job that was cancelled before it could say so, and another job of the same recording
    long_ago = datetime.now(UTC) - timedelta(days=3)
    cancelled, again = Run("a", at=long_ago), Run("b")
    await say(joblog, cancelled.accepted, cancelled.started, cancelled.cancelled, again.accepted)
    unsaid, broken_off = "cache/anon/transcriber/unsaid.segments.json", "uploads/anon/broken-off"
    for key in (unsaid, broken_off):
        await store.put(key, b"x")
        age(tmp_path / "artifacts" / key, 86400)
    numbers = {"SUBTIDE_RETENTION_S": "864000", "SUBTIDE_ABANDONED_S": "1", "SUBTIDE_RECONCILE_S": "3600"}
    async with janitor(janitor_environ | numbers):
        # when it is swept as long as that job may find it
        await until(lambda: _swept(client, store, broken_off))
        assert await stored(store) == [unsaid]
        # and once it has ended
        await say(joblog, again.cancelled)
        await until(lambda: _swept(client, store, unsaid))


async def _swept(client: Client, store: Store, key: str) -> bool:
    with suppress(nats.errors.Error, LookupError):
        await reconcile(client)
    return await _lacks(store, key)


async def test_parts_of_a_living_upload_stay_however_old_they_are(
    client: Client, joblog: JobLog, store: Store, janitor_environ: dict[str, str], tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    upload = Upload(
        owner="anon",
        counted_as="c",
        token_sha256="t",
        key="uploads/anon/living",
        length=10,
        filename="a",
        created_at=now,
        expires_at=now + timedelta(hours=1),
    )
    bucket = await client.jetstream().key_value(topology.UPLOADS)
    await bucket.put(bucket_key("a" * 48), msgspec.json.encode(upload))
    await bucket.put(claim_key("k"), b"a" * 48)
    keys = [f"uploads/anon/{folder}/0000{n}" for folder in ("living", "abandoned") for n in (0, 1)]
    for key in keys:
        await store.put(key, b"x")
        age(tmp_path / "artifacts" / key, 7200)
    await say(joblog, Run("a").accepted)
    numbers = {"SUBTIDE_RETENTION_S": "3600", "SUBTIDE_ABANDONED_S": "1", "SUBTIDE_RECONCILE_S": "0.2"}
    async with janitor(janitor_environ | numbers):
        await until(lambda: _lacks(store, keys[-1]))
        await reconcile(client)
        assert await stored(store) == keys[:2]
        await bucket.delete(bucket_key("a" * 48))
        await until(lambda: _lacks(store, keys[0]))


async def test_staged_parts_stay_as_long_as_their_upload_lives_and_is_not_whole(
    client: Client, joblog: JobLog, store: Store, janitor_environ: dict[str, str], tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    unfinished = Upload(
        owner="anon",
        counted_as="c",
        token_sha256="t",
        key="uploads/anon/unfinished",
        length=10,
        filename="a",
        signed_part_bytes=5,
        created_at=now,
        expires_at=now + timedelta(hours=1),
    )
    whole = msgspec.structs.replace(unfinished, key="uploads/anon/whole", parts=[10])
    bucket = await client.jetstream().key_value(topology.UPLOADS)
    await bucket.put(bucket_key("a" * 48), msgspec.json.encode(unfinished))
    await bucket.put(bucket_key("b" * 48), msgspec.json.encode(whole))
    waiting = [staged_key(unfinished.key, n) for n in (1, 2)]
    late = staged_key(whole.key, 1)
    for key in [*waiting, part_key(whole.key, 0), late]:
        await store.put(key, b"x")
        age(tmp_path / "artifacts" / key, 7200)
    await say(joblog, Run("a").accepted)
    numbers = {"SUBTIDE_RETENTION_S": "3600", "SUBTIDE_ABANDONED_S": "1", "SUBTIDE_RECONCILE_S": "0.2"}
    async with janitor(janitor_environ | numbers):
        await until(lambda: _lacks(store, late))
        await reconcile(client)
        assert await stored(store) == sorted([*waiting, part_key(whole.key, 0)])
        await bucket.delete(bucket_key("a" * 48))
        await until(lambda: _lacks(store, waiting[0]))
        await until(lambda: _lacks(store, waiting[1]))


async def test_what_was_begun_to_be_fetched_goes_with_its_job(
    client: Client, joblog: JobLog, store: Store, running: None
) -> None:
    run = Run("a", source_url="https://example.com/talk.mp4")
    begun, neighbour = "uploads/anon/a.fetched/0123/00000", "uploads/anon/ab.fetched/0123/00000"
    for key in (begun, neighbour):
        await store.put(key, b"x")
    await say(joblog, run.accepted, run.started, run.failed(FailureCode.ADDRESS_UNREACHABLE))
    await until(lambda: _lacks(store, begun))
    assert await stored(store) == [neighbour]


async def test_all_parts_of_a_job_go_with_it(client: Client, joblog: JobLog, store: Store, running: None) -> None:
    run = Run("a")
    source = msgspec.structs.replace(run.accepted.source, parts=[1, 0, 1], bytes=2)
    keys = part_keys(source)
    for key in keys:
        await store.put(key, b"x")
    await say(joblog, msgspec.structs.replace(run.accepted, source=source), run.failed(FailureCode.STORE_FULL))
    await until(lambda: _lacks(store, keys[-1]))
    await until(lambda: _lacks(store, keys[0]))


async def test_a_log_that_is_new_condemns_nothing(
    client: Client, joblog: JobLog, store: Store, janitor_environ: dict[str, str], tmp_path: Path
) -> None:
    """Who lost the log may restore it: the files that it speaks of are there still."""
    await store.put("cache/anon/extractor/a.wav", b"x")
    age(tmp_path / "artifacts" / "cache/anon/extractor/a.wav", 7200)
    async with janitor(janitor_environ):
        await listening(client)
    assert await stored(store) == ["cache/anon/extractor/a.wav"]


async def kill(client: Client, durable: topology.Durable, letters: int = 1) -> None:
    """Take what a durable has until it is delivered no more, as workers do that it kills."""
    js = client.jetstream()
    subscription = await js.pull_subscribe_bind(durable.name, durable.stream)

    async def dead() -> bool:
        try:
            for message in await subscription.fetch(10, timeout=0.2):
                await message.nak()
        except TimeoutError:
            pass
        return (await js.stream_info(topology.DEAD)).state.messages >= letters

    await until(dead)
    await subscription.unsubscribe()


async def failures(joblog: JobLog, job_id: str) -> list[facts.JobFailed]:
    return [one.fact for one in await joblog.facts_of(job_id) if isinstance(one.fact, facts.JobFailed)]


async def test_a_dead_letter_is_the_failure_of_its_job(client: Client, joblog: JobLog, running: None) -> None:
    run = Run("a")
    await say(joblog, run.accepted, run.started)
    await kill(client, topology.EXTRACTOR)
    [failed] = await until(lambda: failures(joblog, "a"))
    assert (failed.code, failed.stage, failed.attempts) == (FailureCode.WORKER_LOST, "extractor", 2)
    assert failed.reference


async def test_a_dead_letter_of_the_diarizer_costs_the_speakers_only(
    client: Client, joblog: JobLog, running: None
) -> None:
    run, strict = Run("a"), Run("b", strict=True)
    for one in (run, strict):
        await say(joblog, one.accepted, one.started, one.extracted)
    await kill(client, topology.DIARIZER, 2)
    await until(lambda: failures(joblog, "b"))

    async def diarized() -> list[facts.SpeakersDiarized]:
        return [one.fact for one in await joblog.facts_of("a") if isinstance(one.fact, facts.SpeakersDiarized)]

    [fact] = await until(diarized)
    assert (fact.failed, fact.turns) == (FailureCode.WORKER_LOST, None)
    assert await failures(joblog, "a") == []


async def test_a_dead_letter_of_what_was_done_or_is_over_or_gone_changes_nothing(
    client: Client, joblog: JobLog, running: None
) -> None:
    # given dead letters: of a step whose result came late, of a job that was cancelled, of a message that left the log
    late, over, gone = Run("late"), Run("over"), Run("gone")
    await say(joblog, late.accepted, late.started, over.accepted, over.started, gone.accepted, gone.started)
    seq = next(one.seq for one in await joblog.facts_of("gone") if facts.name(one.fact) == "started")
    await say(joblog, late.extracted, over.cancelled)
    js = client.jetstream()
    subscription = await js.pull_subscribe_bind("extractor", topology.JOBS)
    delivered = 0
    while delivered < 6:  # each of them twice, however few come at once
        for message in await subscription.fetch(3, timeout=2):
            await message.nak()
            delivered += 1
    await js.delete_msg(topology.JOBS, seq)
    # when the broker gives them up
    with pytest.raises(TimeoutError):
        await subscription.fetch(3, timeout=1)

    async def heard() -> bool:
        info = await js.consumer_info(topology.DEAD, topology.UNDERTAKER.name)
        return bool(info.ack_floor and info.ack_floor.consumer_seq >= 2) and info.num_ack_pending == 0

    await until(heard)
    assert await names(joblog, "late") == ["accepted", "started", "extracted"]
    assert "failed" not in [*await names(joblog, "over"), *await names(joblog, "gone")]


@pytest.mark.parametrize("body", [b"\xff", b"{}", b'{"stream_seq":-1}', b'{"stream_seq":9}'])
async def test_a_false_advisory_stops_nothing(client: Client, joblog: JobLog, running: None, body: bytes) -> None:
    await client.publish("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.JOBS.extractor", body)
    await until(lambda: _settled(client, topology.UNDERTAKER))
    run = Run("a")
    await say(joblog, run.accepted, run.started)
    await kill(client, topology.EXTRACTOR, 2)
    assert await until(lambda: failures(joblog, "a"))


async def test_a_janitor_that_was_away_makes_up_for_it(
    client: Client, joblog: JobLog, store: Store, janitor_environ: dict[str, str]
) -> None:
    run = Run("a", at=datetime.now(UTC) - timedelta(days=1))
    await store_all(store, run)
    await say(joblog, *run.work, run.completed)
    async with janitor(janitor_environ):
        await expires(joblog, "a")
        await until(lambda: _is_empty(store))
