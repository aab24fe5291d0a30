"""The runbook is true: every NATS command in it is exercised here by the JetStream request that it makes."""

import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import nats.errors
import pytest
import typer
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from chassis.admission import Admission, Place, State
from chassis.joblog import JobLog, LogFull
from chassis.provision import provision
from cli.main import app
from contracts import facts, subjects, topology
from tests.integration.conftest import until
from tests.integration.test_janitor import janitor, kill, say
from tests.runs import Run

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "operations.md").read_text()
COMMANDS = sorted(set(re.findall(r"^ *(nats [^\n]+)$|`(nats [^`]+)`", RUNBOOK, re.MULTILINE)))
NATS = sorted({"".join(found) for found in COMMANDS})
SUBTIDE = sorted(set(re.findall(r"subtide ((?:[a-z]+)(?: (?:list|retry|drop|rebuild))?)(?= |`|\n)", RUNBOOK)))
EVENTS = sorted(set(re.findall(r"^\| `(\w+)`(?:, `(\w+)`)? \| \w", RUNBOOK, re.MULTILINE)))

RUN = Run("JOB")


class World:
    """A broker with a job that runs, another whose message is dead, and the commands' answers in other words."""

    def __init__(self, client: Client, joblog: JobLog, environ: dict[str, str], numbers: topology.Numbers) -> None:
        self.client = client
        self.joblog = joblog
        self.environ = environ
        self.numbers = numbers
        self.js: JetStreamContext = client.jetstream()

    async def view(self, stream: str, subject: str = ">") -> list[str]:
        """What `stream view` pages through: an ephemeral consumer."""
        subscription = await self.js.subscribe(subject, stream=stream, ordered_consumer=True)
        count = (await self.js.stream_info(stream)).state.messages
        found: list[str] = []
        while len(found) < count:
            try:
                found.append((await subscription.next_msg(timeout=1)).subject)
            except nats.errors.TimeoutError:
                break
        await subscription.unsubscribe()
        return found

    async def deliverable(self, durable: topology.Durable) -> list[str]:
        """What a worker of a stage would be given now."""
        subscription = await self.js.pull_subscribe_bind(durable.name, durable.stream)
        try:
            messages = await subscription.fetch(10, timeout=0.5)
        except TimeoutError:
            return []
        finally:
            await subscription.unsubscribe()
        for message in messages:
            await message.ack_sync()
        return [message.subject for message in messages]


Check = Callable[[World], Awaitable[None]]
CHECKS: dict[str, Check] = {}


def behind(*commands: str) -> Callable[[Check], Check]:
    """The request behind a command."""

    def register(check: Check) -> Check:
        CHECKS.update(dict.fromkeys(commands, check))
        return check

    return register


@pytest.fixture
def numbers() -> topology.Numbers:
    """A message is dead after two deliveries; the log is small."""
    return topology.Numbers(max_deliver=2, ack_wait_s=1.0, jobs_max_bytes=1 << 20, reconcile_s=3600.0)


@pytest.fixture
async def world(client: Client, joblog: JobLog, environ: dict[str, str], numbers: topology.Numbers) -> World:
    await say(joblog, Run("dead").accepted, Run("dead").started)
    await kill(client, topology.EXTRACTOR)
    await say(joblog, RUN.accepted, RUN.started)
    place = Place(owner="anon", counted_as="anon", run=1, state=State.ACTIVE, since=datetime.now(UTC))
    admission = Admission(await client.jetstream().key_value(topology.ADMISSION))
    await admission.change(lambda ledger: ledger.with_place("JOB", place))
    return World(client, joblog, environ, numbers)


@pytest.mark.parametrize("command", NATS)
async def test_the_request_behind_a_command_does_what_the_runbook_says(world: World, command: str) -> None:
    await CHECKS[command](world)


def test_the_runbook_has_every_command_that_is_exercised() -> None:
    assert set(NATS) == set(CHECKS)


