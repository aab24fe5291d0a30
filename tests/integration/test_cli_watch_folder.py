"""`subtide watch-folder`: what appears is submitted once, when it is complete, and what comes of it is written."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chassis.joblog import JobLog
from chassis.store import Store
from contracts import facts
from tests.integration.conftest import Gateway, running_gateway, until
from tests.integration.stages import RESULTS, Stages
from tests.integration.test_cli import PATIENCE_S, Command, CommandLine, Ended


@pytest.fixture
async def subtide(tmp_path: Path) -> AsyncIterator[CommandLine]:
    (tmp_path / "home").mkdir()
    command_line = CommandLine(tmp_path / "home")
    yield command_line
    await command_line.kill()


@pytest.fixture
def folder(subtide: CommandLine) -> Path:
    made = subtide.home / "recordings"
    made.mkdir()
    return made


class Watching:
    """The command on a folder, and the stages that play the rest of the server."""

    def __init__(self, subtide: CommandLine, folder: Path, server: str, joblog: JobLog) -> None:
        self._subtide = subtide
        self._folder = folder
        self._server = server
        self._joblog = joblog

    async def start(self, *options: str, settle: float = 0.1) -> Command:
        command = await self._subtide.start(
            "watch-folder", str(self._folder), "--server", self._server, "--settle", str(settle), *options
        )
        await command.says("Watching")
        return command

    async def jobs(self, count: int = 1) -> list[facts.JobAccepted]:
        """The jobs, in order, once there are so many."""

        async def accepted() -> list[facts.JobAccepted] | None:
            known = [facts.decode(entry.body) for entry in await self._joblog.read(1, 1000)]
            found = [fact for fact in known if isinstance(fact, facts.JobAccepted)]
            return found if len(found) >= count else None

        found: list[facts.JobAccepted] = await until(accepted, PATIENCE_S)
        assert len(found) == count
        return found


@pytest.fixture
def watching(subtide: CommandLine, folder: Path, gateway: Gateway, joblog: JobLog) -> Watching:
    return Watching(subtide, folder, gateway.url, joblog)


async def stopped(command: Command) -> Ended:
    command.process.send_signal(signal.SIGINT)
    ended = await command.ended()
    assert (ended.code, ended.err) == (130, ""), ended
    return ended


def results(folder: Path, stem: str) -> dict[str, bytes]:
    return {name: (folder / f"{stem}.{name}").read_bytes() for name in RESULTS if (folder / f"{stem}.{name}").exists()}


async def test_what_appears_gets_its_subtitles_beside_it(
    watching: Watching, folder: Path, joblog: JobLog, store: Store
) -> None:
    command = await watching.start("--language", "es")
    (folder / "talk.mp4").write_bytes(b"sound")
    [job] = await watching.jobs()
    assert (job.filename, job.parameters.language) == ("talk.mp4", "es")
    await Stages(joblog, job.job_id).complete(store)
    await command.says("written talk.srt")
    assert results(folder, "talk") == RESULTS
    ended = await stopped(command)
    assert ended.out.splitlines() == [
        f"Watching {folder}",
        f"submitted talk.mp4 as job {job.job_id}",
        "written talk.srt .vtt .json .txt",
    ]


async def test_a_file_of_somebody_else_is_not_replaced(
    watching: Watching, folder: Path, joblog: JobLog, store: Store
) -> None:
    (folder / "talk.txt").write_text("my own notes")
    command = await watching.start()
    (folder / "talk.mp4").write_bytes(b"sound")
    [job] = await watching.jobs()
    await Stages(joblog, job.job_id).complete(store)
    await command.says("written talk.mp4.srt")
    await stopped(command)
    assert (folder / "talk.txt").read_text() == "my own notes"
    assert results(folder, "talk.mp4") == RESULTS


async def test_a_file_that_appears_slowly_is_submitted_when_it_is_whole(
    watching: Watching, folder: Path, store: Store
) -> None:
    await watching.start(settle=1.5)
    with (folder / "talk.mp4").open("wb", buffering=0) as file:
        for n in range(12):
            file.write(bytes([n]) * 1000)
            await asyncio.sleep(0.25)
    [job] = await watching.jobs()
    assert job.source is not None
    assert job.source.bytes == 12_000


async def test_what_is_hidden_unfinished_linked_or_ours_is_left_alone(
    watching: Watching, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    (folder / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (folder / "sub").mkdir()
    (folder / "sub" / "deep.mp4").write_bytes(b"sound")
    for name in (".hidden.mp4", "a.mp4.part", "b.mp4.crdownload", "c.mp4~", "d.tmp", "e.srt", "f.error.txt", "g.json"):
        (folder / name).write_bytes(b"sound")
    (folder / "empty.mp4").touch()
    (folder / "talk.mp4").write_bytes(b"sound")
    await watching.start("--pattern", "*")
    [job] = await watching.jobs()
    assert job.filename == "talk.mp4"
    (folder / "another").write_bytes(b"sound")
    assert [one.filename for one in await watching.jobs(2)] == ["talk.mp4", "another"]


async def test_the_output_folder_mirrors_the_tree(
    watching: Watching, folder: Path, subtide: CommandLine, joblog: JobLog, store: Store
) -> None:
    (folder / "may" / ".git").mkdir(parents=True)
    (folder / "may" / "talk.MP4").write_bytes(b"one")
    (folder / "may" / "talk.wav").write_bytes(b"two")
    (folder / "may" / ".git" / "talk.mp4").write_bytes(b"three")
    (folder / "may" / "talk.pdf").write_bytes(b"four")
    command = await watching.start("--recursive", "--output", "subtitles")
    for job in await watching.jobs(2):
        await Stages(joblog, job.job_id).complete(store)
    await command.says("written may/talk.srt")
    await command.says("written may/talk.wav.srt")
    into = subtide.home / "subtitles" / "may"
    assert results(into, "talk") == results(into, "talk.wav") == RESULTS
    assert {path.name for path in (folder / "may").iterdir()} == {"talk.MP4", "talk.wav", "talk.pdf", ".git"}


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGKILL])
async def test_a_restart_neither_submits_twice_nor_forgets_a_job(
    watching: Watching, folder: Path, joblog: JobLog, store: Store, told: signal.Signals
) -> None:
    (folder / os.fsdecode(b"t\xe4lk.mp4")).write_bytes(b"sound")
    first = await watching.start()
    await first.says("submitted")
    first.process.send_signal(told)
    await first.ended()
    [job] = await watching.jobs()
    await Stages(joblog, job.job_id).complete(store)

    second = await watching.start()
    await second.says("written")
    assert results(folder, os.fsdecode(b"t\xe4lk")) == RESULTS
    (folder / "next.mp4").write_bytes(b"more")
    await second.says("submitted next.mp4")
    assert len(await watching.jobs(2)) == 2
    await stopped(second)
    journal = folder / ".subtide" / "watched.jsonl"
    assert journal.stat().st_mode & 0o077 == 0
    journal.write_bytes(journal.read_bytes() + b'{"path":"tor')  # and a line that a crash cut short
    third = await watching.start()
    (folder / "last.mp4").write_bytes(b"last")
    await third.says("submitted last.mp4")
    assert len(await watching.jobs(3)) == 3
    await stopped(third)
    assert b"last.mp4" in journal.read_bytes().split(b"\n")[-2]


async def test_a_failure_is_written_down_and_tried_again_when_the_file_changes(
    watching: Watching, folder: Path, joblog: JobLog, store: Store
) -> None:
    (folder / "talk.mp4").write_bytes(b"sound")
    command = await watching.start()
    [job] = await watching.jobs()
    await Stages(joblog, job.job_id).fail()
    await command.says("failed talk.mp4: The file has no sound track.")
    assert (folder / "talk.error.txt").read_text().startswith("The file has no sound track.")
    await stopped(command)

    command = await watching.start()
    (folder / "talk.mp4").write_bytes(b"better sound")
    _, again = await watching.jobs(2)
    await Stages(joblog, again.job_id).complete(store)
    await command.says("written talk.srt")
    assert not (folder / "talk.error.txt").exists()
    assert results(folder, "talk") == RESULTS


async def test_what_the_server_refuses_for_good_is_a_failure_and_the_next_goes_on(
    subtide: CommandLine, folder: Path, environ: dict[str, str], joblog: JobLog
) -> None:
    async with running_gateway(environ | {"SUBTIDE_GATEWAY_MAX_UPLOAD_BYTES": "10"}) as gateway:
        watching = Watching(subtide, folder, gateway.url, joblog)
        (folder / "a.mp4").write_bytes(b"much too large")
        (folder / "b.mp4").write_bytes(b"small")
        await watching.start()
        [job] = await watching.jobs()
    assert job.filename == "b.mp4"
    assert (folder / "a.error.txt").read_text() == "The file has 14 bytes, and this server accepts at most 10.\n"


async def test_a_full_queue_and_an_absent_server_are_waited_for(
    subtide: CommandLine, folder: Path, environ: dict[str, str], joblog: JobLog
) -> None:
    async with running_gateway(environ | {"SUBTIDE_MAX_ACTIVE_JOBS": "0", "SUBTIDE_MAX_QUEUED_JOBS": "0"}) as gateway:
        (folder / "a.mp4").write_bytes(b"sound")
        command = await Watching(subtide, folder, gateway.url, joblog).start()
        await command.says("System busy: ")
        port = gateway.url.rpartition(":")[2]
    assert not (folder / "a.error.txt").exists()
    assert not await joblog.read(1, 10)
    ended = await stopped(command)
    assert ended.out.count("System busy: ") == 1

    there = Watching(subtide, folder, f"http://127.0.0.1:{port}", joblog)
    command = await there.start()
    await command.says("No Subtide server answers")
    assert not (folder / "a.error.txt").exists()


async def test_once_ends_when_all_has_ended(watching: Watching, folder: Path, joblog: JobLog, store: Store) -> None:
    for name in ("a.mp4", "b.mp4"):
        (folder / name).write_bytes(name.encode())
    command = await watching.start("--once")
    good, bad = await watching.jobs(2)
    await Stages(joblog, good.job_id).complete(store)
    await Stages(joblog, bad.job_id).fail()
    ended = await command.ended()
    assert (ended.code, ended.err) == (1, "subtide: 1 of the recordings failed; see the .error.txt beside them.\n")
    assert results(folder, "a") == RESULTS
    assert (await (await watching.start("--once")).ended()).code == 0


async def test_a_second_watcher_of_a_folder_is_refused(watching: Watching, subtide: CommandLine, folder: Path) -> None:
    first = await watching.start()
    second = await subtide("watch-folder", str(folder), "--server", "http://127.0.0.1:1")
    assert (second.code, second.err) == (1, f"subtide: Another `subtide watch-folder` works on {folder}.\n")
    await stopped(first)
    assert await watching.start()


async def test_a_job_that_the_server_does_not_know_any_more_is_a_failure(
    watching: Watching, folder: Path, subtide: CommandLine
) -> None:
    (folder / "talk.mp4").write_bytes(b"sound")
    first = await watching.start()
    await first.says("submitted")
    await stopped(first)
    journal = folder / ".subtide" / "watched.jsonl"
    noted = json.loads(journal.read_bytes().strip())
    journal.write_text(json.dumps(noted | {"token": "wrong"}) + "\n")
    second = await watching.start()
    await second.says("failed talk.mp4: There is no such job, or this token does not open it.")


async def test_no_folder_is_told_in_a_sentence(subtide: CommandLine) -> None:
    ended = await subtide("watch-folder", "nowhere")
    assert (ended.code, ended.err) == (1, f"subtide: There is no folder {subtide.home / 'nowhere'}.\n")
