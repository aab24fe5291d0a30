"""Wiring of the projector: one writer follows the log; whatever fails is tried again, nothing is skipped."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import asyncpg
import nats
import nats.errors
from nats.aio.client import Client

from chassis import telemetry
from chassis.broker import CONNECT_OPTIONS
from chassis.joblog import JobLog
from chassis.settings import Connections, load
from contracts import topology
from services.projector.engine import OutOfOrder
from services.projector.handler import Projection, catch_up, utc
from services.projector.settings import Settings

_FAILURES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, nats.errors.Error, OutOfOrder)


async def serve(environ: Mapping[str, str], stop: asyncio.Event) -> None:
    """Project the log until told to stop."""
    settings = load(Settings, "SUBTIDE_PROJECTOR_", environ)
    connections = load(Connections, "", environ)
    following = asyncio.ensure_future(_follow_for_ever(settings, connections))
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({following, stopping}, return_when=asyncio.FIRST_COMPLETED)
    for task in (following, stopping):
        task.cancel()
    with suppress(asyncio.CancelledError):
        await following


async def _follow_for_ever(settings: Settings, connections: Connections) -> None:
    log = telemetry.logger(stage="projector")
    news = asyncio.Event()

    async def heard(_: object) -> None:
        news.set()

    client = await nats.connect(connections.nats_url, name="subtide-projector", **CONNECT_OPTIONS)
    try:
        await client.subscribe(f"{topology.LIVE}.job.>", cb=heard)
        wait_s = settings.retry_s
        while True:
            try:
                async with await Projection.open(connections.database_url) as projection:
                    while not await projection.try_lock():  # noqa: ASYNC110 - the lock is another process's
                        await asyncio.sleep(settings.poll_s)
                    await _prepare(client, projection)
                    log.info("serving", watermark=await projection.watermark())
                    wait_s = settings.retry_s
                    await _follow(JobLog(client), projection, settings, news)
            except _FAILURES as error:
                log.warning("projection_interrupted", error=repr(error), retry_in_s=wait_s)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, settings.retry_max_s)
    finally:
        await client.close()


async def _follow(joblog: JobLog, projection: Projection, settings: Settings, news: asyncio.Event) -> None:
    log = telemetry.logger(stage="projector")
    while True:
        news.clear()
        changes = await catch_up(joblog, projection, settings.batch)
        if changes is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(settings.poll_s):
                    await news.wait()
            continue
        for one in changes.unknown:
            log.warning("unknown_fact", stream_seq=one.message.seq, subject=one.message.subject, reason=one.reason)


async def _prepare(client: Client, projection: Projection) -> None:
    info = await client.jetstream().stream_info(topology.JOBS)
    assert info.created is not None
    await projection.prepare(utc(info.created), info.state.last_seq)
