"""`subtide replay` and `subtide dead`, as an operator uses them."""

import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from nats.aio.client import Client

from chassis.joblog import JobLog
from cli.standalone.folder import DataFolder, Running
from cli.standalone.nats import NatsServer
from contracts import facts, topology
from contracts.failures import FailureCode
from tests.integration.conftest import until
from tests.integration.projecting import Tables
from tests.integration.projecting import running as running_projector
from tests.integration.test_cli import CommandLine
from tests.integration.test_janitor import kill, say
from tests.runs import Run

JOB = "3f9c0000000000000000000000000001"
RUN = Run(JOB)


@pytest.fixture
def numbers() -> topology.Numbers:
    """A message is dead after two deliveries."""
    return topology.Numbers(max_deliver=2, ack_wait_s=1.0, jobs_max_bytes=64 << 20)


@pytest.fixture
async def subtide(tmp_path: Path, client: Client, nats_server: NatsServer) -> AsyncIterator[CommandLine]:
    """The command line of somebody who may use the broker."""
    (tmp_path / "home").mkdir()
    command_line = CommandLine(tmp_path / "home")
    command_line.environ |= {"NATS_URL": nats_server.url, "DATABASE_URL": ""}
    yield command_line
    await command_line.kill()


def rows(out: str) -> list[list[str]]:
    """A table without its head, by column."""
    return [[cell for cell in line.split("  ") if cell] for line in out.splitlines()[1:]]


async def test_replay_tells_the_life_of_a_job(client: Client, joblog: JobLog, subtide: CommandLine) -> None:
    cached = facts.StageReceipt(engine="test/1", seconds=0.5, attempts=3, cached_at=datetime.now(UTC))
    await say(joblog, *RUN.work[:3], msgspec.structs.replace(RUN.planned, receipt=cached))
    await joblog.again(RUN.started)
    await client.jetstream().publish(f"job.invented.anon.{JOB}.1", b"\xff\x1b[2J")
    await say(joblog, RUN.failed(FailureCode.STORE_FULL), Run("other").accepted)

    ended = await subtide("replay", JOB)

    assert (ended.code, ended.err) == (0, "")
    told = [[cell.strip() for cell in (row[0], *row[2:])] for row in rows(ended.out)]
    assert [row[:3] for row in told] == [
        ["1", "accepted", "talk.mp4, 0.0 MB"],
        ["2", "started", "got a place"],
        ["3", "extracted", "0:00:10 of sound from mp4"],
        ["4", "planned", "language en (detected), 0:00:02 of speech in 2 chunks"],
        ["5", "started", "came again, to wake those who should have acted on it"],
        ["6", "invented", told[5][2]],
        ["7", "failed", told[6][2]],
    ]
    assert told[2][3:] == ["1", "0.2"]
    assert told[3][3:5] == ["3", "0.5"]
    assert told[3][5].startswith("since ")
    assert told[5][2].startswith("is no fact: ")
    assert "store_full in the extractor" in told[6][2]
    assert "\x1b" not in ended.out


async def test_replay_takes_the_beginning_of_an_id_and_prints_the_facts_themselves(
    client: Client, joblog: JobLog, subtide: CommandLine
) -> None:
    await say(joblog, *RUN.work, RUN.completed, RUN.expired)
    await client.jetstream().publish(f"job.invented.anon.{JOB}.1", b"\xff")
    ended = await subtide("replay", "3f9c", "--json")
    assert ended.code == 0
    assert [facts.decode(line.encode()) for line in ended.out.splitlines()] == [*RUN.work, RUN.completed, RUN.expired]
    assert ended.err == "Message 12 is no JSON and left out.\n"


@pytest.mark.parametrize(
    ("job", "sentence"),
    [
        ("nobody", "The log knows no job nobody."),
        ("a.>", "a.> is no job id."),
        ("3f9c", "2 jobs begin with 3f9c. Give more of the id."),
    ],
)
async def test_replay_of_what_is_no_job_is_a_sentence(
    joblog: JobLog, subtide: CommandLine, job: str, sentence: str
) -> None:
    await say(joblog, RUN.accepted, Run("3f9cffff").accepted)
    ended = await subtide("replay", job)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith(f"subtide: {sentence}")


async def test_without_a_broker_there_is_a_sentence(subtide: CommandLine) -> None:
    for command in (("replay", "a"), ("dead", "list"), ("dead", "drop", "1"), ("dead", "retry", "1")):
        ended = await subtide(*command, NATS_URL="nats://subtide:secret@127.0.0.1:1")
        assert ended.code == 1
        assert ended.err.startswith("subtide: No broker answers at nats://127.0.0.1:1 (")
        assert "secret" not in ended.err


