"""Wiring of the janitor: three durables, and the reconciliation beside them."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress

import msgspec
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from chassis import telemetry
from chassis.admission import Limits
from chassis.broker import CONNECT_OPTIONS, saying_who_is_away
from chassis.joblog import JobLog
from chassis.service import Connected, serve_stage
from chassis.settings import Connections, load
from chassis.settle import Handler
from chassis.stopping import Stopped, unless_stopped
from chassis.store import Store
from contracts import subjects, topology
from services.janitor.handler import Burying, Expiring, Tidying, dead_letter, due
from services.janitor.reconcile import Reconciliation
from services.janitor.removal import Removal
from services.janitor.schedules import Schedules
from services.janitor.settings import Settings
from services.janitor.survey import Coming, Surveying

_QUEUE = "janitor"


async def serve(environ: Mapping[str, str], stop: asyncio.Event) -> None:
    """Tidy up, and put right what is not, until told to stop."""
    settings = load(Settings, "SUBTIDE_JANITOR_", environ)
    numbers = load(topology.Numbers, "SUBTIDE_", environ)
    limits = load(Limits, "SUBTIDE_", environ)
    connections = load(Connections, "", environ)
    store = Store(connections.artifacts_url)
    connecting = nats.connect(
        connections.nats_url,
        name="subtide-janitor",
        error_cb=saying_who_is_away(connections.nats_url),
        **CONNECT_OPTIONS,
    )
    try:
        client = await unless_stopped(connecting, stop)
    except Stopped:
        return
    joblog = JobLog(client)
    schedules = Schedules(client)
    surveying = Surveying(client, joblog)
    removal = Removal(store, surveying, Coming(client), abandoned_s=numbers.abandoned_s)
    reconciliation = Reconciliation(
        client,
        joblog,
        surveying,
        schedules,
        removal,
        numbers=numbers,
        limits=limits,
        second_look_s=settings.second_look_s,
    )

    async def tidying(connected: Connected, stack: AsyncExitStack) -> Handler:
        return Tidying(store, schedules, removal, retention_s=numbers.retention_s)

    async def expiring(connected: Connected, stack: AsyncExitStack) -> Handler:
        return Expiring(connected.joblog)

    async def burying(connected: Connected, stack: AsyncExitStack) -> Handler:
        return Burying(numbers)

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(
                serve_stage(environ, stop, durable=topology.JANITOR, workers=settings.workers, build=tidying)
            )
            group.create_task(
                serve_stage(environ, stop, durable=topology.RETENTION, workers=1, build=expiring, decode=lambda _: due)
            )
            group.create_task(
                serve_stage(
                    environ,
                    stop,
                    durable=topology.UNDERTAKER,
                    workers=1,
                    build=burying,
                    decode=lambda connected: dead_letter(connected.joblog),
                )
            )
            group.create_task(_reconcile(client, reconciliation, numbers.reconcile_s, stop))
    finally:
        await client.close()


async def _reconcile(client: Client, reconciliation: Reconciliation, every_s: float, stop: asyncio.Event) -> None:
    """Every `every_s` seconds, and whenever it is asked for."""

    async def asked(message: Msg) -> None:
        await message.respond(msgspec.json.encode(await _reconciled(reconciliation)))

    await client.subscribe(subjects.RECONCILE, queue=_QUEUE, cb=asked)
    running: asyncio.Task[dict[str, object]] | None = None
    while not stop.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), every_s)
            return
        running = asyncio.create_task(_reconciled(reconciliation))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
    if running is not None:
        running.cancel()


async def _reconciled(reconciliation: Reconciliation) -> dict[str, object]:
    """The answer. Whatever goes wrong is tried again next time: it must not take the services beside it along."""
    log = telemetry.logger(stage="janitor")
    try:
        processed = await reconciliation.run()
    except Exception as error:
        log.warning("not_reconciled", error=repr(error), exc_info=error)
        return {"error": "the janitor's log says why"}
    log.info("reconciled", processed=processed)
    return {"processed": processed}
