"""Wiring of the projector: one writer follows the log; whatever fails is tried again, nothing is skipped."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import asyncpg
import nats
import nats.errors

from chassis import telemetry
from chassis.broker import CONNECT_OPTIONS, saying_who_is_away
from chassis.joblog import JobLog
from chassis.settings import Connections, load
from chassis.stopping import Stopped, unless_stopped
from contracts import topology
from services.projector import engine
from services.projector.handler import Projection, catch_up, heal, log_state
from services.projector.rebuild import drop_leftovers
from services.projector.settings import Settings

_FAILURES = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    nats.errors.Error,
    engine.OutOfOrder,
    engine.Unreadable,
)


async def serve(environ: Mapping[str, str], stop: asyncio.Event) -> None:
    """Project the log until told to stop."""
    settings = load(Settings, "SUBTIDE_PROJECTOR_", environ)
    numbers = load(topology.Numbers, "SUBTIDE_", environ)
    connections = load(Connections, "", environ)
    with suppress(Stopped):
        await unless_stopped(_follow_for_ever(settings, numbers, connections), stop)


async def _follow_for_ever(settings: Settings, numbers: topology.Numbers, connections: Connections) -> None:
    log = telemetry.logger(stage="projector")
    news = asyncio.Event()

    async def heard(_: object) -> None:
        news.set()

    client = await nats.connect(
        connections.nats_url,
        name="subtide-projector",
        error_cb=saying_who_is_away(connections.nats_url),
        **CONNECT_OPTIONS,
    )
    joblog = JobLog(client)
    try:
        await client.subscribe(f"{topology.LIVE}.job.>", cb=heard)
        wait_s = settings.retry_s
        while True:
            try:
                async with await Projection.open(connections.database_url) as projection:
                    await _until_writer(projection, settings.poll_s)
                    while True:
                        await projection.prepare(lambda: log_state(client))
                        await drop_leftovers(projection.connection)
                        for job_id in await projection.unfinished():
                            await _heal(joblog, projection, job_id)
                        wait_s = settings.retry_s
                        await _follow(joblog, projection, settings, news, numbers.reconcile_s)
            except _FAILURES as error:
                log.warning("projection_interrupted", error=repr(error), retry_in_s=wait_s)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, settings.retry_max_s)
    finally:
        await client.close()


async def _until_writer(projection: Projection, poll_s: float) -> None:
    log = telemetry.logger(stage="projector")
    if not await projection.try_lock():
        log.info("waiting", reason="another projector is the writer")
        while not await projection.try_lock():  # noqa: ASYNC110 - the lock is another process's
            await asyncio.sleep(poll_s)
    log.info("serving")


async def _follow(
    joblog: JobLog, projection: Projection, settings: Settings, news: asyncio.Event, for_s: float
) -> None:
    log = telemetry.logger(stage="projector")
    loop = asyncio.get_running_loop()
    ends = loop.time() + for_s
    while loop.time() < ends:
        news.clear()
        try:
            changes = await catch_up(joblog, projection, settings.batch)
        except engine.Unreadable as found:
            if not await _heal(joblog, projection, found.job_id):
                raise
            continue
        if changes is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(settings.poll_s, for_s)):
                    await news.wait()
            continue
        for one in changes.unknown:
            log.warning("unknown_fact", stream_seq=one.message.seq, subject=one.message.subject, reason=one.reason)


async def _heal(joblog: JobLog, projection: Projection, job_id: str) -> bool:
    healing = await heal(joblog, projection, job_id)
    if healing is not None:
        telemetry.logger(stage="projector").warning(
            "row_healed", job_id=job_id, removed=healing.row is None, stream_seq=healing.row and healing.row.seq
        )
    return healing is not None