@pytest.mark.parametrize("command", SUBTIDE)
def test_every_subtide_command_in_the_runbook_exists(command: str) -> None:
    group: Any = typer.main.get_command(app)
    for name in command.split():
        group = group.commands[name]


@pytest.mark.parametrize("event", sorted({one for pair in EVENTS for one in pair if one}))
def test_every_alarm_is_something_that_is_logged(event: str) -> None:
    sources = [path.read_text() for folder in ("chassis", "services") for path in (ROOT / folder).rglob("*.py")]
    assert any(f'"{event}"' in source for source in sources)


@pytest.mark.parametrize("variable", sorted(set(re.findall(r"SUBTIDE_([A-Z_]+)", RUNBOOK))))
def test_every_setting_in_the_runbook_exists(variable: str) -> None:
    known = {field.name.upper() for field in msgspec.structs.fields(topology.Numbers)} | {"JANITOR_SECOND_LOOK_S"}
    assert variable in known


@behind('nats stream view JOBS --subject "job.*.*.JOB.>"')
async def _view_a_job(world: World) -> None:
    assert await world.view(topology.JOBS, subjects.of_job("JOB")) == [
        "job.accepted.anon.JOB.1",
        "job.started.anon.JOB.1",
    ]


@behind('nats stream subjects JOBS "job.*.*.JOB.>"')
async def _subjects_of_a_job(world: World) -> None:
    info = await world.js.stream_info(topology.JOBS, subjects_filter=subjects.of_job("JOB"))
    assert info.state.subjects == {"job.accepted.anon.JOB.1": 1, "job.started.anon.JOB.1": 1}


@behind("nats stream get JOBS SEQ")
async def _get(world: World) -> None:
    assert facts.decode((await world.js.get_msg(topology.JOBS, 3)).data or b"") == RUN.accepted


@behind('nats stream get JOBS --last-for "job.started.anon.JOB.1"')
async def _get_last(world: World) -> None:
    message = await world.js.get_last_msg(topology.JOBS, "job.started.anon.JOB.1")
    assert facts.decode(message.data or b"") == RUN.started


@behind("nats stream info JOBS")
async def _stream_info(world: World) -> None:
    info = await world.js.stream_info(topology.JOBS)
    assert (info.state.messages, info.config.max_bytes) == (4, world.numbers.jobs_max_bytes)
    assert 0 < info.state.bytes < world.numbers.jobs_max_bytes

    # what the runbook says of a full one: more room is there at once, and nothing was forgotten
    async def fill() -> None:
        for n in range(10_000):
            await world.joblog.append(Run(f"filler-{n}").accepted)

    with pytest.raises(LogFull):
        await fill()
    await provision(world.client, msgspec.structs.replace(world.numbers, jobs_max_bytes=4 << 20))
    assert await world.joblog.append(RUN.extracted) is not None
    assert len(await world.joblog.facts_of("JOB")) == 3


@behind("nats stream report")
async def _stream_report(world: World) -> None:
    streams = {info.config.name for info in await world.js.streams_info()}
    assert {topology.JOBS, topology.PROGRESS, topology.DEAD, topology.SCHEDULES, "KV_admission"} <= streams


@behind("nats consumer report JOBS")
async def _consumer_report(world: World) -> None:
    found = {info.name: info for info in await world.js.consumers_info(topology.JOBS)}
    assert set(found) == {durable.name for durable in topology.DURABLES if durable.stream == topology.JOBS}
    assert (found["extractor"].num_pending, found["extractor"].num_ack_pending) == (1, 0)


@behind("nats consumer info JOBS transcriber")
async def _consumer_info(world: World) -> None:
    await say(world.joblog, RUN.extracted)
    info = await world.js.consumer_info(topology.JOBS, "transcriber")
    assert (info.num_pending, info.num_ack_pending, info.paused) == (1, 0, None)
    subscription = await world.js.pull_subscribe_bind("transcriber", topology.JOBS)
    await subscription.fetch(1)
    info = await world.js.consumer_info(topology.JOBS, "transcriber")
    assert (info.num_pending, info.num_ack_pending) == (0, 1)


