"""Runs services in this process until it is told to stop; a stage is a durable, a handler and its workers."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress

import msgspec
from faststream import FastStream
from faststream.nats import NatsBroker
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.kv import KeyValue

from chassis import telemetry
from chassis.broker import make_broker, make_whole, subscribe, until_lost, until_provisioned
from chassis.handbacks import Handbacks
from chassis.joblog import JobLog
from chassis.provision import provision
from chassis.settings import Connections, SettingsError, load
from chassis.settle import Decode, Handler, Settler, the_body
from chassis.stopping import Stopped, unless_stopped
from chassis.store import Store
from contracts import facts, subjects, topology

Serve = Callable[[Mapping[str, str], asyncio.Event], Awaitable[None]]
"""A service: serves from an environment until the event is set."""


class Connected:
    """What a handler may stand on, once there is a connection."""

    def __init__(self, client: Client, store: Store) -> None:
        self.joblog = JobLog(client)
        self.store = store
        self.js = client.jetstream()

    async def bucket(self, name: str) -> KeyValue:
        """A KV bucket of the topology."""
        return await self.js.key_value(name)


async def serve_stage(
    environ: Mapping[str, str],
    stop: asyncio.Event,
    *,
    durable: topology.Durable,
    workers: int,
    build: Callable[[Connected, AsyncExitStack], Awaitable[Handler]],
    decode: Callable[[Connected], Decode] = lambda _: the_body,
) -> None:
    """Consume a durable until `stop`, then hand back what is in work.

    `build` makes the handler once connected; what it puts on the stack is closed after the hand-back. A durable that
    was deleted is made again, and is sent the log from its start: what was done before is found done.
    """
    while not stop.is_set():
        await _serve_until_lost(environ, stop, durable=durable, workers=workers, build=build, decode=decode)


async def _serve_until_lost(
    environ: Mapping[str, str],
    stop: asyncio.Event,
    *,
    durable: topology.Durable,
    workers: int,
    build: Callable[[Connected, AsyncExitStack], Awaitable[Handler]],
    decode: Callable[[Connected], Decode],
) -> None:
    connections = load(Connections, "", environ)
    numbers = load(topology.Numbers, "SUBTIDE_", environ)
    store = Store(connections.artifacts_url)
    log = telemetry.logger(stage=durable.name)
    async with AsyncExitStack() as stack:

        async def prepared() -> tuple[NatsBroker, Client, Settler]:
            broker = make_broker(connections.nats_url, durable.name)
            client = await broker.connect()
            stack.push_async_callback(broker.stop)
            await until_provisioned(client, durable)
            await make_whole(client, numbers)
            connected = Connected(client, store)
            handbacks = Handbacks(await connected.bucket(topology.HANDBACKS))
            handler = await build(connected, stack)
            return (
                broker,
                client,
                Settler(durable, numbers, handler, connected.joblog, handbacks, decode(connected)),
            )

        try:
            broker, client, settler = await unless_stopped(prepared(), stop)
        except Stopped:
            return
        subscribe(broker, durable, settler, workers=workers)
        listening = await client.subscribe(subjects.live(facts.JobCancelled), cb=_cancelling(settler))
        app = FastStream(broker, logger=None)
        await app.start()
        log.info("serving", workers=workers)
        ends = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(until_lost(client, durable, numbers))]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        await listening.unsubscribe()
        await settler.hand_back()
        if stop.is_set():
            log.info("stopped")
        else:
            log.error("durable_lost", hint="it is made again")
            with suppress(Stopped):
                await unless_stopped(provision(client, numbers), stop)


def _cancelling(settler: Settler) -> Callable[[Msg], Awaitable[None]]:
    async def heard(message: Msg) -> None:
        try:
            fact = facts.decode(message.data)
        except msgspec.MsgspecError:
            return
        if isinstance(fact, facts.JobCancelled):
            settler.cancel(fact)

    return heard


def main(services: Mapping[str, Serve], environ: Mapping[str, str] | None = None) -> None:
    """Run services side by side on one event loop until SIGTERM or SIGINT. One that fails takes the process with it."""
    environ = os.environ if environ is None else environ
    telemetry.configure_logs("+".join(services), level=environ.get("SUBTIDE_LOG_LEVEL", "info"))
    try:
        asyncio.run(_run(services, environ))
    except ExceptionGroup as group:
        wrong, _ = group.split(SettingsError)
        if wrong is None:
            raise
        error: BaseException = wrong
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


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
