"""How messages end, on a real nats-server: retries, crashes, hand-backs, poison, and what counts as a try."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import nats.errors
import pytest
from nats.aio.client import Client

from chassis.joblog import JobLog
from chassis.service import Connected, serve_stage
from chassis.settle import Handler, Work
from contracts import facts, topology
from contracts.failures import Cancelled, FailureCode, Permanent, Retryable
from contracts.parameters import Parameters
from tests.contract.examples import MEDIA
from tests.integration.conftest import until
from tests.integration.stages import ref

ACK_WAIT_S = 1.5


@pytest.fixture
def numbers() -> topology.Numbers:
    """Short waits, so that a crash is over soon."""
    return topology.Numbers(
        ack_wait_s=ACK_WAIT_S,
        heartbeat_s=0.4,
        retry_delay_s=0.05,
        retry_factor=1.0,
        full_wait_s=0.2,
        jobs_max_bytes=64 << 20,
    )


@pytest.fixture
def stage_environ(environ: dict[str, str], numbers: topology.Numbers) -> dict[str, str]:
    """The same numbers for the service."""
    return environ | {f"SUBTIDE_{name.upper()}": str(value) for name, value in msgspec.structs.asdict(numbers).items()}


class Script:
    """A handler that does what it is told, one act a call, and remembers its calls."""

    def __init__(self, *acts: object) -> None:
        self.acts = list(acts)
        self.calls: list[tuple[str, int]] = []
        self.called = asyncio.Event()

    async def __call__(self, fact: facts.AnyFact, work: Work) -> Sequence[facts.Fact]:
        self.calls.append((fact.job_id, work.attempt))
        self.called.set()
        act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
        if isinstance(act, Exception):
            raise act
        if isinstance(act, float):
            await asyncio.sleep(act)
        return [extracted(fact)]


def started(job_id: str) -> facts.JobStarted:
    return facts.JobStarted(
        job_id=job_id, run=1, owner="anon", at=datetime.now(UTC), filename="f", source=ref("s"), parameters=Parameters()
    )


def extracted(fact: facts.AnyFact) -> facts.SpeakersDiarized:
    """Some fact that stands for the stage's result."""
    receipt = facts.StageReceipt(engine="test", seconds=0.0)
    return facts.SpeakersDiarized(
        job_id=fact.job_id,
        run=fact.run,
        owner=fact.owner,
        at=datetime.now(UTC),
        turns=None,
        speakers=0,
        receipt=receipt,
    )


@asynccontextmanager
async def stage(
    environ: dict[str, str], handler: Handler, *, workers: int = 1, ceiling_s: float = 30.0
) -> AsyncIterator[asyncio.Event]:
    """A stage of this process on the extractor's durable; stopped, with hand-back, at the end."""
    stop = asyncio.Event()

    async def build(connected: Connected, stack: AsyncExitStack) -> Handler:
        return handler

    durable = msgspec.structs.replace(topology.EXTRACTOR, ceiling_s=ceiling_s)
    task = asyncio.create_task(serve_stage(environ, stop, durable=durable, workers=workers, build=build))
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)


async def names_of(joblog: JobLog, job_id: str) -> list[str]:
    return [facts.name(recorded.fact) for recorded in await joblog.facts_of(job_id)]


async def failure_of(joblog: JobLog, job_id: str) -> facts.JobFailed:
    async def failed() -> facts.JobFailed | None:
        found = [recorded.fact for recorded in await joblog.facts_of(job_id)]
        return next((fact for fact in found if isinstance(fact, facts.JobFailed)), None)

    fact: facts.JobFailed = await until(failed)
    return fact


async def nothing_pending(client: Client) -> bool:
    info = await client.jetstream().consumer_info(topology.JOBS, topology.EXTRACTOR.name)
    return info.num_ack_pending == 0 and info.num_pending == 0


async def test_a_message_that_goes_well_leaves_one_fact_and_nothing_pending(
    client: Client, joblog: JobLog, stage_environ: dict[str, str]
) -> None:
    script = Script(None)
    async with stage(stage_environ, script):
        await joblog.append(started("a"))
        await until(lambda: nothing_pending(client))
    assert await names_of(joblog, "a") == ["started", "diarized"]
    assert script.calls == [("a", 1)]


