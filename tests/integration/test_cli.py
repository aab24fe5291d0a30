"""The command line as a person uses it: a process, its output, its exit code."""

import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import psutil
import pytest

from chassis.broker import CONNECT_OPTIONS
from chassis.joblog import JobLog
from chassis.store import Store
from cli.standalone.folder import read_running
from cli.standalone.server import free_port
from contracts import topology
from services.projector.app import serve as serve_projector
from tests.integration.conftest import Gateway, running_gateway, until
from tests.integration.stages import RESULTS, Stages

PATIENCE_S = 40.0


class Ended:
    """What a command left behind."""

    def __init__(self, code: int | None, out: bytes, err: bytes) -> None:
        self.code = code
        self.out = out.decode()
        self.err = err.decode()

    def __repr__(self) -> str:
        return f"exit code {self.code}\nstdout: {self.out}\nstderr: {self.err}"


class Command:
    """A command that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.out = b""
        self.err = b""
        self._reading = asyncio.gather(self._read_out(), self._read_err())

    async def ended(self) -> Ended:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.shield(self._reading)
            return Ended(await self.process.wait(), self.out, self.err)

    async def says(self, word: str) -> None:
        """Wait until it has printed a word on stdout."""

        def said() -> bool:
            assert not self._reading.done() or word in self.out.decode(), (self.out, self.err)
            return word in self.out.decode()

        await until(said, PATIENCE_S)

    async def _read_out(self) -> None:
        assert self.process.stdout is not None
        while block := await self.process.stdout.read(4096):
            self.out += block

    async def _read_err(self) -> None:
        assert self.process.stderr is not None
        while block := await self.process.stderr.read(4096):
            self.err += block


class CommandLine:
    """Runs `subtide` for a user with an empty home; what is still running at the end is killed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SUBTIDE_")},
            "XDG_DATA_HOME": str(home / "share"),
            "SUBTIDE_MODELS_DIR": str(home / "no models"),
        }
        self._started: list[Command] = []

    async def start(self, *arguments: str, **environ: str) -> Command:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "cli.main", *arguments),
            env=self.environ | environ,
            cwd=self.home,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self._started.append(Command(process))
        return self._started[-1]

    async def __call__(self, *arguments: str, **environ: str) -> Ended:
        return await (await self.start(*arguments, **environ)).ended()

    async def kill(self) -> None:
        for command in self._started:
            if command.process.returncode is None:
                command.process.kill()
            await command.ended()


