"""What should have happened and did not is put right, on a real server: case by case, and each once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import nats.errors
import pytest
from nats.aio.client import Client

from chassis.admission import Admission, Ledger, Place, State
from chassis.joblog import JobLog
from contracts import facts, subjects, topology
from services.dispatcher.app import serve as serve_dispatcher
from tests.integration.conftest import until
from tests.integration.test_janitor import janitor, listening, names, reconcile, say
from tests.runs import Run

RUN = Run("a", chunks=3)
SECOND_LOOK_S = 0.3


@pytest.fixture
def numbers() -> topology.Numbers:
    """Short waits, a window of two, and no reconciliation but on request."""
    return topology.Numbers(
        window=2, ack_wait_s=2.0, heartbeat_s=0.5, reconcile_s=3600.0, abandoned_s=3600.0, jobs_max_bytes=64 << 20
    )


@pytest.fixture
def janitor_environ(environ: dict[str, str], numbers: topology.Numbers) -> dict[str, str]:
    """The same numbers for the service."""
    return environ | {
        **{f"SUBTIDE_{name.upper()}": str(value) for name, value in msgspec.structs.asdict(numbers).items()},
        "SUBTIDE_JANITOR_SECOND_LOOK_S": str(SECOND_LOOK_S),
    }


@pytest.fixture
async def admission(client: Client) -> Admission:
    """The ledger."""
    return Admission(await client.jetstream().key_value(topology.ADMISSION))


async def take(client: Client, durable: topology.Durable, *, ack: bool = True) -> list[str]:
    """Take all that a durable has, as a worker would that does nothing with it. Returns the subjects."""
    subscription = await client.jetstream().pull_subscribe_bind(durable.name, durable.stream)
    taken = []
    while True:
        try:
            messages = await subscription.fetch(50, timeout=0.3)
        except TimeoutError:
            break
        for message in messages:
            taken.append(message.subject)
            await (message.ack_sync() if ack else message.nak())
        if not ack:
            break
    await subscription.unsubscribe()
    return taken


def place(state: State, run: int = 1, *, silent_s: float = 0.0) -> Place:
    since = datetime.now(UTC) - timedelta(seconds=silent_s)
    return Place(owner="anon", counted_as="anon", run=run, state=state, since=since)


async def put(admission: Admission, job_id: str, held: Place) -> None:
    await admission.change(lambda ledger: ledger.with_place(job_id, held))


async def processed(client: Client, environ: dict[str, str]) -> tuple[int, int]:
    """What the first reconciliation of a fresh janitor does, and the second."""
    async with janitor(environ):

        async def first() -> int | None:
            try:
                return await reconcile(client) + 1
            except (nats.errors.NoRespondersError, LookupError):
                return None

        return await until(first) - 1, await reconcile(client)


REQUESTED = [RUN.requested(0), RUN.requested(1)]
PLANNED = [RUN.accepted, RUN.started, RUN.extracted, RUN.planned, *REQUESTED]
WORK = [topology.EXTRACTOR, topology.TRANSCRIBER, topology.DIARIZER, topology.EXPORTER]


@pytest.mark.parametrize(
    ("known", "durable", "woken_by"),
    [
        ([RUN.accepted, RUN.started], topology.EXTRACTOR, [RUN.started]),
        ([RUN.accepted, RUN.started, RUN.extracted, RUN.diarized], topology.TRANSCRIBER, [RUN.extracted]),
        ([*PLANNED, RUN.transcribed(0), RUN.transcribed(1), RUN.requested(2), RUN.transcribed(2)],
         topology.DIARIZER, [RUN.extracted]),
        ([*PLANNED, RUN.diarized, RUN.transcribed(0), RUN.requested(2), RUN.transcribed(2)],
         topology.TRANSCRIBER, [RUN.requested(1)]),
        ([*PLANNED, RUN.diarized, RUN.transcribed(0), RUN.transcribed(1)],
         topology.TRANSCRIBER, [RUN.requested(0)]),
        ([*PLANNED[:5], RUN.diarized, RUN.transcribed(0), RUN.requested(2), RUN.transcribed(2)],
         topology.TRANSCRIBER, [RUN.extracted]),
        ([*PLANNED, RUN.diarized, RUN.transcribed(0), RUN.requested(2), RUN.transcribed(2), RUN.transcribed(1)],
         topology.EXPORTER, [RUN.transcribed(1)]),
    ],
    ids=["extract", "plan", "diarize", "transcribe", "request the next", "request the first", "export"],
)  # fmt: skip
async def test_work_whose_message_vanished_is_asked_for_again(
    client: Client,
    joblog: JobLog,
    admission: Admission,
    janitor_environ: dict[str, str],
    known: list[facts.AnyFact],
    durable: topology.Durable,
    woken_by: list[facts.AnyFact],
) -> None:
    # given a job that runs, all of whose messages were taken, the last without a result
    await put(admission, "a", place(State.ACTIVE))
    await say(joblog, *known)
    for stage in WORK:
        await take(client, stage)
    # when it is reconciled, then that one step is to be done, and once is enough
    assert await processed(client, janitor_environ) == (1, 0)
    assert await take(client, durable) == [subjects.of(fact) for fact in woken_by]


async def test_work_that_waits_or_is_in_hand_is_left_alone(
    client: Client, joblog: JobLog, admission: Admission, janitor_environ: dict[str, str]
) -> None:
    await put(admission, "a", place(State.ACTIVE))
    await say(joblog, *PLANNED[:3])
    await take(client, topology.EXTRACTOR)
    await take(client, topology.TRANSCRIBER, ack=False)
    last = await joblog.last_seq()
    assert await processed(client, janitor_environ) == (0, 0)
    assert await joblog.last_seq() == last


async def test_a_worker_between_its_word_and_its_ack_is_not_disturbed(
    client: Client, joblog: JobLog, admission: Admission, janitor_environ: dict[str, str]
) -> None:
    """The result comes after the first look: what was suspected is not so at the second."""
    await put(admission, "a", place(State.ACTIVE))
    await say(joblog, RUN.accepted, RUN.started)
    await take(client, topology.EXTRACTOR)
    await take(client, topology.DISPATCHER)
    looking = await client.subscribe(f"$JS.API.CONSUMER.INFO.{topology.JOBS}.{topology.EXTRACTOR.name}")
    async with janitor(janitor_environ | {"SUBTIDE_JANITOR_SECOND_LOOK_S": "1.5"}):
        asked = asyncio.create_task(_asked(client))
        await looking.next_msg(timeout=10)
        await asyncio.sleep(0.5)  # the first look is a matter of milliseconds, the second is still to come
        await say(joblog, RUN.extracted)
        assert await asked == 0


async def _asked(client: Client) -> int:
    async def answered() -> int | None:
        try:
            return await reconcile(client) + 1
        except nats.errors.NoRespondersError:
            return None

    return int(await until(answered)) - 1


async def test_a_dead_message_does_not_hide_a_vanished_one(
    client: Client, joblog: JobLog, admission: Admission, janitor_environ: dict[str, str]
) -> None:
    """The ack floor of a durable stays below a message that was given up."""
    js = client.jetstream()
    await js.add_consumer(
        topology.JOBS,
        (await js.consumer_info(topology.JOBS, topology.EXTRACTOR.name)).config.evolve(max_deliver=1),
    )
    other = Run("b")
    await put(admission, "a", place(State.ACTIVE))
    await say(joblog, other.accepted, other.started)
    await take(client, topology.EXTRACTOR, ack=False)
    await take(client, topology.EXTRACTOR, ack=False)
    await say(joblog, other.cancelled, RUN.accepted, RUN.started)
    await take(client, topology.EXTRACTOR)
    info = await js.consumer_info(topology.JOBS, topology.EXTRACTOR.name)
    assert info.num_ack_pending == 0
    assert (await processed(client, janitor_environ))[0] >= 1
    assert subjects.of(RUN.started) in await take(client, topology.EXTRACTOR)


async def test_places_of_jobs_that_are_over_or_never_came_are_given_up(
    client: Client, joblog: JobLog, admission: Admission, janitor_environ: dict[str, str]
) -> None:
    over, expired = Run("over"), Run("expired")
    await say(joblog, over.accepted, over.started, over.completed)
    await say(joblog, expired.accepted, expired.failed(), expired.expired)
    await put(admission, "over", place(State.ACTIVE))
    await put(admission, "expired", place(State.WAITING))
    await put(admission, "silent", place(State.UPLOADING, silent_s=60))
    await put(admission, "coming", place(State.UPLOADING, silent_s=0))
    async with janitor(janitor_environ):
        await listening(client)
    ledger = await admission.ledger()
    assert list(ledger.places) == ["coming"]


async def test_who_waits_for_a_place_that_was_leaked_gets_it(
    client: Client, joblog: JobLog, admission: Admission, janitor_environ: dict[str, str]
) -> None:
    over, waiting = Run("over"), Run("waiting")
    await say(joblog, over.accepted, over.started, over.completed, waiting.accepted)
    await put(admission, "over", place(State.ACTIVE))
    await put(admission, "waiting", place(State.WAITING))
    await take(client, topology.DISPATCHER)
    environ = janitor_environ | {"SUBTIDE_MAX_ACTIVE_JOBS": "1"}
    async with dispatching(environ), janitor(environ):
        await listening(client)
        await until(lambda: _has(joblog, "waiting", "started"))
    assert (await admission.ledger()).places["waiting"].state is State.ACTIVE


@pytest.mark.parametrize("held", [None, State.UPLOADING, State.WAITING, State.ACTIVE])
async def test_an_accepted_job_that_the_dispatcher_lost_is_started(
    client: Client, joblog: JobLog, admission: Admission, janitor_environ: dict[str, str], held: State | None
) -> None:
    await say(joblog, RUN.accepted)
    await take(client, topology.DISPATCHER)
    if held is not None:
        await put(admission, "a", place(held))
    async with dispatching(janitor_environ), janitor(janitor_environ):
        await listening(client)
        await until(lambda: _has(joblog, "a", "started"))
        await until(lambda: _settled(client))
        assert await reconcile(client) == 0


async def test_a_cancelled_place_whose_fact_was_never_said_is_cancelled(
    client: Client, joblog: JobLog, admission: Admission, janitor_environ: dict[str, str]
) -> None:
    await say(joblog, RUN.accepted)
    await take(client, topology.DISPATCHER)
    await put(admission, "a", place(State.CANCELLED))
    async with dispatching(janitor_environ), janitor(janitor_environ):
        await listening(client)
        await until(lambda: _has(joblog, "a", "cancelled"))
        await until(lambda: _settled(client))
    assert (await admission.ledger()).places == {}


async def test_a_ledger_that_was_lost_is_made_again(
    client: Client, joblog: JobLog, admission: Admission, janitor_environ: dict[str, str]
) -> None:
    waiting = Run("waiting")
    await say(joblog, RUN.accepted, RUN.started, waiting.accepted)
    await take(client, topology.DISPATCHER)
    environ = janitor_environ | {"SUBTIDE_MAX_ACTIVE_JOBS": "1"}
    async with dispatching(environ), janitor(environ):
        await listening(client)

        async def states() -> bool:
            places = (await admission.ledger()).places
            return {job_id: held.state for job_id, held in places.items()} == {
                "a": State.ACTIVE,
                "waiting": State.WAITING,
            }

        await until(states)


async def test_an_upload_that_is_accepted_while_it_is_looked_at_keeps_its_place(
    client: Client, joblog: JobLog, admission: Admission, janitor_environ: dict[str, str]
) -> None:
    """The dispatcher has not heard of it yet: it will, without anybody's help."""
    await say(joblog, RUN.accepted)
    await put(admission, "a", place(State.UPLOADING, silent_s=60))
    last = await joblog.last_seq()
    assert await processed(client, janitor_environ) == (0, 0)
    assert await joblog.last_seq() == last
    assert (await admission.ledger()).places["a"].state is State.UPLOADING