async def test_a_retryable_failure_is_tried_again_and_counts_its_tries(
    client: Client, joblog: JobLog, stage_environ: dict[str, str]
) -> None:
    script = Script(Retryable(FailureCode.WORKER_LOST), ValueError("a bug"), None)
    async with stage(stage_environ, script):
        await joblog.append(started("a"))
        await until(lambda: len(script.calls) == 3)
        await until(lambda: nothing_pending(client))
    assert [attempt for _, attempt in script.calls] == [1, 2, 3]
    assert await names_of(joblog, "a") == ["started", "diarized"]


@pytest.mark.parametrize(
    ("error", "code"),
    [(Retryable(FailureCode.DECODER_CRASHED), "decoder_crashed"), (RuntimeError("a bug"), "internal")],
)
async def test_after_one_try_and_three_retries_the_job_fails_with_its_code(
    client: Client, joblog: JobLog, stage_environ: dict[str, str], error: Exception, code: str
) -> None:
    script = Script(error)
    async with stage(stage_environ, script):
        await joblog.append(started("a"))
        failed = await failure_of(joblog, "a")
        await until(lambda: nothing_pending(client))
    assert (failed.code, failed.attempts, len(script.calls)) == (code, 4, 4)
    assert "a bug" not in failed.detail


async def test_a_permanent_failure_is_not_tried_again(
    client: Client, joblog: JobLog, stage_environ: dict[str, str]
) -> None:
    script = Script(Permanent(FailureCode.NO_AUDIO, "2 tracks"))
    async with stage(stage_environ, script):
        await joblog.append(started("a"))
        failed = await failure_of(joblog, "a")
        await until(lambda: nothing_pending(client))
    assert (failed.code, failed.attempts, failed.detail) == ("no_audio", 1, "2 tracks")


async def test_what_nobody_wants_any_more_is_dropped(
    client: Client, joblog: JobLog, stage_environ: dict[str, str]
) -> None:
    script = Script(Cancelled())
    await joblog.append(started("ended"))
    await joblog.append(facts.JobCancelled(job_id="ended", run=1, owner="anon", at=datetime.now(UTC)))
    await joblog.append(started("engine-cancelled"))
    async with stage(stage_environ, script):
        await until(lambda: nothing_pending(client))
    assert script.calls == [("engine-cancelled", 1)]
    assert await names_of(joblog, "ended") == ["started", "cancelled"]
    assert await names_of(joblog, "engine-cancelled") == ["started"]


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe",
        b"{}",
        b'{"fact":"invented-later","v":9}',
        facts.encode(started("elsewhere")),
        facts.encode(msgspec.structs.replace(started("poison"), job_id="not a token!")),
        facts.encode(msgspec.structs.replace(started("poison"), at=datetime(2026, 1, 1))),  # noqa: DTZ001 - no zone
        facts.encode(msgspec.structs.replace(started("poison"), at=datetime.min.replace(tzinfo=UTC))),
        facts.encode(msgspec.structs.replace(started("poison"), run=2**40)),
    ],
)
async def test_poison_stops_nothing(client: Client, joblog: JobLog, stage_environ: dict[str, str], body: bytes) -> None:
    script = Script(None)
    await client.jetstream().publish("job.started.anon.poison.1", body)
    await joblog.append(started("after"))
    async with stage(stage_environ, script):
        await until(lambda: nothing_pending(client))
    assert script.calls == [("after", 1)]


async def test_a_broker_that_is_away_again_and_again_is_no_try(
    client: Client, joblog: JobLog, stage_environ: dict[str, str]
) -> None:
    script = Script(*[nats.errors.TimeoutError()] * 6, None)
    await joblog.append(started("a"))
    async with stage(stage_environ, script):
        await until(lambda: nothing_pending(client), 30)
    assert await names_of(joblog, "a") == ["started", "diarized"]
    assert len(script.calls) == 7


async def test_what_the_broker_refuses_for_good_ends_in_a_failure(
    client: Client, joblog: JobLog, stage_environ: dict[str, str]
) -> None:
    await joblog.append(started("a"))
    async with stage(stage_environ, Script(nats.errors.MaxPayloadError())):
        await until(lambda: nothing_pending(client))
    assert await names_of(joblog, "a") == ["started", "failed"]


