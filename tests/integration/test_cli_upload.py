"""`subtide submit` sends files so that they arrive: over a line that breaks, past servers and commands that die."""

import asyncio
import json
import os
import signal
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from benchmarks.cutting import CuttingProxy
from chassis.joblog import JobLog
from chassis.store import Store
from cli.client import BATCH_MAX
from cli.standalone.folder import DataFolder
from cli.standalone.server import free_port
from contracts import facts
from tests.chaos.cluster import SMALL, running
from tests.chaos.engines import Misdeed, Script
from tests.integration.conftest import Gateway, running_gateway, until
from tests.integration.projecting import process
from tests.integration.stages import RESULTS, Stages
from tests.integration.test_cli import PATIENCE_S, CommandLine, Ended

PART = 1 << 20
CONTENT = bytes(range(256)) * 24_000  # six parts
SETTINGS = {
    "SUBTIDE_GATEWAY_UPLOAD_PART_BYTES": str(PART),
    "SUBTIDE_GATEWAY_UPLOAD_LEASE_S": "0.5",
    "SUBTIDE_GATEWAY_SECRET": "a secret of the tests",
}


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    """Small parts, a short lease, and a secret that outlives a gateway."""
    return environ | SETTINGS


@pytest.fixture
async def subtide(tmp_path: Path) -> AsyncIterator[CommandLine]:
    (tmp_path / "home").mkdir()
    command_line = CommandLine(tmp_path / "home")
    yield command_line
    await command_line.kill()


@pytest.fixture
def talk(subtide: CommandLine) -> Path:
    return recording(subtide, "talk.mp4", CONTENT)


def recording(subtide: CommandLine, name: str, content: bytes) -> Path:
    path = subtide.home / name
    path.write_bytes(content)
    return path


def port(gateway: Gateway) -> int:
    return int(gateway.url.rpartition(":")[2])


def kept(subtide: CommandLine) -> list[Path]:
    """What is remembered of uploads that were begun."""
    return list((subtide.home / "share/subtide/begun").glob("*.json"))


async def submit(subtide: CommandLine, server: str, *given: str | Path) -> Ended:
    ended = await subtide("submit", *map(str, given), "--server", server)
    assert ended.code == 0, ended
    return ended


async def accepted(joblog: JobLog) -> list[facts.JobAccepted]:
    decoded = [facts.decode(entry.body) for entry in await joblog.read(1, 1000)]
    return [fact for fact in decoded if isinstance(fact, facts.JobAccepted)]


async def content_of(store: Store, fact: facts.JobAccepted) -> bytes:
    assert fact.source is not None
    return b"".join([block async for block in store.read(fact.source)])


