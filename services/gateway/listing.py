"""The caller's jobs, newest first: the one question that Postgres answers. All else works without it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import msgspec

from contracts.progress import JobView, Status
from contracts.projection import SCHEMA
from services.gateway.problems import Problem

TOKENS_MAX = 500
PER_PAGE_MAX = 100
_POOL_MAX = 8
_CONNECT_TIMEOUT_S = 3.0
_COMMAND_TIMEOUT_S = 5.0
_UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

_CATCH_UP_S = 1.0
_CATCH_UP_POLL_S = 0.02

_MINE = """
    WITH mine AS (
        SELECT job_id, accepted_at, view FROM jobs
        WHERE job_id IN (SELECT job_id FROM tokens WHERE token_sha256 = ANY($1))
    )
    SELECT
        (SELECT count(*) FROM mine) AS total,
        ARRAY(SELECT view FROM mine ORDER BY accepted_at DESC, job_id LIMIT $2 OFFSET $3) AS views
"""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page of jobs, and how many there are in all."""

    views: Sequence[JobView]
    total: int


class Listing:
    """Reads the projection. Connects at the first question, so that the gateway starts without Postgres."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._pool: Any = None
        self._lock = asyncio.Lock()

    async def page(self, token_hashes: Sequence[str], page: int, per_page: int, *, as_of: int | None = None) -> Page:
        """Jobs that any of the tokens opens. Raises Problem where Postgres cannot be asked.

        Waits a moment until the projection has reached the log's sequence `as_of`: a caller reads what he wrote.
        """
        await self._caught_up(as_of)
        async with self._asked() as connection:
            found = await connection.fetchrow(_MINE, token_hashes, per_page, (page - 1) * per_page)
        return Page(views=[msgspec.json.decode(view, type=JobView) for view in found["views"]], total=found["total"])

    async def completed(self, limit: int) -> Sequence[JobView]:
        """The jobs that completed last. Raises Problem where Postgres cannot be asked."""
        async with self._asked() as connection:
            rows = await connection.fetch(
                "SELECT view FROM jobs WHERE status = $1 ORDER BY accepted_at DESC LIMIT $2", Status.COMPLETED, limit
            )
        return [msgspec.json.decode(row["view"], type=JobView) for row in rows]

    async def reachable(self) -> bool:
        """Whether Postgres answers."""
        try:
            async with asyncio.timeout(1.0), (await self._connected()).acquire() as connection:
                return bool(await connection.fetchval("SELECT true"))
        except _UNAVAILABLE:
            return False

    async def close(self) -> None:
        """Drop the connections."""
        if self._pool is not None:
            self._pool.terminate()

    async def _caught_up(self, seq: int | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_CATCH_UP_S):
                while seq is not None and await self._watermark() < seq:  # noqa: ASYNC110 - another process writes
                    await asyncio.sleep(_CATCH_UP_POLL_S)

    async def _watermark(self) -> int:
        async with self._asked() as connection:
            return int(await connection.fetchval("SELECT seq FROM watermark") or 0)

    @asynccontextmanager
    async def _asked(self) -> AsyncIterator[Any]:
        """A connection. Raises Problem where there is none, or where it does not answer."""
        try:
            async with (await self._connected()).acquire(timeout=_CONNECT_TIMEOUT_S) as connection:
                yield connection
        except _UNAVAILABLE as error:
            raise Problem(
                503,
                "list_unavailable",
                "The list of jobs is not available at the moment; single jobs are. Try again in a few seconds.",
                headers={"Retry-After": "5"},
            ) from error

    async def _connected(self) -> Any:
        async with self._lock:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._database_url,
                    min_size=0,
                    max_size=_POOL_MAX,
                    timeout=_CONNECT_TIMEOUT_S,
                    command_timeout=_COMMAND_TIMEOUT_S,
                    server_settings={"search_path": SCHEMA, "application_name": "subtide-gateway"},
                )
        return self._pool