async def test_a_schedule_that_was_lost_is_set_again(
    client: Client, joblog: JobLog, janitor_environ: dict[str, str]
) -> None:
    js = client.jetstream()
    await say(joblog, RUN.accepted, RUN.failed())
    await take(client, topology.JANITOR)
    await take(client, topology.DISPATCHER)
    assert await processed(client, janitor_environ) == (1, 0)
    info = await js.stream_info(topology.SCHEDULES, subjects_filter=">")
    assert info.state.subjects == {"schedule.expired.anon.a": 1}
    assert await names(joblog, "a") == ["accepted", "failed"]


async def test_requests_that_come_at_once_are_served_one_after_the_other(
    client: Client, joblog: JobLog, admission: Admission, janitor_environ: dict[str, str]
) -> None:
    await put(admission, "a", place(State.ACTIVE))
    await say(joblog, RUN.accepted, RUN.started)
    await take(client, topology.EXTRACTOR)
    async with janitor(janitor_environ):
        counts = sorted(await asyncio.gather(*(_asked(client) for _ in range(3))))
    assert counts == [0, 0, 1]


async def test_the_reconciliation_runs_by_itself(
    client: Client, joblog: JobLog, admission: Admission, janitor_environ: dict[str, str]
) -> None:
    await put(admission, "a", place(State.UPLOADING, silent_s=60))
    async with janitor(janitor_environ | {"SUBTIDE_RECONCILE_S": "0.2"}):

        async def given_up() -> bool:
            return await admission.ledger() == Ledger()

        await until(given_up)