@behind("nats consumer info SCHEDULES retention")
async def _retention_info(world: World) -> None:
    await world.js.publish(subjects.due(RUN.expired), facts.encode(RUN.expired))
    assert (await world.js.consumer_info(topology.SCHEDULES, "retention")).num_pending == 1


@behind("nats consumer info DEAD undertaker")
async def _undertaker_info(world: World) -> None:
    assert (await world.js.consumer_info(topology.DEAD, "undertaker")).num_pending == 1


@behind("nats kv get admission ledger --raw")
async def _ledger(world: World) -> None:
    entry = await (await world.js.key_value(topology.ADMISSION)).get("ledger")
    assert json.loads(entry.value or b"")["places"]["JOB"]["state"] == "active"


async def _scheduled(world: World) -> None:
    headers = {"Nats-Schedule": "@at 2999-01-01T00:00:00Z", "Nats-Schedule-Target": subjects.due(RUN.expired)}
    await world.js.publish(subjects.schedule(RUN.expired), facts.encode(RUN.expired), headers=headers)


@behind("nats stream subjects SCHEDULES")
async def _schedules(world: World) -> None:
    await _scheduled(world)
    info = await world.js.stream_info(topology.SCHEDULES, subjects_filter=">")
    assert info.state.subjects == {"schedule.expired.anon.JOB": 1}


@behind('nats stream get SCHEDULES --last-for "schedule.expired.anon.JOB"')
async def _schedule(world: World) -> None:
    await _scheduled(world)
    message = await world.js.get_last_msg(topology.SCHEDULES, "schedule.expired.anon.JOB")
    assert (message.headers or {})["Nats-Schedule"] == "@at 2999-01-01T00:00:00Z"


@behind("nats stream view DEAD")
async def _view_dead(world: World) -> None:
    assert await world.view(topology.DEAD) == ["$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.JOBS.extractor"]


@behind("nats stream get DEAD SEQ")
async def _get_dead(world: World) -> None:
    letter = json.loads((await world.js.get_msg(topology.DEAD, 1)).data or b"")
    assert (letter["stream"], letter["consumer"], letter["deliveries"]) == ("JOBS", "extractor", 2)
    dead = await world.js.get_msg(topology.JOBS, letter["stream_seq"])
    assert dead.subject == "job.started.anon.dead.1"


@behind("nats stream rmm DEAD SEQ")
async def _drop_dead(world: World) -> None:
    await world.js.delete_msg(topology.DEAD, 1)
    with pytest.raises(NotFoundError):
        await world.js.get_msg(topology.DEAD, 1)


@behind("nats account info")
async def _account(world: World) -> None:
    info = await world.js.account_info()
    assert info.streams >= 6
    assert info.storage > 0


@behind('nats request ask.reconcile ""')
async def _reconcile(world: World) -> None:
    await world.deliverable(topology.EXTRACTOR)  # which is now neither waiting nor in hand
    async with janitor(world.environ | {"SUBTIDE_JANITOR_SECOND_LOOK_S": "0.1"}):

        async def answered() -> bytes | None:
            try:
                return (await world.client.request("ask.reconcile", b"", timeout=20)).data
            except nats.errors.NoRespondersError:
                return None

        assert json.loads(await until(answered))["processed"] >= 1
    assert "job.started.anon.JOB.1" in await world.deliverable(topology.EXTRACTOR)


async def _pause(world: World, durable: topology.Durable) -> None:
    until_then = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert (await world.js.pause_consumer(durable.stream, durable.name, until_then)).paused