class Wire:
    """A connection to a gateway that can be cut."""

    def __init__(self, gateway: Gateway) -> None:
        self._port = int(gateway.url.rpartition(":")[2])
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""
        self.answers_to_lose = 0

    async def cut(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            await asyncio.gather(_pump(reader, back), self._answers(there, writer))
        except ConnectionError:
            return
        finally:
            self._tasks.discard(task)
            for end in (writer, back):
                end.transport.abort()

    async def _answers(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        if self.answers_to_lose:
            await source.read(1)
            self.answers_to_lose -= 1
            raise ConnectionResetError
        await _pump(source, target)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while block := await source.read(1 << 16):
        target.write(block)
        await target.drain()
    target.close()


@asynccontextmanager
async def wire_to(gateway: Gateway) -> AsyncIterator[Wire]:
    wire = Wire(gateway)
    server = await asyncio.start_server(wire.carry, "127.0.0.1", 0)
    wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield wire
    finally:
        server.close()
        await wire.cut()


@pytest.fixture
async def subtide(tmp_path: Path) -> AsyncIterator[CommandLine]:
    (tmp_path / "home").mkdir()
    command_line = CommandLine(tmp_path / "home")
    yield command_line
    await command_line.kill()


@pytest.fixture
def talk(subtide: CommandLine) -> Path:
    path = subtide.home / "my talk.mp4"
    path.write_bytes(os.urandom(300_000))
    return path


async def submitted(subtide: CommandLine, gateway: Gateway, talk: Path, *options: str) -> str:
    ended = await subtide("submit", str(talk), "--server", gateway.url, *options)
    assert ended.code == 0, ended
    return ended.out.strip()


def captions(text: str) -> list[str]:
    return [line.partition("  ")[2] for line in text.splitlines()]


async def test_submit_prints_the_job_id_alone_and_keeps_its_token(
    subtide: CommandLine, gateway: Gateway, joblog: JobLog, talk: Path
) -> None:
    job_id = await submitted(subtide, gateway, talk, "--language", "es", "--speakers", "2")

    [known] = json.loads((subtide.home / "share/subtide/jobs.json").read_bytes())
    assert known["job_id"] == job_id
    assert stat.S_IMODE((subtide.home / "share/subtide/jobs.json").stat().st_mode) == 0o600
    view = await joblog.view(job_id)
    assert view is not None
    assert (view.filename, view.source.bytes) == ("my talk.mp4", 300_000)
    assert (view.parameters.language, view.parameters.num_speakers) == ("es", 2)


async def test_submit_has_a_recording_fetched_from_its_address(
    subtide: CommandLine, gateway: Gateway, joblog: JobLog
) -> None:
    url = "https://talks.example/my%20talk.mp4?signature=secret"
    ended = await subtide("submit", url, "--server", gateway.url, "--language", "es")
    assert ended.code == 0, ended

    [known] = json.loads((subtide.home / "share/subtide/jobs.json").read_bytes())
    assert (known["job_id"], known["filename"]) == (ended.out.strip(), "my talk.mp4")
    view = await joblog.view(known["job_id"])
    assert view is not None
    assert (view.source, view.source_url, view.filename) == (None, url, "my talk.mp4")
    assert view.parameters.language == "es"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http:talk.mp4", "http:talk.mp4: The address is not of the form https://host/path."),
        ("http://127.0.0.1/", "This server does not fetch from there (this machine)."),
    ],
)
async def test_submit_says_what_is_wrong_with_an_address(
    subtide: CommandLine, gateway: Gateway, url: str, sentence: str
) -> None:
    ended = await subtide("submit", url, "--server", gateway.url)
    assert (ended.code, sentence in ended.err) == (1, True), ended


@pytest.mark.parametrize("name", ['a "quoted" name.mp4', "two\nlines.mp4", "🎬 película.mp4", os.fsdecode(b"\xff.mp4")])
async def test_submit_takes_any_file_name(subtide: CommandLine, gateway: Gateway, joblog: JobLog, name: str) -> None:
    talk = subtide.home / name
    talk.write_bytes(b"sound")
    view = await joblog.view(await submitted(subtide, gateway, talk))
    assert view is not None
    assert view.filename == os.fsencode(name).decode(errors="replace").replace("\n", " ")


async def test_a_submit_whose_answer_was_lost_is_sent_again_and_makes_one_job(
    subtide: CommandLine, gateway: Gateway, joblog: JobLog, talk: Path
) -> None:
    async with wire_to(gateway) as wire:
        wire.answers_to_lose = 1
        ended = await subtide("submit", str(talk), "--server", wire.url)
    assert ended.code == 0, ended
    assert wire.answers_to_lose == 0
    accepted = [entry for entry in await joblog.read(1, 100) if ".accepted." in entry.subject]
    assert [ended.out.strip() in entry.subject for entry in accepted] == [True]


async def test_watch_shows_every_caption_and_ends_with_the_job(
    subtide: CommandLine, gateway: Gateway, joblog: JobLog, store: Store, talk: Path
) -> None:
    job_id = await submitted(subtide, gateway, talk)
    stages = Stages(joblog, job_id)
    await stages.start()
    await stages.extract()
    await stages.plan(2)
    await stages.transcribe(0)

    watching = await subtide.start("watch", job_id[:8], "--server", gateway.url)
    await watching.says("chunk 0")
    await stages.transcribe(1)
    await watching.says("chunk 1")
    await stages.complete(store)

    ended = await watching.ended()
    assert (ended.code, captions(ended.out)) == (0, ["chunk 0", "chunk 1"])
    assert "transcribing 100%" in ended.err


