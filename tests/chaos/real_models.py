"""`python -m tests.chaos.real_models [FOLDER]`: kill -9 of transcriber, diarizer and nats-server under real work.

A meeting of ten minutes on `subtide up`, with production numbers. The job completes, and the receipts in the log show
how often anything was done again: at most once for each kill.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import nats
import nats.errors
import psutil

from benchmarks.media import DEFAULT, meeting
from benchmarks.pipeline import new_folder
from chassis import models
from chassis.broker import CONNECT_OPTIONS
from chassis.joblog import JobLog
from cli.standalone.folder import Running, read_running
from contracts import facts
from contracts.failures import EngineError

_SECONDS = 600
_START_S = 90.0
_JOB_S = 900.0
_STOP_S = 30.0
_IN_WORK_S = 5.0
"""How long something is left to work before it is killed."""


async def _run(media: Path) -> list[str]:
    """What is wrong, in sentences."""
    with new_folder() as root:
        recording = meeting(media, root.parent / "meeting.wav", _SECONDS)
        process = _launched(root)
        try:
            running = await _until(lambda: read_running(root), _START_S, "the stack to come up")
            return await _judge(process.pid, running, recording)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(process.wait, _STOP_S)
            finally:
                process.kill()


def _launched(root: Path) -> "subprocess.Popen[bytes]":
    with (root.parent / "up.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "cli.main", "up", "--data", str(root), "--port", "0"],
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=Path(__file__).resolve().parents[2],
        )


async def _judge(stack: int, running: Running, recording: Path) -> list[str]:
    async with httpx.AsyncClient(base_url=running.gateway_url, timeout=120) as http:
        with recording.open("rb") as file:
            answer = await http.post("/api/jobs/submit", files={"file": ("meeting.wav", file)})
    answer.raise_for_status()
    job_id = answer.json()["job_id"]
    client = await nats.connect(running.nats_url, error_cb=_expected, **CONNECT_OPTIONS)
    try:
        began = time.monotonic()
        job = _Job(JobLog(client), job_id)
        kills = [
            ("the transcriber", ["services", "transcriber"], lambda known: _count(known, facts.ChunkTranscribed) >= 1),
            ("the diarizer", ["services", "diarizer"], lambda known: True),
            ("nats-server", ["nats-server"], lambda known: _count(known, facts.ChunkTranscribed) >= 2),
        ]
        for name, words, is_time in kills:
            await job.until(is_time)
            await asyncio.sleep(_IN_WORK_S)
            if await job.is_over():
                return [f"the job was over before {name} could be killed: take a longer recording"]
            for pid in _pids(stack, words):
                os.kill(pid, signal.SIGKILL)
            print(f"  {time.monotonic() - began:4.0f} s: killed {name}", flush=True)
        known = await job.until(lambda known: any(facts.ends_run(fact) for fact in known))
        print(f"  {time.monotonic() - began:4.0f} s: the job is over", flush=True)
        return _complaints(known)
    finally:
        await client.close()


class _Job:
    """Follows a job in the log, also while the broker is away."""

    def __init__(self, joblog: JobLog, job_id: str) -> None:
        self._joblog = joblog
        self._job_id = job_id
        self._deadline = time.monotonic() + _JOB_S

    async def until(self, condition: Callable[[list[facts.AnyFact]], bool]) -> list[facts.AnyFact]:
        """The facts once a condition holds, or the job is over."""
        while True:
            known = await self._known()
            if known and (condition(known) or any(facts.ends_run(fact) for fact in known)):
                return known
            if time.monotonic() > self._deadline:
                raise TimeoutError(f"the job is stuck: {[facts.name(fact) for fact in known]}")
            await asyncio.sleep(0.5)

    async def is_over(self) -> bool:
        """Whether it has ended."""
        return any(facts.ends_run(fact) for fact in await self._known())

    async def _known(self) -> list[facts.AnyFact]:
        try:
            return [recorded.fact for recorded in await self._joblog.facts_of(self._job_id)]
        except (OSError, TimeoutError, nats.errors.Error):
            return []


def _complaints(known: list[facts.AnyFact]) -> list[str]:
    wrong = []
    redone: dict[str, int] = {"transcriber": 0, "diarizer": 0}
    for fact in known:
        if isinstance(fact, facts.ChunkTranscribed | facts.TranscriptionPlanned):
            redone["transcriber"] += fact.receipt.attempts - 1
        elif isinstance(fact, facts.SpeakersDiarized):
            redone["diarizer"] += fact.receipt.attempts - 1
        elif isinstance(fact, facts.JobFailed | facts.JobCancelled):
            wrong.append(f"the job is {facts.name(fact)}")
        elif isinstance(fact, facts.JobCompleted) and fact.warnings:
            wrong.append(f"the job has warnings: {fact.warnings}")
    chunks = _count(known, facts.ChunkTranscribed)
    print(f"  chunks {chunks}, done again {redone['transcriber']}; diarizations done again {redone['diarizer']}")
    # Each had one kill of its own, and the broker's.
    wrong += [f"the {stage} did {count} again for two kills" for stage, count in redone.items() if count > 2]
    return wrong


def _count(known: list[facts.AnyFact], kind: type[facts.Fact]) -> int:
    return sum(isinstance(fact, kind) for fact in known)


def _pids(stack: int, words: list[str]) -> list[int]:
    """The processes below the stack whose command line ends in these words, or is that program."""
    found = []
    for process in psutil.Process(stack).children(recursive=True):
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        if command[-len(words) :] == words or (command and Path(command[0]).name == words[0]):
            found.append(process.pid)
    assert found, f"nothing runs as {' '.join(words)}"
    return found


async def _until(condition: Callable[[], Any], timeout_s: float, what: str) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited too long for {what}")
        await asyncio.sleep(0.2)
    return value


async def _expected(_: Exception) -> None:
    """That the broker is away is what we wanted."""


def main() -> None:
    """Run, or say in a line why not."""
    media = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    if not any(media.glob("meeting-*.wav")):
        print(f"No chaos with real models: {media} holds no meeting-*.wav. Name a folder that does.")
        return
    try:
        models.find("whisper-base")
    except EngineError as error:
        print(f"No chaos with real models: {error}")
        return
    print("Chaos with real models: a meeting of ten minutes, and kill -9 of what works on it.", flush=True)
    wrong = asyncio.run(_run(media))
    for sentence in wrong:
        print(f"WRONG: {sentence}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
