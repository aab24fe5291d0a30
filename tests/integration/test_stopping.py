"""A service that waits for its broker, or for the streams, obeys when it is told to stop."""

import asyncio
import importlib

import nats
import pytest
from nats.js.errors import NotFoundError

from chassis.broker import CONNECT_OPTIONS
from cli.standalone.nats import NatsServer
from cli.standalone.server import free_port
from contracts import topology

SERVICES = [
    "dispatcher", "fetcher", "extractor", "transcriber", "diarizer", "exporter", "janitor", "notifier", "projector",
    "gateway",
]  # fmt: skip


async def stops(service: str, environ: dict[str, str]) -> None:
    stop = asyncio.Event()
    serving = asyncio.create_task(importlib.import_module(f"services.{service}.app").serve(environ, stop))
    await asyncio.wait({serving}, timeout=0.5)
    assert not serving.done()
    stop.set()
    await asyncio.wait_for(serving, 10)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_without_a_broker_stops_when_it_is_told_to(service: str, artifacts_url: str) -> None:
    nobody = f"nats://127.0.0.1:{free_port()}"
    await stops(service, {"NATS_URL": nobody, "ARTIFACTS_URL": artifacts_url, "SUBTIDE_GATEWAY_PORT": str(free_port())})


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_without_its_streams_stops_when_it_is_told_to(
    service: str, nats_server: NatsServer, artifacts_url: str
) -> None:
    client = await nats.connect(nats_server.url, **CONNECT_OPTIONS)
    for stream in topology.STREAMS:
        try:
            await client.jetstream().delete_stream(stream)
        except NotFoundError:
            continue
    await client.close()
    environ = {
        "NATS_URL": nats_server.url,
        "ARTIFACTS_URL": artifacts_url,
        "DATABASE_URL": "postgresql://127.0.0.1:1/x",
    }
    await stops(service, environ | {"SUBTIDE_GATEWAY_PORT": str(free_port())})
