"""Runs services in this process until it is told to stop; a stage is a durable, a handler and its workers."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack

from faststream import FastStream
from nats.aio.client import Client
from nats.js.kv import KeyValue

from chassis import telemetry
from chassis.broker import make_broker, subscribe, until_provisioned
from chassis.handbacks import Handbacks
from chassis.joblog import JobLog
from chassis.settings import Connections, load
from chassis.settle import Handler, Settler
from chassis.store import Store
from contracts import topology

Serve = Callable[[Mapping[str, str], asyncio.Event], Awaitable[None]]
"""A service: serves from an environment until the event is set."""


class Connected:
    """What a handler may stand on, once there is a connection."""

    def __init__(self, client: Client, store: Store) -> None:
        self.joblog = JobLog(client)
        self.store = store
        self._js = client.jetstream()

    async def bucket(self, name: str) -> KeyValue:
        """A KV bucket of the topology."""
        return await self._js.key_value(name)


async def serve_stage(
    environ: Mapping[str, str],
    stop: asyncio.Event,
    *,
    durable: topology.Durable,
    workers: int,
    build: Callable[[Connected, AsyncExitStack], Awaitable[Handler]],
) -> None:
    """Consume a durable until `stop`, then hand back what is in work.

    `build` makes the handler once connected; what it puts on the stack is closed after the hand-back.
    """
    connections = load(Connections, "", environ)
    numbers = load(topology.Numbers, "SUBTIDE_", environ)
    log = telemetry.logger(stage=durable.name)
    async with AsyncExitStack() as stack:
        broker = make_broker(connections.nats_url, durable.name)
        client = await broker.connect()
        stack.push_async_callback(broker.stop)
        await until_provisioned(client, durable)
        connected = Connected(client, Store(connections.artifacts_url))
        handbacks = Handbacks(await connected.bucket(topology.HANDBACKS))
        handler = await build(connected, stack)
        settler = Settler(durable, numbers, handler, connected.joblog, handbacks)
        subscribe(broker, durable, settler, workers=workers)
        app = FastStream(broker, logger=None)
        await app.start()
        log.info("serving", workers=workers)
        await stop.wait()
        await settler.hand_back()
        log.info("stopped")


def main(services: Mapping[str, Serve], environ: Mapping[str, str] | None = None) -> None:
    """Run services side by side on one event loop until SIGTERM or SIGINT. One that fails takes the process with it."""
    environ = os.environ if environ is None else environ
    telemetry.configure_logs("+".join(services), level=environ.get("SUBTIDE_LOG_LEVEL", "info"))
    asyncio.run(_run(services, environ))


async def _run(services: Mapping[str, Serve], environ: Mapping[str, str]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    watch = telemetry.LoopWatch()
    watch.start()
    try:
        async with asyncio.TaskGroup() as group:
            for name, serve in services.items():
                group.create_task(_serve(serve, environ, stop), name=name)
    finally:
        telemetry.logger().info("event_loop", worst_blocked_s=round(await watch.stop(), 3))


async def _serve(serve: Serve, environ: Mapping[str, str], stop: asyncio.Event) -> None:
    await serve(environ, stop)