async def test_watch_goes_on_where_the_connection_broke(
    subtide: CommandLine, gateway: Gateway, joblog: JobLog, store: Store, talk: Path
) -> None:
    job_id = await submitted(subtide, gateway, talk)
    stages = Stages(joblog, job_id)
    await stages.start()
    await stages.extract()
    await stages.plan(3)
    await stages.transcribe(0)
    async with wire_to(gateway) as wire:
        watching = await subtide.start("watch", job_id, "--server", wire.url)
        await watching.says("chunk 0")

        await wire.cut()
        await stages.transcribe(1)
        await stages.transcribe(2)
        await watching.says("chunk 2")
        await stages.complete(store)

        ended = await watching.ended()
    assert (ended.code, captions(ended.out)) == (0, ["chunk 0", "chunk 1", "chunk 2"])
    assert "The connection was lost" in ended.err


async def test_watch_of_a_job_that_fails_says_why_and_exits_with_1(
    subtide: CommandLine, gateway: Gateway, joblog: JobLog, talk: Path
) -> None:
    job_id = await submitted(subtide, gateway, talk)
    stages = Stages(joblog, job_id)
    await stages.start()
    await stages.fail()
    ended = await subtide("watch", job_id, "--server", gateway.url)
    assert (ended.code, ended.out) == (1, "")
    assert "subtide: The file has no sound track." in ended.err


async def test_a_wrong_token_is_told_as_such(subtide: CommandLine, gateway: Gateway, talk: Path) -> None:
    job_id = await submitted(subtide, gateway, talk)
    ended = await subtide("watch", job_id, "--token", "wrong", "--server", gateway.url)
    assert ended.code == 1
    assert ended.err == "subtide: There is no such job, or this token does not open it.\n"


async def test_submit_that_waits_writes_the_subtitles_in_place_of_earlier_ones(
    subtide: CommandLine, gateway: Gateway, joblog: JobLog, store: Store, talk: Path
) -> None:
    talk.with_suffix(".srt").write_text("old")
    waiting = await subtide.start("submit", str(talk), "--wait", "--server", gateway.url)
    await until(lambda: len(waiting.out) > 32, PATIENCE_S)
    stages = Stages(joblog, waiting.out.decode().strip())
    await stages.start()
    await stages.complete(store)

    ended = await waiting.ended()
    assert ended.code == 0, ended
    written = {path.suffix[1:]: path.read_bytes() for path in subtide.home.iterdir() if path.is_file() and path != talk}
    assert written == RESULTS


async def test_a_busy_server_is_told_in_a_sentence(subtide: CommandLine, environ: dict[str, str], talk: Path) -> None:
    limits = {"SUBTIDE_MAX_ACTIVE_JOBS": "1", "SUBTIDE_MAX_QUEUED_JOBS": "1"}
    async with running_gateway(environ | limits) as gateway:
        while True:
            ended = await subtide("submit", str(talk), "--server", gateway.url)
            if ended.code:
                break
    assert ended.err.splitlines()[-1].startswith("subtide: System busy: ")


async def test_jobs_lists_what_was_submitted_from_here(
    subtide: CommandLine, environ: dict[str, str], gateway: Gateway, talk: Path
) -> None:
    await gateway.submit()  # somebody else's
    job_id = await submitted(subtide, gateway, talk)
    stop = asyncio.Event()
    projector = asyncio.create_task(serve_projector(environ, stop))
    try:

        async def listed() -> Ended | None:
            ended = await subtide("jobs", "--server", gateway.url, COLUMNS="120")
            return ended if job_id[:12] in ended.out else None

        ended = await until(listed, PATIENCE_S)
    finally:
        stop.set()
        await projector
    header, *rows = ended.out.splitlines()
    assert header.split()[:3] == ["job", "recording", "status"]
    assert [row.split()[:4] for row in rows] == [[job_id[:12], "my", "talk.mp4", "pending"]]


async def test_an_absent_server_is_told_with_what_to_do(subtide: CommandLine, talk: Path) -> None:
    ended = await subtide("submit", str(talk), "--server", f"http://127.0.0.1:{free_port()}")
    assert ended.code == 1
    assert ended.err.startswith("subtide: No Subtide server answers at http://127.0.0.1:")
    assert "Traceback" not in ended.err