async def test_a_bucket_that_is_deleted_is_made_again_and_fails_no_job(
    client: Client, joblog: JobLog, stage_environ: dict[str, str]
) -> None:
    script = Script(None, Retryable(FailureCode.STORE_FULL), None)  # whose hand-back needs the bucket
    async with stage(stage_environ, script):
        await joblog.append(started("before"))
        await until(lambda: nothing_pending(client), 30)
        await client.jetstream().delete_key_value(topology.HANDBACKS)
        await client.jetstream().delete_key_value(topology.ADMISSION)
        await joblog.append(started("a"))
        await until(lambda: nothing_pending(client), 30)
    assert await names_of(joblog, "a") == ["started", "diarized"]
    await client.jetstream().key_value(topology.ADMISSION)


async def test_a_heartbeat_keeps_a_message_longer_than_ack_wait(
    client: Client, joblog: JobLog, stage_environ: dict[str, str]
) -> None:
    script = Script(2.5 * ACK_WAIT_S)
    async with stage(stage_environ, script, workers=2):
        await joblog.append(started("long"))
        await until(script.called.is_set)
        await until(lambda: nothing_pending(client))
    assert script.calls == [("long", 1)]


async def test_a_hung_engine_meets_the_ceiling_and_the_next_try_goes_well(
    client: Client, joblog: JobLog, stage_environ: dict[str, str]
) -> None:
    script = Script(3600.0, None)
    async with stage(stage_environ, script, ceiling_s=0.5):
        await joblog.append(started("hung"))
        await until(lambda: nothing_pending(client))
    assert [attempt for _, attempt in script.calls] == [1, 2]
    assert await names_of(joblog, "hung") == ["started", "diarized"]


async def test_a_shutdown_hands_back_at_once_and_is_no_try(
    client: Client, joblog: JobLog, stage_environ: dict[str, str]
) -> None:
    # given a worker in the middle of something long
    first = Script(3600.0)
    await joblog.append(started("long"))
    async with stage(stage_environ, first):
        await until(first.called.is_set)
    # when it was told to stop, another has the message
    second = Script(None)
    async with stage(stage_environ, second):
        await until(second.called.is_set)
        await until(lambda: nothing_pending(client))
    # then for the second it is the first try: it was given back, and has not run out
    assert second.calls == [("long", 1)]


async def test_more_hand_backs_than_tries_do_not_fail_a_job(
    client: Client, joblog: JobLog, stage_environ: dict[str, str]
) -> None:
    await joblog.append(started("long"))
    for _ in range(5):
        script = Script(3600.0)
        async with stage(stage_environ, script):
            await until(script.called.is_set)
    last = Script(None)
    async with stage(stage_environ, last):
        await until(lambda: nothing_pending(client))
    assert last.calls == [("long", 1)]
    assert await names_of(joblog, "long") == ["started", "diarized"]


async def test_two_workers_with_the_same_message_count_once(
    client: Client, joblog: JobLog, stage_environ: dict[str, str]
) -> None:
    await joblog.append(started("twice"))
    assert await joblog.append(extracted(started("twice"))) is not None
    # when a late worker publishes the same fact
    assert await joblog.append(extracted(started("twice"))) is None
    assert await names_of(joblog, "twice") == ["started", "diarized"]


WORKER = """
import asyncio, os, sys
from contracts import topology
from chassis.service import main, serve_stage

async def handler(fact, work):
    print(work.attempt, flush=True)
    await asyncio.sleep(3600)

async def build(connected, stack):
    return handler

async def serve(environ, stop):
    await serve_stage(environ, stop, durable=topology.EXTRACTOR, workers=1, build=build)

main({"victim": serve})
"""


async def test_a_worker_that_is_killed_loses_its_message_to_another_after_ack_wait(
    client: Client, joblog: JobLog, stage_environ: dict[str, str], tmp_path: Path
) -> None:
    # given a worker process with a message in hand
    script = tmp_path / "victim.py"
    script.write_text(WORKER)
    victim = await asyncio.create_subprocess_exec(
        sys.executable, script, env=os.environ | stage_environ, stdout=asyncio.subprocess.PIPE, stderr=None
    )
    assert victim.stdout is not None
    await joblog.append(started("orphan"))
    assert await asyncio.wait_for(victim.stdout.readline(), 20) == b"1\n"
    # when it is killed
    victim.send_signal(signal.SIGKILL)
    await victim.wait()
    # then another has it, as the second try
    heir = Script(None)
    async with stage(stage_environ, heir):
        await until(heir.called.is_set, ACK_WAIT_S + 10)
        await until(lambda: nothing_pending(client))
    assert heir.calls == [("orphan", 2)]
    assert await names_of(joblog, "orphan") == ["started", "diarized"]


