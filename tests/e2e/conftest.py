"""The whole stack with the real models, as a user starts it: `subtide up` in a process of its own."""

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import nats
import pytest

from chassis.joblog import Entry, JobLog
from cli.standalone.folder import Running, read_running

_START_S = 60
_STOP_S = 20
_JOB_S = 240


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """A running stack."""

    root: Path
    running: Running
    http: httpx.Client

    @property
    def url(self) -> str:
        """Where the gateway answers."""
        return self.running.gateway_url

    def submit(self, path: Path, name: str | None = None, **parameters: str) -> httpx.Response:
        """Hand a file over."""
        with path.open("rb") as file:
            files = {"file": (name or path.name, file)}
            return self.http.post("/api/jobs/submit", files=files, data=parameters)

    def ended(self, accepted: dict[str, Any]) -> dict[str, Any]:
        """The job once its run is over."""
        deadline = time.monotonic() + _JOB_S
        while time.monotonic() < deadline:
            job = self.get(accepted, "").json()
            if job["status"] in ("completed", "failed", "cancelled"):
                return dict(job)
            time.sleep(0.2)
        raise AssertionError(f"the job did not end: {job}")

    def get(self, accepted: dict[str, Any], path: str) -> httpx.Response:
        """Ask the gateway of a job with the job's own token."""
        headers = {"Authorization": f"Bearer {accepted['access_token']}"}
        return self.http.get(f"/api/jobs/{accepted['job_id']}{path}", headers=headers)

    def log(self) -> list[Entry]:
        """Everything in the log, as anybody could read it."""

        async def read() -> list[Entry]:
            client = await nats.connect(self.running.nats_url)
            try:
                return await JobLog(client).read(1, 10_000)
            finally:
                await client.close()

        return asyncio.run(read())

    def files(self) -> set[str]:
        """Names of everything below the artifact store and its workspaces."""
        places = (self.root / "artifacts", self.root / "tmp")
        return {str(path.relative_to(self.root)) for place in places for path in place.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The stack of all tests that need no other."""
    with started(SUBTIDE_MAX_QUEUED_JOBS="50") as running:
        yield running


@contextmanager
def started(**settings: str) -> Iterator[Stack]:
    """A stack on an empty folder; stopped, and checked to stop, at the end."""
    with tempfile.TemporaryDirectory(prefix="subtide-e2e-") as folder:
        root = Path(folder) / "data"
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "up", "--data", str(root), "--port", "0"],
            env=os.environ | settings,
            start_new_session=True,
        )
        try:
            running = _when_running(root, process)
            with httpx.Client(base_url=running.gateway_url, timeout=60) as http:
                yield Stack(root=root, running=running, http=http)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_S)
            finally:
                process.kill()


@pytest.fixture(scope="session")
def call() -> Path:
    """What the tests speak of as the call."""
    return sample_call()


def sample_call() -> Path:
    """The two-speaker telephone call inside the pyannote.audio package, found without importing it."""
    found = importlib.util.find_spec("pyannote")
    assert found is not None
    return next(
        path
        for place in found.submodule_search_locations or []
        if (path := Path(place) / "audio" / "sample" / "sample.wav").is_file()
    )


def _when_running(root: Path, process: "subprocess.Popen[bytes]") -> Running:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "subtide up ended"
        running = read_running(root)
        if running is not None:
            return running
        time.sleep(0.1)
    raise AssertionError("subtide up did not come up")