async def test_provision_is_safe_to_repeat(subtide: CommandLine, environ: dict[str, str]) -> None:
    for _ in range(2):
        ended = await subtide("provision", NATS_URL=environ["NATS_URL"])
        assert ended.code == 0, ended


async def test_provision_without_a_broker_never_prints_the_password(subtide: CommandLine) -> None:
    ended = await subtide("provision", NATS_URL=f"nats://me:secret@127.0.0.1:{free_port()}")
    assert ended.code == 1
    assert ended.err.startswith("subtide: No broker answers at nats://127.0.0.1:")
    assert "secret" not in ended.err


async def test_run_without_models_says_what_to_run_before_anything_is_started(subtide: CommandLine, talk: Path) -> None:
    ended = await subtide("run", str(talk), "--data", str(subtide.home / "data"))
    assert ended.code == 1
    assert "subtide models pull" in ended.err
    assert not (subtide.home / "data").exists()


async def test_a_port_that_is_taken_is_refused_before_anything_is_started(
    subtide: CommandLine, gateway: Gateway
) -> None:
    port = gateway.url.rpartition(":")[2]
    ended = await subtide("up", "--data", str(subtide.home / "data"), "--port", port)
    assert ended.code == 1
    assert f"Port {port} on 127.0.0.1 is taken." in ended.err
    assert list((subtide.home / "data/logs").iterdir()) == []


class TestUp:
    """One stack after the other, each with its own servers."""

    async def started(self, subtide: CommandLine) -> Command:
        command = await subtide.start("up", "--data", str(subtide.home / "data"), "--port", "0")
        await command.says("Subtide is ready at http://127.0.0.1:")
        return command

    def children(self, command: Command) -> list[psutil.Process]:
        return psutil.Process(command.process.pid).children(recursive=True)

    async def gone(self, children: list[psutil.Process]) -> None:
        await until(lambda: not any(_runs(child) for child in children), PATIENCE_S)

    async def test_ctrl_c_stops_everything_quietly_and_a_second_stack_is_refused_meanwhile(
        self, subtide: CommandLine
    ) -> None:
        command = await self.started(subtide)
        children = self.children(command)
        assert len(children) >= 6

        second = await subtide("up", "--data", str(subtide.home / "data"), "--port", "0")
        assert second.code == 1
        assert f"A stack is already running on {subtide.home / 'data'}" in second.err

        command.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(20):
            ended = await command.ended()
        assert ended.code == 130
        assert "Traceback" not in ended.err
        assert not any(_runs(child) for child in children)
        assert read_running(subtide.home / "data") is None

    async def test_other_commands_find_the_stack_by_its_folder(self, subtide: CommandLine, talk: Path) -> None:
        command = await self.started(subtide)
        ended = await subtide("submit", str(talk), SUBTIDE_DATA=str(subtide.home / "data"))
        assert ended.code == 0, ended
        command.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert (await command.ended()).code == 0

    async def test_a_killed_stack_leaves_no_process_and_another_starts_on_its_folder(
        self, subtide: CommandLine
    ) -> None:
        command = await self.started(subtide)
        children = self.children(command)
        command.process.kill()
        await self.gone(children)
        await self.started(subtide)

    async def test_after_the_broker_was_killed_its_streams_are_all_there_again(self, subtide: CommandLine) -> None:
        command = await self.started(subtide)
        [broker] = [child for child in self.children(command) if "nats-server" in child.name()]
        broker.kill()
        running = read_running(subtide.home / "data")
        assert running is not None
        client = await nats.connect(running.nats_url, **CONNECT_OPTIONS)

        async def there() -> Any:
            try:
                return await client.jetstream(timeout=1).stream_info(topology.PROGRESS)
            except (nats.errors.Error, nats.js.errors.Error):
                return None

        await until(lambda: not _runs(broker), PATIENCE_S)
        await until(there, PATIENCE_S)
        await client.close()


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