async def test_a_log_that_was_lost_is_read_anew(
    client: Client, joblog: JobLog, admission: Admission, janitor_environ: dict[str, str]
) -> None:
    """The janitor remembers what it read; another log makes it forget."""
    await say(joblog, *Run("b", content="b").work)
    async with janitor(janitor_environ):
        await listening(client)
        js = client.jetstream()
        await js.purge_stream(topology.JOBS)
        await admission.change(lambda _: Ledger())
        await say(joblog, RUN.accepted, RUN.started, RUN.cancelled)
        await until(lambda: _scheduled(client))
        assert await reconcile(client) == 0


async def _scheduled(client: Client) -> bool:
    info = await client.jetstream().stream_info(topology.SCHEDULES, subjects_filter=">")
    return "schedule.expired.anon.a" in (info.state.subjects or {})


async def _has(joblog: JobLog, job_id: str, name: str) -> bool:
    return name in await names(joblog, job_id)


async def _settled(client: Client) -> bool:
    info = await client.jetstream().consumer_info(topology.JOBS, topology.DISPATCHER.name)
    return info.num_ack_pending == 0 and info.num_pending == 0


@asynccontextmanager
async def dispatching(environ: dict[str, str]) -> AsyncIterator[None]:
    """A dispatcher in this process."""
    stop = asyncio.Event()
    task = asyncio.create_task(serve_dispatcher(environ, stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)
