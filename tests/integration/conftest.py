"""Real servers for the integration tests: one nats-server and one Postgres a session, clean state for each test."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import nats
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError, ServerError

from chassis.broker import CONNECT_OPTIONS
from chassis.joblog import JobLog
from chassis.provision import provision
from chassis.store import Store
from cli.standalone.nats import NatsServer
from cli.standalone.postgres import PostgresServer
from cli.standalone.server import free_port
from contracts import topology
from contracts.projection import SCHEMA
from services.gateway.app import serve as serve_gateway

_NO_STORE = 10049


async def until(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """Wait until a condition (plain or async) holds, and return what it returned."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    async with asyncio.timeout(timeout_s):
        while asyncio.get_running_loop().time() < deadline:  # asyncio.wait_for may lose a cancellation (cpython#86296)
            value = condition()
            if isinstance(value, Awaitable):
                value = await value
            if value:
                return value
            await asyncio.sleep(0.02)
    raise TimeoutError


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A nats-server for the session; it keeps its address over `stop` and `start`."""
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A Postgres for the session; it keeps its address over `stop` and `start`."""
    # Not pytest's folder, which is its user's alone: as root, Postgres runs as somebody else.
    folder = Path(tempfile.mkdtemp(prefix="subtide-test-postgres-"))
    try:
        with PostgresServer(folder) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def numbers() -> topology.Numbers:
    """The numbers the topology is provisioned with; a test module may override them."""
    return topology.Numbers(jobs_max_bytes=64 << 20)


@pytest.fixture
async def client(nats_server: NatsServer, numbers: topology.Numbers) -> AsyncIterator[Client]:
    """A connection to a broker with an empty, freshly provisioned topology."""
    connected = await nats.connect(nats_server.url, **CONNECT_OPTIONS)
    await reset(connected, numbers)
    yield connected
    await connected.close()


@pytest.fixture
def joblog(client: Client) -> JobLog:
    """The log, to play the stages on."""
    return JobLog(client)


@pytest.fixture
async def database_url(postgres_server: PostgresServer) -> str:
    """A Postgres without the projection."""
    connection = await asyncpg.connect(postgres_server.url)
    await connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    await connection.close()
    return postgres_server.url


@pytest.fixture
def artifacts_url(tmp_path: Path) -> str:
    """An empty artifact store."""
    return (tmp_path / "artifacts").as_uri()


@pytest.fixture
def store(artifacts_url: str) -> Store:
    """The artifact store, to play the stages on."""
    return Store(artifacts_url)


@pytest.fixture
def environ(client: Client, nats_server: NatsServer, database_url: str, artifacts_url: str) -> dict[str, str]:
    """The environment of a service that uses all three."""
    return {"NATS_URL": nats_server.url, "DATABASE_URL": database_url, "ARTIFACTS_URL": artifacts_url}


class Gateway:
    """A gateway that runs in this process."""

    def __init__(self, url: str, http: httpx.AsyncClient, stop: asyncio.Event, task: asyncio.Task[None]) -> None:
        self.url = url
        self.ws_url = url.replace("http://", "ws://") + "/ws"
        self.http = http
        self.stop = stop
        self.task = task

    async def submit(self, content: bytes = b"sound", **fields: str) -> dict[str, Any]:
        """Submit a recording and return what was answered."""
        answer = await self.http.post("/api/jobs/submit", files={"file": ("talk.mp4", content)}, data=fields)
        assert answer.status_code == 202, answer.text
        body: dict[str, Any] = answer.json()
        return body


@asynccontextmanager
async def running_gateway(environ: dict[str, str]) -> AsyncIterator[Gateway]:
    """A gateway on a free port; stopped at the end."""
    port = free_port()
    stop = asyncio.Event()
    task = asyncio.create_task(serve_gateway(environ | {"SUBTIDE_GATEWAY_PORT": str(port)}, stop))
    url = f"http://127.0.0.1:{port}"
    # There is no TLS here, and to load the authorities of a client that knows it takes longer than most requests.
    async with httpx.AsyncClient(base_url=url, timeout=20, verify=False) as http:

        async def answers() -> bool:
            if task.done():
                task.result()
            try:
                return (await http.get("/health/live")).status_code == 200
            except httpx.TransportError:
                return False

        try:
            await until(answers)
            yield Gateway(url, http, stop, task)
        finally:
            stop.set()
            await asyncio.wait_for(task, 15)


@pytest.fixture
async def gateway(environ: dict[str, str]) -> AsyncIterator[Gateway]:
    """A gateway with default settings."""
    async with running_gateway(environ) as running:
        yield running


async def reset(client: Client, numbers: topology.Numbers) -> None:
    """An empty topology."""
    for attempt in range(10):
        await _delete_streams(client)
        try:
            await provision(client, numbers)
        except ServerError as error:  # the server may not have let go of a stream of that name yet
            if error.err_code != _NO_STORE or attempt == 9:
                raise
        else:
            if await _is_new(client):
                return
        await asyncio.sleep(0.2)
    raise RuntimeError("the server gives new durables the state of deleted ones")


async def _delete_streams(client: Client) -> None:
    for stream in topology.STREAMS:
        try:
            await client.jetstream().delete_stream(stream)
        except NotFoundError:
            continue


async def _is_new(client: Client) -> bool:
    """A server whose disk is slow finds the state of a deleted durable where it makes one of the same name."""
    durables = await client.jetstream().consumers_info(topology.JOBS)
    return not any(one.num_redelivered or one.delivered.consumer_seq or one.num_ack_pending for one in durables)