async def test_without_a_log_there_is_a_sentence(client: Client, subtide: CommandLine) -> None:
    for stream in (topology.JOBS, topology.DEAD):
        await client.jetstream().delete_stream(stream)
    for command in (("replay", "a"), ("dead", "list")):
        ended = await subtide(*command)
        assert (ended.code, "`subtide provision`" in ended.err) == (1, True), ended


async def test_dead_letters_are_listed_retried_and_dropped(
    client: Client, joblog: JobLog, subtide: CommandLine
) -> None:
    # given two dead letters, and nobody who buries them
    await say(joblog, RUN.accepted, RUN.started, Run("other").accepted, Run("other").started)
    await kill(client, topology.EXTRACTOR, 2)
    assert (await subtide("dead", "list")).out.splitlines()[0].split() == "seq durable fact job the job is when".split()
    listed = rows((await subtide("dead", "list")).out)
    assert sorted([cell.strip() for cell in row[:5]] for row in listed) == [
        ["1", "extractor", "started", JOB, "processing"],
        ["2", "extractor", "started", "other", "processing"],
    ]
    # when one is retried, its message is delivered as a new one
    ended = await subtide("dead", "retry", "1")
    assert (ended.code, ended.out) == (0, f"Published again: started of job {JOB}.\n")
    subscription = await client.jetstream().pull_subscribe_bind("extractor", topology.JOBS)
    [message] = await subscription.fetch(5, timeout=2)
    assert (facts.decode(message.data), message.metadata.num_delivered) == (RUN.started, 1)
    # but none of a job whose run is over
    await say(joblog, Run("other").failed())
    ended = await subtide("dead", "retry", "2")
    assert ended.code == 1
    assert ended.err == (
        "subtide: The run is over: it is failed. Retry the job instead: on its page, or POST /api/jobs/other/retry.\n"
    )
    assert (await subtide("dead", "drop", "2")).code == 0
    ended = await subtide("dead", "drop", "2")
    assert (ended.code, ended.err.startswith("subtide: There is no dead letter 2.")) == (1, True)
    ended = await subtide("dead", "list")
    assert (ended.code, ended.out, ended.err) == (0, "", "There are no dead letters.\n")


async def test_a_letter_about_nothing_is_listed_and_can_be_dropped(client: Client, subtide: CommandLine) -> None:
    for body in (b"\xff", b"[]", b'{"stream_seq":7}', b'{"stream_seq":99999999999999999999}'):
        await client.publish("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.JOBS.extractor", body)
    await client.flush()
    ended = await subtide("dead", "list")
    assert [row[2].strip() for row in rows(ended.out)] == ["gone from the log, or no fact"] * 4
    assert (await subtide("dead", "retry", "1")).code == 1
    assert (await subtide("dead", "drop", "4")).code == 0


async def test_messages_that_were_kept_aside_are_listed(
    client: Client, environ: dict[str, str], subtide: CommandLine
) -> None:
    subtide.environ["DATABASE_URL"] = environ["DATABASE_URL"]
    assert (await subtide("dead", "list")).err == "There are no dead letters.\n"  # nothing is projected yet
    await client.jetstream().publish("job.invented.anon.a.1", b'{"fact":"invented","v":9}')
    tables = Tables(environ["DATABASE_URL"])
    async with running_projector(environ):
        await until(lambda: tables.rows("SELECT seq FROM unknown_facts"))
    ended = await subtide("dead", "list")
    assert ended.code == 0
    [row] = rows(ended.out)
    assert row[:2] == ["1", "job.invented.anon.a.1"]
    assert "invented" in row[2]
    ended = await subtide("dead", "list", DATABASE_URL="postgresql://127.0.0.1:1/x")
    assert (ended.code, "the database does not answer" in ended.err) == (0, True)


async def test_the_stack_on_a_data_folder_is_found(
    client: Client, joblog: JobLog, environ: dict[str, str], subtide: CommandLine, tmp_path: Path
) -> None:
    await say(joblog, RUN.accepted)
    folder = DataFolder(tmp_path / "data")
    with folder.locked():
        folder.publish(
            Running(
                pid=os.getpid(),
                gateway_url="http://127.0.0.1:1",
                nats_url=environ["NATS_URL"],
                database_url=environ["DATABASE_URL"],
                artifacts_url=environ["ARTIFACTS_URL"],
            )
        )
        ended = await subtide("replay", JOB, "--json", "--data", str(folder.root), NATS_URL="")
    assert json.loads(ended.out)["fact"] == "accepted", ended
