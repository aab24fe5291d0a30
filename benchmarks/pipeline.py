"""The pipeline as a user meets it: a stack on a folder of its own, a file over HTTP, facts over the websocket."""

import json
import os
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
from websockets.asyncio.client import connect

from cli.up import stack


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One job. Times are seconds from the first byte of the submit."""

    job_id: str
    token: str
    total_s: float
    first_caption_s: float | None
    progress: list[float]
    job: dict[str, Any]


@asynccontextmanager
async def running_stack() -> AsyncIterator[str]:
    """A stack with nothing in its store; yields its address."""
    with new_folder() as data:
        async with stack_on(data) as address:
            yield address


@contextmanager
def new_folder() -> Iterator[Path]:
    """A data folder that any user may enter, as Postgres must; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="subtide-benchmark-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "data"


def stack_on(data: Path) -> AbstractAsyncContextManager[str]:
    """A stack on this data folder, on free ports; yields its address."""
    return stack(data, 0, dict(os.environ), lambda _: None)


async def transcribe(address: str, path: Path, **parameters: str) -> Outcome:
    """Submit a file and follow it to its end. Raises RuntimeError where the job fails."""
    async with httpx.AsyncClient(base_url=address, timeout=120) as http:
        began = time.perf_counter()
        with path.open("rb") as file:
            answer = await http.post("/api/jobs/submit", files={"file": (path.name, file)}, data=parameters)
        answer.raise_for_status()
        accepted = answer.json()
        first_caption_s = None
        progress: list[float] = []
        async with connect(f"{address.replace('http', 'ws', 1)}/ws", max_size=None) as socket:
            subscribe = {
                "type": "subscribe",
                "job_id": accepted["job_id"],
                "token": accepted["access_token"],
                "since": 0,
            }
            await socket.send(json.dumps(subscribe))
            async for text in socket:
                message = json.loads(text)
                if message["type"] == "progress":
                    progress.append(message["progress"])
                elif message["type"] == "fact":
                    if message["fact"] == "chunk_transcribed" and first_caption_s is None:
                        first_caption_s = time.perf_counter() - began
                    if message["fact"] in ("completed", "failed", "cancelled"):
                        break
        total_s = time.perf_counter() - began
        headers = {"Authorization": f"Bearer {accepted['access_token']}"}
        job = (await http.get(f"/api/jobs/{accepted['job_id']}", headers=headers)).json()
    if job["status"] != "completed":
        raise RuntimeError(f"{path.name}: {job['error_code']} {job['error_message']}")
    return Outcome(
        job_id=accepted["job_id"],
        token=accepted["access_token"],
        total_s=total_s,
        first_caption_s=first_caption_s,
        progress=progress,
        job=job,
    )


async def download(address: str, outcome: Outcome, name: str) -> str:
    """One format of a finished job."""
    async with httpx.AsyncClient(base_url=address, timeout=60) as http:
        answer = await http.get(
            f"/api/jobs/{outcome.job_id}/download/{name}", headers={"Authorization": f"Bearer {outcome.token}"}
        )
        answer.raise_for_status()
        return answer.text


class PeakMemory:
    """The most memory that our descendants held together: proportional set size, so shared pages count once."""

    def __init__(self, *, every_s: float = 0.5) -> None:
        self._every_s = every_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.peak_bytes = 0

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        ours = psutil.Process()
        while not self._done.wait(self._every_s):
            total = 0
            for child in ours.children(recursive=True):
                try:
                    total += child.memory_full_info().pss
                except psutil.Error:
                    continue
            self.peak_bytes = max(self.peak_bytes, total)