@behind("nats consumer pause JOBS transcriber 1h", "nats consumer resume JOBS transcriber")
async def _drain_a_stage(world: World) -> None:
    # given a stage with a message in hand
    await say(world.joblog, RUN.extracted, RUN.requested(0))
    subscription = await world.js.pull_subscribe_bind("transcriber", topology.JOBS)
    [in_hand] = await subscription.fetch(1)
    # when it is paused, that is finished and nothing else is handed out; provisioning changes nothing
    await _pause(world, topology.TRANSCRIBER)
    await in_hand.ack_sync()
    await provision(world.client, world.numbers)
    assert await world.deliverable(topology.TRANSCRIBER) == []
    assert (await world.js.consumer_info(topology.JOBS, "transcriber")).paused
    # then it goes on where it was
    await world.js.resume_consumer(topology.JOBS, "transcriber")
    assert await world.deliverable(topology.TRANSCRIBER) == ["job.chunk-requested.anon.JOB.1.0"]


@behind("nats consumer pause JOBS dispatcher 1h")
async def _drain_everything(world: World) -> None:
    await _pause(world, topology.DISPATCHER)
    assert await world.deliverable(topology.DISPATCHER) == []
    assert await world.deliverable(topology.EXTRACTOR) == ["job.started.anon.JOB.1"]


async def _snapshot(world: World, stream: str) -> tuple[dict[str, Any], list[bytes]]:
    """What `stream backup` receives."""
    inbox = world.client.new_inbox()
    chunks = await world.client.subscribe(inbox)
    request = {"deliver_subject": inbox, "no_consumers": False, "chunk_size": 1 << 17}
    answer = await world.client.request(f"$JS.API.STREAM.SNAPSHOT.{stream}", json.dumps(request).encode())
    received: list[bytes] = []
    while (message := await chunks.next_msg(timeout=10)).data:
        received.append(message.data)
        if message.reply:
            await message.respond(b"")
    await chunks.unsubscribe()
    return json.loads(answer.data), received


@behind("nats stream backup JOBS /backup/JOBS", "nats stream restore /backup/JOBS", "nats stream rm JOBS --force")
async def _backup_and_restore(world: World) -> None:
    # given a backup, a broker that lost its streams, and services that made empty ones
    about, chunks = await _snapshot(world, topology.JOBS)
    await world.js.delete_stream(topology.JOBS)
    await provision(world.client, world.numbers)
    # when it is restored
    await world.js.delete_stream(topology.JOBS)
    request = json.dumps({"config": about["config"], "state": about["state"]}).encode()
    answer = json.loads((await world.client.request("$JS.API.STREAM.RESTORE.JOBS", request)).data)
    for chunk in [*chunks, b""]:
        done = await world.client.request(answer["deliver_subject"], chunk, timeout=10)
    assert "error" not in json.loads(done.data or b"{}")
    await provision(world.client, world.numbers)
    # then every fact is there, and every stage is where it was
    assert [one.fact for one in await world.joblog.facts_of("JOB")] == [RUN.accepted, RUN.started]
    assert await world.deliverable(topology.EXTRACTOR) == ["job.started.anon.JOB.1"]


@behind("nats stream backup SCHEDULES /backup/SCHEDULES")
async def _backup_schedules(world: World) -> None:
    await _scheduled(world)
    about, chunks = await _snapshot(world, topology.SCHEDULES)
    assert about["state"]["messages"] == 1
    assert chunks


@behind("nats consumer rm JOBS exporter --force")
async def _once_more(world: World) -> None:
    await say(world.joblog, RUN.extracted, RUN.planned)
    assert await world.deliverable(topology.EXPORTER) == ["job.planned.anon.JOB.1"]
    await world.js.delete_consumer(topology.JOBS, "exporter")
    await provision(world.client, world.numbers)  # which the service does
    assert await world.deliverable(topology.EXPORTER) == ["job.planned.anon.JOB.1"]


async def test_an_ended_pause_ends_by_itself(world: World) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    await world.js.pause_consumer(topology.JOBS, "extractor", soon)

    async def resumed() -> bool:
        return not (await world.js.consumer_info(topology.JOBS, "extractor")).paused

    await until(resumed)
    assert await world.deliverable(topology.EXTRACTOR) == ["job.started.anon.JOB.1"]
