"""The caller's jobs, newest first: the one question that Postgres answers. All else works without it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec

from contracts.progress import JobView
from contracts.projection import SCHEMA
from services.gateway.problems import Problem

TOKENS_MAX = 500
PER_PAGE_MAX = 100
_POOL_MAX = 8
_CONNECT_TIMEOUT_S = 3.0
_COMMAND_TIMEOUT_S = 5.0
_UNAVAILABLE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)

_MINE = "SELECT DISTINCT job_id FROM tokens WHERE token_sha256 = ANY($1)"


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

    async def page(self, token_hashes: Sequence[str], page: int, per_page: int) -> Page:
        """Jobs that any of the tokens opens. Raises Problem where Postgres cannot be asked."""
        try:
            async with (await self._connected()).acquire(timeout=_CONNECT_TIMEOUT_S) as connection:
                total = await connection.fetchval(f"SELECT count(*) FROM ({_MINE}) AS mine", token_hashes)  # noqa: S608
                rows = await connection.fetch(
                    f"SELECT view FROM jobs WHERE job_id IN ({_MINE})"  # noqa: S608 - a constant
                    " ORDER BY accepted_at DESC, job_id LIMIT $2 OFFSET $3",
                    token_hashes,
                    per_page,
                    (page - 1) * per_page,
                )
        except _UNAVAILABLE as error:
            raise Problem(
                503,
                "list_unavailable",
                "The list of jobs is not available at the moment; single jobs are. Try again in a few seconds.",
                headers={"Retry-After": "5"},
            ) from error
        return Page(views=[msgspec.json.decode(row["view"], type=JobView) for row in rows], total=total)

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
