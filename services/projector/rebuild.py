"""The tables made anew beside those in use, and put in their place in one transaction.

Readers go on reading and the projector goes on writing meanwhile. Killed at any line, it leaves the tables in use whole
and at most a schema more, which the next try, or the projector, drops.
"""

import asyncio
from contextlib import suppress
from typing import Any

import asyncpg
import msgspec
import nats.js.errors
from nats.aio.client import Client

from chassis.joblog import JobLog
from contracts import topology
from contracts.projection import SCHEMA
from services.projector.engine import OutOfOrder
from services.projector.handler import SWAP_LOCK, Projection, catch_up, lock_key, log_state

_BATCH = 500
_POLL_S = 0.2
_LOCK_TRIES = 10
_BEHIND_S = 30.0
_DROP_WAIT = "200ms"
"""Less than Postgres waits before it looks for a deadlock: of the two it is never a reader that is given up."""
_DROP_TRIES = 20

FRESH = f"{SCHEMA}_fresh"
REPLACED = f"{SCHEMA}_replaced"


class Refused(Exception):
    """Another rebuild is at work."""


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """What a rebuild made."""

    facts: int
    unknown: int
    jobs: int


async def rebuild(client: Client, database_url: str) -> Rebuilt:
    """Replay the whole log and put the outcome in the place of the tables in use.

    Raises Refused, or an error of asyncpg or nats with the tables in use untouched.
    """
    async with await Projection.open(database_url, FRESH) as fresh:
        await _lock(fresh)
        await _drop(fresh.connection)
        await fresh.prepare(lambda: log_state(client))
        replay = _Replay(JobLog(client), fresh)
        await replay.to_the_end()
        async with fresh.connection.transaction():
            # From here on the projector waits with its next batch, and looks at the tables afresh afterwards.
            await fresh.connection.execute(f"SELECT pg_advisory_xact_lock({SWAP_LOCK})")
            await replay.to_the_end()
            await _not_behind(client, replay)
            jobs = await fresh.connection.fetchval("SELECT count(*) FROM jobs")
            if await _exists(fresh.connection, SCHEMA):
                await fresh.connection.execute(f"ALTER SCHEMA {SCHEMA} RENAME TO {REPLACED}")
            await fresh.connection.execute(f"ALTER SCHEMA {FRESH} RENAME TO {SCHEMA}")
        with suppress(asyncpg.LockNotAvailableError):  # somebody reads for long: the projector drops it later
            await _drop(fresh.connection)
    return Rebuilt(facts=replay.facts, unknown=replay.unknown, jobs=jobs)


async def drop_leftovers(connection: Any) -> None:
    """Drop what a rebuild that was killed has left; nothing while one is at work."""
    if await connection.fetchval("SELECT pg_try_advisory_lock($1)", lock_key(FRESH)):
        try:
            with suppress(asyncpg.LockNotAvailableError):
                await _drop(connection)
        finally:
            await connection.execute(f"SELECT pg_advisory_unlock({lock_key(FRESH)})")


class _Replay:
    """Projects the log into the fresh tables, and counts."""

    def __init__(self, joblog: JobLog, fresh: Projection) -> None:
        self.joblog = joblog
        self.fresh = fresh
        self.facts = 0
        self.unknown = 0

    async def to_the_end(self) -> None:
        """Project until there is nothing new."""
        while (changes := await catch_up(self.joblog, self.fresh, _BATCH)) is not None:
            self.facts += changes.facts
            self.unknown += len(changes.unknown)


async def _lock(fresh: Projection) -> None:
    """One rebuild at a time. Raises Refused; a moment's patience lets one that was killed, or is tidying up, go."""
    for _ in range(_LOCK_TRIES):
        if await fresh.try_lock():
            return
        await asyncio.sleep(_POLL_S)
    raise Refused("Another rebuild of the projection is at work: wait until it is done.")


async def _not_behind(client: Client, replay: _Replay) -> None:
    """Make sure that no reader is taken back in time. Raises OutOfOrder where the log is another one by now.

    The replay may end before the watermark in use: a copy of the log that is behind, which is waited for; or what was
    there last is no longer in the log.
    """
    fresh = replay.fresh
    created_at = await fresh.connection.fetchval("SELECT log_created_at FROM watermark")
    if (await log_state(client)).created_at != created_at:
        raise OutOfOrder("the log was made anew while it was replayed")
    in_use = await _watermark_in_use(fresh.connection, created_at)
    async with asyncio.timeout(_BEHIND_S):
        while (watermark := await fresh.watermark()) < in_use:
            if not await _has_after(client, watermark):
                await fresh.connection.execute("UPDATE watermark SET seq = $1", in_use)
                return
            await asyncio.sleep(_POLL_S)
            await replay.to_the_end()


async def _watermark_in_use(connection: Any, created_at: Any) -> int:
    """How far readers see of the same log; 0 where they see nothing of it."""
    if await connection.fetchval("SELECT to_regclass($1)", f"{SCHEMA}.watermark") is None:
        return 0
    query = f"SELECT seq FROM {SCHEMA}.watermark WHERE log_created_at = $1"  # noqa: S608 - a constant
    return int(await connection.fetchval(query, created_at) or 0)


async def _has_after(client: Client, seq: int) -> bool:
    """Whether the log goes on, by the word of the stream's leader."""
    try:
        await client.jetstream().get_msg(topology.JOBS, seq=seq + 1, subject="job.>", next=True)
    except nats.js.errors.NotFoundError:
        return False
    return True


async def _exists(connection: Any, schema: str) -> bool:
    return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", schema))


async def _drop(connection: Any) -> None:
    """Drop the schemas of rebuilds. Raises asyncpg.LockNotAvailableError where somebody goes on reading in one."""
    for schema in (FRESH, REPLACED):
        for tries_left in reversed(range(_DROP_TRIES)):
            try:
                async with connection.transaction():
                    await connection.execute(f"SET LOCAL lock_timeout = '{_DROP_WAIT}'")
                    await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
                break
            except asyncpg.LockNotAvailableError:
                if not tries_left:
                    raise
                await asyncio.sleep(_POLL_S)