async def test_a_file_arrives_over_a_line_that_is_cut_again_and_again(
    subtide: CommandLine, gateway: Gateway, joblog: JobLog, store: Store, talk: Path
) -> None:
    cuts = [(n * PART + PART // 2, None) for n in range(5)]
    with CuttingProxy(port(gateway), cuts) as proxy:
        await submit(subtide, f"http://127.0.0.1:{proxy.port}", talk)
        assert proxy.cuts == 5
    [fact] = await accepted(joblog)
    assert await content_of(store, fact) == CONTENT
    assert kept(subtide) == []


async def test_a_command_that_was_killed_in_mid_upload_goes_on_where_it_was(
    subtide: CommandLine, gateway: Gateway, joblog: JobLog, store: Store, talk: Path
) -> None:
    sending: list[int] = []
    with CuttingProxy(port(gateway), [(4 * PART, lambda: os.kill(sending[0], signal.SIGKILL))]) as proxy:
        server = f"http://127.0.0.1:{proxy.port}"
        command = await subtide.start("submit", str(talk), "--server", server)
        sending.append(command.process.pid)
        assert (await command.ended()).code == -signal.SIGKILL
    [file] = kept(subtide)
    DataFolder(file.parent.parent)  # where a stack has its data by default: it takes the folder for its own
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700

    with CuttingProxy(port(gateway), []) as proxy:
        await submit(subtide, f"http://127.0.0.1:{proxy.port}", talk)
        assert proxy.passed < 4 * PART
    [fact] = await accepted(joblog)
    assert await content_of(store, fact) == CONTENT
    assert kept(subtide) == []


async def test_a_gateway_that_is_killed_in_mid_upload_does_not_matter(
    subtide: CommandLine, environ: dict[str, str], joblog: JobLog, store: Store, talk: Path, tmp_path: Path
) -> None:
    environ = environ | {"SUBTIDE_GATEWAY_PORT": str(free_port())}
    at = int(environ["SUBTIDE_GATEWAY_PORT"])
    with process("services.gateway", environ=environ, log=tmp_path / "first.log") as first:
        await answers(at)
        with CuttingProxy(at, [(3 * PART, first.kill)]) as proxy:
            command = await subtide.start("submit", str(talk), "--server", f"http://127.0.0.1:{proxy.port}")
            await asyncio.to_thread(first.wait)
            with process("services.gateway", environ=environ, log=tmp_path / "second.log"):
                ended = await command.ended()
    assert ended.code == 0, ended
    [fact] = await accepted(joblog)
    assert await content_of(store, fact) == CONTENT


async def answers(at: int) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:

        async def alive() -> bool:
            try:
                return (await http.get(f"http://127.0.0.1:{at}/health/live")).status_code == 200
            except httpx.TransportError:
                return False

        await until(alive, PATIENCE_S)


async def test_an_upload_that_the_server_forgot_is_sent_anew(
    subtide: CommandLine, gateway: Gateway, joblog: JobLog, store: Store, talk: Path
) -> None:
    async def end_uploads() -> None:
        (upload,) = [json.loads(file.read_bytes())["upload"] for file in kept(subtide)]
        answer = await gateway.http.delete(
            f"/api/uploads/{upload['upload_id']}",
            headers={"Tus-Resumable": "1.0.0", "Authorization": f"Bearer {upload['upload_token']}"},
        )
        assert answer.status_code == 204, answer.text

    sending: list[int] = []
    with CuttingProxy(port(gateway), [(2 * PART, lambda: os.kill(sending[0], signal.SIGKILL))]) as proxy:
        command = await subtide.start("submit", str(talk), "--server", f"http://127.0.0.1:{proxy.port}")
        sending.append(command.process.pid)
        await command.ended()
    await end_uploads()
    await submit(subtide, gateway.url, talk)
    [fact] = await accepted(joblog)
    assert await content_of(store, fact) == CONTENT


async def test_a_file_that_changed_since_is_another(
    subtide: CommandLine, gateway: Gateway, joblog: JobLog, store: Store, talk: Path
) -> None:
    sending: list[int] = []
    with CuttingProxy(port(gateway), [(2 * PART, lambda: os.kill(sending[0], signal.SIGKILL))]) as proxy:
        command = await subtide.start("submit", str(talk), "--server", f"http://127.0.0.1:{proxy.port}")
        sending.append(command.process.pid)
        await command.ended()
    talk.write_bytes(b"other" + CONTENT[5:])
    await submit(subtide, gateway.url, talk)
    [fact] = await accepted(joblog)
    assert await content_of(store, fact) == b"other" + CONTENT[5:]


async def test_a_file_that_grows_while_it_is_sent_is_refused_in_a_sentence(
    subtide: CommandLine, gateway: Gateway, joblog: JobLog, talk: Path
) -> None:
    def grow() -> None:
        with talk.open("ab") as file:
            file.write(b"more")

    with CuttingProxy(port(gateway), [(2 * PART, grow)]) as proxy:
        ended = await subtide("submit", str(talk), "--server", f"http://127.0.0.1:{proxy.port}")
    assert ended.code == 1
    assert ended.err.endswith("changed while it was sent. Submit it once nobody writes to it any more.\n")
    assert await accepted(joblog) == []


async def test_a_command_killed_before_it_knew_of_its_job_gets_the_same_job_again(
    subtide: CommandLine, gateway: Gateway, joblog: JobLog, talk: Path
) -> None:
    (subtide.home / "share/subtide").mkdir(parents=True)
    (subtide.home / "share/subtide/jobs.json").mkdir()  # the token cannot be kept: as good as killed
    ended = await subtide("submit", str(talk), "--server", gateway.url)
    assert ended.code == 1
    assert len(await accepted(joblog)) == 1
    (subtide.home / "share/subtide/jobs.json").rmdir()
    job_id = (await submit(subtide, gateway.url, talk)).out.strip()
    assert [fact.job_id for fact in await accepted(joblog)] == [job_id]
    # and with other settings, which make it another job
    again = (await submit(subtide, gateway.url, talk, "--language", "es")).out.strip()
    assert [fact.job_id for fact in await accepted(joblog)] == [job_id, again]


async def test_an_upload_with_a_job_that_nobody_here_knows_of_is_sent_anew(
    subtide: CommandLine, gateway: Gateway, joblog: JobLog, talk: Path
) -> None:
    (subtide.home / "share/subtide").mkdir(parents=True)
    (subtide.home / "share/subtide/jobs.json").mkdir()
    assert (await subtide("submit", str(talk), "--server", gateway.url)).code == 1
    (subtide.home / "share/subtide/jobs.json").rmdir()
    ended = await submit(subtide, gateway.url, talk, "--language", "es")
    first, second = await accepted(joblog)
    assert (second.job_id, second.parameters.language) == (ended.out.strip(), "es")
    assert first.source != second.source


async def test_several_recordings_are_one_batch_in_their_order(
    subtide: CommandLine, gateway: Gateway, joblog: JobLog
) -> None:
    files = [recording(subtide, f"{n}.mp4", f"sound {n}".encode()) for n in (2, 1)]
    url = "https://talks.example/talk.mp4"
    ended = await submit(subtide, gateway.url, files[0], url, files[1], "--language", "es")
    [batch] = [
        fact for entry in await joblog.read(1, 100) if isinstance(fact := facts.decode(entry.body), facts.BatchAccepted)
    ]
    assert ended.out.split() == [item.job_id for item in batch.items]
    assert [item.filename for item in batch.items] == ["2.mp4", "talk.mp4", "1.mp4"]
    assert batch.parameters.language == "es"
    known = json.loads((subtide.home / "share/subtide/jobs.json").read_bytes())
    assert {job["job_id"] for job in known} == set(ended.out.split())
    assert kept(subtide) == []


async def test_what_is_wrong_with_one_recording_keeps_no_other_back(
    subtide: CommandLine, environ: dict[str, str], joblog: JobLog
) -> None:
    files = [recording(subtide, f"{n}.mp4", b"sound" * n) for n in (0, 1, 2, 3)]
    async with running_gateway(environ | {"SUBTIDE_GATEWAY_MAX_UPLOAD_BYTES": "10"}) as gateway:
        ended = await subtide("submit", *map(str, files), "http://127.0.0.1/x.mp4", "--server", gateway.url)
    assert ended.code == 1
    empty, large, address = ended.err.splitlines()[-3:]
    assert empty == f"subtide: {files[0]}: {files[0]} is empty."
    assert large == f"{files[3]}: The file has 15 bytes, and this server accepts at most 10."
    assert address.startswith("x.mp4: This server does not fetch from there (this machine).")
    [batch] = [facts.decode(entry.body) for entry in await joblog.read(1, 100)]
    assert isinstance(batch, facts.BatchAccepted)
    assert [item.filename for item in batch.items] == ["1.mp4", "2.mp4"]


async def test_more_than_a_batch_takes_are_several_batches(
    subtide: CommandLine, gateway: Gateway, joblog: JobLog
) -> None:
    urls = [f"https://talks.example/{n}.mp4" for n in range(BATCH_MAX + 1)]
    ended = await submit(subtide, gateway.url, *urls)
    assert "101 recordings are sent as batches of at most 100." in ended.err
    taken = [facts.decode(entry.body) for entry in await joblog.read(1, 100)]
    assert [type(fact) for fact in taken] == [facts.BatchAccepted, facts.JobAccepted]
    assert len(ended.out.split()) == BATCH_MAX + 1


async def test_a_busy_server_is_sent_nothing_twice(
    subtide: CommandLine, environ: dict[str, str], joblog: JobLog, talk: Path
) -> None:
    limits = {"SUBTIDE_MAX_ACTIVE_JOBS": "1", "SUBTIDE_MAX_QUEUED_JOBS": "0"}
    async with running_gateway(environ | limits) as gateway:
        await gateway.submit()
        ended = await subtide("submit", str(talk), "--server", gateway.url)
        assert ended.err.splitlines()[-1].startswith("subtide: System busy: ")
    async with running_gateway(environ) as gateway:
        with CuttingProxy(port(gateway), []) as proxy:
            await submit(subtide, f"http://127.0.0.1:{proxy.port}", talk)
            assert proxy.passed < PART
    assert len(await accepted(joblog)) == 2


async def test_a_batch_that_is_waited_for_writes_the_subtitles_of_each(
    subtide: CommandLine, gateway: Gateway, joblog: JobLog, store: Store
) -> None:
    files = [recording(subtide, f"{n}.mp4", f"sound {n}".encode()) for n in range(2)]
    waiting = await subtide.start("submit", *map(str, files), "--wait", "--server", gateway.url)
    await until(lambda: len(waiting.out.split()) == 2, PATIENCE_S)
    good, bad = waiting.out.decode().split()
    [batch] = [facts.decode(entry.body) for entry in await joblog.read(1, 100)]
    assert isinstance(batch, facts.BatchAccepted)
    for item in batch.items:
        await joblog.append(
            facts.JobAccepted(
                job_id=item.job_id,
                run=1,
                owner=batch.owner,
                at=batch.at,
                filename=item.filename,
                source=item.source,
                parameters=batch.parameters,
                token_sha256=item.token_sha256,
            )
        )
    await Stages(joblog, good).complete(store)
    await Stages(joblog, bad).fail()
    ended = await waiting.ended()
    assert ended.code == 1
    assert f"subtide: {files[1]}: The file has no sound track." in ended.err
    assert {path.suffix[1:]: path.read_bytes() for path in subtide.home.glob("0.*") if path != files[0]} == RESULTS


async def test_twenty_files_become_twenty_subtitles(subtide: CommandLine) -> None:
    files = [
        recording(subtide, f"{n:02}.mp4", Script(salt=f"twenty {n}", chunks=1 + n % 2).upload()) for n in range(19)
    ]
    bad = Script(salt="twenty bad", misdeeds=[Misdeed(step="extract", act="permanent")])
    files.append(recording(subtide, "bad.mp4", bad.upload()))
    limits = {"SUBTIDE_MAX_ACTIVE_JOBS": "4", "SUBTIDE_MAX_QUEUED_JOBS": "1", "SUBTIDE_TRANSCRIBER_WORKERS": "1"}
    async with running(members=SMALL, environ=limits) as cluster:
        ended = await subtide(
            "submit", *map(str, files), "--wait", "--output", "subtitles", "--server", cluster.gateways[0]
        )
    assert ended.code == 1
    assert [line for line in ended.err.splitlines() if "subtide: " in line] == [
        f"subtide: {files[-1]}: None of the sound in this file could be decoded. Export the recording again and send "
        "the new file."
    ]
    written = sorted(path.name for path in (subtide.home / "subtitles").glob("*.srt"))
    assert written == [f"{n:02}.srt" for n in range(19)]