async def test_four_dead_workers_are_enough(client: Client, joblog: JobLog, stage_environ: dict[str, str]) -> None:
    # given a message that was delivered four times to workers that never came back
    await joblog.append(started("cursed"))
    js = client.jetstream()
    pull = await js.pull_subscribe_bind(durable=topology.EXTRACTOR.name, stream=topology.JOBS)
    for _ in range(4):
        await pull.fetch(1, timeout=ACK_WAIT_S + 5)
    # when the fifth gets it, the job fails instead
    script = Script(None)
    async with stage(stage_environ, script):
        failed = await failure_of(joblog, "cursed")
        await until(lambda: nothing_pending(client))
    assert (failed.code, script.calls) == ("worker_lost", [])


async def test_a_full_log_loses_nothing(
    client: Client, joblog: JobLog, stage_environ: dict[str, str], numbers: topology.Numbers
) -> None:
    # given a log at its limit
    await joblog.append(started("squeezed"))
    js = client.jetstream()
    config = (await js.stream_info(topology.JOBS)).config
    state = (await js.stream_info(topology.JOBS)).state
    config.max_bytes = state.bytes
    await js.update_stream(config)
    script = Script(None)
    async with stage(stage_environ, script):
        await until(lambda: len(script.calls) > 6)  # more deliveries than a failure would be given tries
        assert await names_of(joblog, "squeezed") == ["started"]
        # when there is room again
        config.max_bytes = numbers.jobs_max_bytes
        await js.update_stream(config)
        await until(lambda: nothing_pending(client))
    assert await names_of(joblog, "squeezed") == ["started", "diarized"]


async def test_a_running_job_that_is_cancelled_is_dropped_at_once(
    client: Client, joblog: JobLog, stage_environ: dict[str, str]
) -> None:
    script = Script(60.0, None)
    async with stage(stage_environ, script):
        await joblog.append(started("a"))
        await script.called.wait()
        await joblog.append(facts.JobCancelled(job_id="a", run=1, owner="anon", at=datetime.now(UTC)))
        await until(lambda: nothing_pending(client))
        await joblog.append(started("b"))
        await until(lambda: nothing_pending(client))
    assert await names_of(joblog, "a") == ["started", "cancelled"]
    assert await names_of(joblog, "b") == ["started", "diarized"]
    assert script.calls == [("a", 1), ("b", 1)]


async def test_a_durable_that_is_deleted_is_made_again_and_goes_on(
    client: Client, joblog: JobLog, stage_environ: dict[str, str]
) -> None:
    script = Script(None)
    async with stage(stage_environ, script):
        await joblog.append(started("a"))
        await until(lambda: nothing_pending(client))
        await client.jetstream().delete_consumer(topology.JOBS, topology.EXTRACTOR.name)
        await joblog.append(started("b"))

        async def done() -> bool:
            return await names_of(joblog, "b") == ["started", "diarized"]

        await until(done, 20)
    assert await names_of(joblog, "a") == ["started", "diarized"]


@pytest.mark.parametrize(("strict", "last"), [(False, "diarized"), (True, "failed")])
async def test_a_diarization_that_fails_for_good_is_gone_without_unless_strict(
    client: Client, joblog: JobLog, stage_environ: dict[str, str], strict: bool, last: str
) -> None:
    script = Script(Permanent(FailureCode.MODEL_MISSING, "no model"))
    stop = asyncio.Event()

    async def build(connected: Connected, stack: AsyncExitStack) -> Handler:
        return script

    serving = asyncio.create_task(serve_stage(stage_environ, stop, durable=topology.DIARIZER, workers=1, build=build))
    try:
        receipt = facts.StageReceipt(engine="test", seconds=0.0)
        await joblog.append(
            facts.AudioExtracted(
                job_id="a", run=1, owner="anon", at=datetime.now(UTC), audio=ref("a"), peaks=ref("p"),
                media=MEDIA, parameters=Parameters(strict=strict), receipt=receipt,
            )
        )  # fmt: skip

        async def done() -> bool:
            return await names_of(joblog, "a") == ["extracted", last]

        await until(done)
    finally:
        stop.set()
        await asyncio.wait_for(serving, 20)
    fact = (await joblog.facts_of("a"))[-1].fact
    if isinstance(fact, facts.SpeakersDiarized):
        assert (fact.turns, fact.failed, bool(fact.reference)) == (None, FailureCode.MODEL_MISSING, True)
