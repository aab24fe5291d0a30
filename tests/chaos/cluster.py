"""The whole system as separate processes on a temporary folder, with short numbers and a supervisor; made to be broken.

Everything is launched from the main thread, because the kernel is asked to kill what we launched when that thread ends.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import nats
import psutil
from nats.aio.client import Client

from chassis.broker import CONNECT_OPTIONS
from chassis.provision import provision
from chassis.store import Store
from cli.standalone.launch import launch
from cli.standalone.nats import NatsServer
from cli.standalone.postgres import PostgresServer
from cli.standalone.server import Server, StartFailed, free_port
from contracts import topology
from tests.chaos import engines

ROOT = Path(__file__).resolve().parents[2]

NUMBERS = topology.Numbers(
    ack_wait_s=3.0,
    heartbeat_s=1.0,
    retry_delay_s=0.1,
    retry_factor=2.0,
    full_wait_s=0.5,
    reconcile_s=5.0,
    abandoned_s=30.0,
    jobs_max_bytes=256 << 20,
)

WORKERS = {
    "SUBTIDE_EXTRACTOR_WORKERS": "2",
    "SUBTIDE_TRANSCRIBER_WORKERS": "2",
    "SUBTIDE_DIARIZER_WORKERS": "2",
    "SUBTIDE_EXPORTER_WORKERS": "2",
    "SUBTIDE_DISPATCHER_WORKERS": "2",
}
UNLIMITED = {
    "SUBTIDE_GATEWAY_REQUESTS_PER_MINUTE": "0",
    "SUBTIDE_GATEWAY_SUBMITS_PER_MINUTE": "0",
    "SUBTIDE_GATEWAY_WRONG_TOKENS_PER_MINUTE": "0",
    "SUBTIDE_GATEWAY_MAX_SOCKETS_PER_CLIENT": "0",
}
"""All users come from one address."""
MEMBERS = {
    "gateway": 2,
    "dispatcher": 2,
    "fetcher": 1,
    "extractor": 2,
    "transcriber": 2,
    "diarizer": 2,
    "exporter": 2,
    "projector": 2,
    "janitor": 1,
    "notifier": 1,
}
"""Processes of each service. With two workers in each there are four workers a stage, on a machine of two cores."""
SMALL = {
    "gateway": 1,
    "dispatcher": 1,
    "fetcher": 1,
    "extractor": 1,
    "transcriber": 2,
    "diarizer": 1,
    "exporter": 1,
    "projector": 1,
    "janitor": 1,
    "notifier": 1,
}

_RESTART_S = 0.3
_STORE_BYTES = 256 << 20
_READY_S = 60.0
_STOP_S = 15.0


class Service:
    """One process of a service; the supervisor starts it again unless it is `held` down."""

    def __init__(self, kind: str, number: int, environ: Mapping[str, str], log: Path) -> None:
        self.kind = kind
        self.name = f"{kind}-{number}"
        self.environ = dict(environ)
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.held = False
        self.suspended = False
        self.died_at = 0.0
        self.logged_before = 0
        """Size of the log when it was started last."""

    @property
    def alive(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Launch it."""
        self.suspended = False
        self.logged_before = self.log.stat().st_size if self.log.exists() else 0
        self.process = launch([sys.executable, "-m", f"services.{self.kind}"], env=self.environ, log=self.log)

    def kill(self) -> None:
        """SIGKILL to the process alone: its engines must see for themselves that it is gone."""
        self._signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def descendants(self) -> set[int]:
        """The processes it has made, engines among them."""
        try:
            return {child.pid for child in psutil.Process(self.pid).children(recursive=True)}
        except psutil.NoSuchProcess:
            return set()

    def suspend(self) -> None:
        """SIGSTOP to the process and its engines."""
        self.suspended = True
        self._signal(signal.SIGSTOP, group=True)

    def resume(self) -> None:
        """SIGCONT to all of them."""
        self.suspended = False
        self._signal(signal.SIGCONT, group=True)

    async def terminate(self) -> int:
        """SIGTERM, and wait. Returns the exit code; one that does not stop is killed."""
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        while self.alive and time.monotonic() < deadline:  # noqa: ASYNC110 - a process is no event
            await asyncio.sleep(0.02)
        if self.alive:
            self.kill()
            raise AssertionError(f"{self.name} did not stop on SIGTERM")
        assert self.process is not None
        return int(self.process.returncode)

    def _signal(self, number: signal.Signals, *, group: bool = False) -> None:
        if self.alive:
            with suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(self.pid, number)


class Cluster:
    """Broker, database and services."""

    def __init__(
        self,
        folder: Path,
        *,
        members: Mapping[str, int] = MEMBERS,
        numbers: topology.Numbers = NUMBERS,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.numbers = numbers
        self.notes = folder / "notes"
        self.disk = folder / "disk"
        self.logs = folder / "logs"
        self.nats = NatsServer(folder / "nats", log=folder / "logs" / "nats.log")
        self.postgres = PostgresServer(folder / "postgres")
        self.has_disk_of_its_own = False
        self._members = members
        self._extra = dict(environ or {})
        self.services: dict[str, Service] = {}
        self.held: set[str] = set()
        """Servers that the supervisor leaves down: `nats`, `postgres`."""
        self.restarts = 0

    @property
    def artifacts(self) -> Path:
        """The folder of the artifact store."""
        return self.disk / "artifacts"

    @property
    def store(self) -> Store:
        """The artifact store."""
        return Store(self.artifacts.as_uri())

    @property
    def gateways(self) -> list[str]:
        """Addresses of the gateways, running or not."""
        return [
            f"http://127.0.0.1:{service.environ['SUBTIDE_GATEWAY_PORT']}"
            for service in self.services.values()
            if service.kind == "gateway"
        ]

    def of(self, kind: str) -> list[Service]:
        """The processes of a service."""
        return [service for service in self.services.values() if service.kind == kind]

    async def connect(self) -> Client:
        """A connection to the broker."""

        async def expected(_: Exception) -> None:
            """That the broker is away is what we wanted."""

        return await nats.connect(self.nats.url, error_cb=expected, **CONNECT_OPTIONS)

    async def start(self) -> None:
        """Start everything and wait until it serves."""
        for folder in (self.folder, self.disk, self.logs, self.notes):
            folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o711)  # root's Postgres runs as somebody else, who must reach its folder
        self.has_disk_of_its_own = _mount(self.disk)
        self.artifacts.mkdir(exist_ok=True)
        self.nats.start()
        self.postgres.start()
        client = await self.connect()
        try:
            await provision(client, self.numbers)
        finally:
            await client.close()
        for kind, count in self._members.items():
            for number in range(1, count + 1):
                service = Service(kind, number, self._environ(kind), self.logs / f"{kind}-{number}.log")
                self.services[service.name] = service
                service.start()
        await self.until_serving()

    async def until_serving(self) -> None:
        """Wait until every service says in its log that it serves."""
        deadline = time.monotonic() + _READY_S
        for service in self.services.values():
            while not _said_serving(service):
                assert service.alive, f"{service.name} ended: {_tail(service.log)}"
                assert time.monotonic() < deadline, f"{service.name} does not serve: {_tail(service.log)}"
                await asyncio.sleep(0.05)

    @asynccontextmanager
    async def supervised(self) -> AsyncIterator[None]:
        """Start again what dies, as a supervisor would, for as long as the block runs."""
        task = asyncio.create_task(self._supervise())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task  # raises what the supervisor met

    def stop(self) -> None:
        """Kill what is left and unmount."""
        for service in self.services.values():
            if service.process is not None and service.process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(service.pid, signal.SIGKILL)
                service.process.wait()
        self.postgres.stop()
        self.nats.stop()
        if self.has_disk_of_its_own:
            subprocess.run(["umount", "-l", self.disk], check=False, capture_output=True)

    def fill_disk(self) -> None:
        """Leave no byte free on the artifact store's disk."""
        assert self.has_disk_of_its_own
        with (self.disk / "filler").open("ab", buffering=0) as filler:
            for size in (1 << 20, 1 << 12):
                with suppress(OSError):
                    while True:
                        filler.write(b"\0" * size)

    def free_disk(self) -> None:
        """Undo that."""
        (self.disk / "filler").unlink(missing_ok=True)

    async def _supervise(self) -> None:
        while True:
            for server in (self.nats, self.postgres):
                if server.name not in self.held and (server.process is None or server.process.poll() is not None):
                    await self._restart(server)
            for service in self.services.values():
                if service.held or service.alive:
                    continue
                if not service.died_at:
                    service.died_at = time.monotonic()
                elif time.monotonic() - service.died_at >= _RESTART_S:
                    service.died_at = 0.0
                    self.restarts += 1
                    service.start()
            await asyncio.sleep(0.05)

    async def _restart(self, server: Server) -> None:
        self.restarts += 1
        await asyncio.to_thread(server.prepare)
        server.launch()
        deadline = time.monotonic() + _READY_S
        try:
            while not await asyncio.to_thread(server.is_ready):
                assert time.monotonic() < deadline, f"{server.name} does not come back: {server.last_words()}"
                await asyncio.sleep(0.02)
        except StartFailed:
            if server.process is None or server.process.poll() != -signal.SIGKILL:
                raise
            # killed again while it came back: the next round starts it once more

    def _environ(self, kind: str) -> dict[str, str]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("SUBTIDE_")}
        environ |= {
            f"SUBTIDE_{name.upper()}": str(value) for name, value in msgspec.structs.asdict(self.numbers).items()
        }
        environ |= {
            "PYTHONPATH": str(ROOT),
            "NATS_URL": self.nats.url,
            "DATABASE_URL": self.postgres.url,
            "ARTIFACTS_URL": self.artifacts.as_uri(),
            "SUBTIDE_GATEWAY_SECRET": "one secret for every gateway of the chaos",
            **UNLIMITED,
            "SUBTIDE_EXTRACTOR_ENGINE": "tests.chaos.engines:FakeExtractor",
            "SUBTIDE_EXTRACTOR_ENGINE_FOLDERS": str(self.notes),
            "SUBTIDE_EXTRACTOR_ENGINE_VARIABLES": f"{engines.FOLDER},{engines.WORK_S}",
            "SUBTIDE_TRANSCRIBER_ENGINE": "tests.chaos.engines:FakeTranscriber",
            "SUBTIDE_DIARIZER_ENGINE": "tests.chaos.engines:FakeDiarizer",
            engines.FOLDER: str(self.notes),
            **WORKERS,
            **self._extra,
        }
        if kind == "gateway":
            environ["SUBTIDE_GATEWAY_PORT"] = str(free_port())
        return environ


@asynccontextmanager
async def running(*, keep: bool = False, **options: object) -> AsyncIterator[Cluster]:
    """A cluster on a folder of its own, which goes with it unless it is kept for a look at the logs."""
    folder = Path(tempfile.mkdtemp(prefix="subtide-chaos-"))
    cluster = Cluster(folder, **options)  # type: ignore[arg-type]
    try:
        await cluster.start()
        yield cluster
    finally:
        cluster.stop()
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _mount(folder: Path) -> bool:
    """A small disk, so that it can be filled without harm. Only root can have one."""
    if os.geteuid() != 0 or sys.platform != "linux":
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={_STORE_BYTES}", "subtide-chaos", str(folder)]
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def _said_serving(service: Service) -> bool:
    try:
        said = service.log.read_bytes()[service.logged_before :]
    except OSError:
        return False
    return b'"event": "serving"' in said or b'"another projector is the writer"' in said


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:] if log.exists() else "(no log)"
