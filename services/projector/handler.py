"""One batch of the log into Postgres: rows and watermark in one transaction, by one writer."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from types import TracebackType
from typing import Any

import asyncpg
import msgspec

from chassis.joblog import JobLog
from contracts import progress
from contracts.projection import SCHEMA
from services.projector import engine

_CONNECT_TIMEOUT_S = 5.0
_COMMAND_TIMEOUT_S = 60.0
_LOCK = int.from_bytes(hashlib.sha256(SCHEMA.encode()).digest()[:8], "big", signed=True)


class Projection:
    """The tables, through the one connection that also holds the writer's lock: who loses it can no longer write."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, database_url: str) -> "Projection":
        """Connect. Raises OSError or asyncpg's errors."""
        connection = await asyncpg.connect(
            database_url,
            timeout=_CONNECT_TIMEOUT_S,
            command_timeout=_COMMAND_TIMEOUT_S,
            server_settings={"search_path": SCHEMA, "application_name": "subtide-projector"},
        )
        return cls(connection)

    async def __aenter__(self) -> "Projection":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.terminate()  # a polite close would wait for a server that may be gone

    async def try_lock(self) -> bool:
        """Become the writer, until the connection ends. False while another is."""
        return bool(await self._connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK))

    async def prepare(self, log_created_at: datetime, last_seq: int) -> None:
        """Make the tables, and empty them where they tell of another log than this one."""
        async with self._connection.transaction():
            await self._connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            await self._connection.execute(_schema())
            row = await self._connection.fetchrow("SELECT seq, log_created_at FROM watermark")
            if row is not None and (row["log_created_at"] != log_created_at or row["seq"] > last_seq):
                await self._connection.execute("TRUNCATE jobs, tokens, unknown_facts, watermark")
            await self._connection.execute(
                "INSERT INTO watermark (seq, log_created_at) VALUES (0, $1) ON CONFLICT DO NOTHING", log_created_at
            )

    async def watermark(self) -> int:
        """The last sequence that is projected. Raises where the tables were emptied or dropped under us."""
        seq = await self._connection.fetchval("SELECT seq FROM watermark")
        if seq is None:
            raise asyncpg.exceptions.NoDataFoundError("the watermark is gone")
        return int(seq)

    async def apply(self, messages: Sequence[engine.Message]) -> engine.Changes:
        """Write a batch. Raises engine.OutOfOrder, or a database error with nothing written."""
        async with self._connection.transaction():
            watermark = await self._connection.fetchval("SELECT seq FROM watermark FOR UPDATE")
            if watermark is None:
                raise asyncpg.exceptions.NoDataFoundError("the watermark is gone")
            known, _ = engine.readable(messages)
            changes = engine.project(watermark, messages, await self._views({fact.job_id for _, fact in known}))
            await self._write(changes)
        return changes

    async def _views(self, job_ids: set[str]) -> dict[str, progress.JobView]:
        rows = await self._connection.fetch("SELECT job_id, view FROM jobs WHERE job_id = ANY($1)", list(job_ids))
        return {row["job_id"]: msgspec.json.decode(row["view"], type=progress.JobView) for row in rows}

    async def _write(self, changes: engine.Changes) -> None:
        await self._connection.executemany(
            """
            INSERT INTO jobs (job_id, owner, status, accepted_at, seq, view) VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (job_id) DO UPDATE SET status = excluded.status, seq = excluded.seq, view = excluded.view
            """,
            [
                (view.job_id, view.owner, str(view.status), view.accepted_at, view.seq, msgspec.json.encode(view))
                for view in changes.views
            ],
        )
        await self._connection.execute(
            "DELETE FROM tokens WHERE job_id = ANY($1)", [view.job_id for view in changes.views]
        )
        await self._connection.executemany(
            "INSERT INTO tokens (token_sha256, job_id, share_n) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            [
                (token.token_sha256, view.job_id, token.share_n)
                for view in changes.views
                for token in engine.tokens(view)
            ],
        )
        await self._connection.executemany(
            "INSERT INTO unknown_facts (seq, subject, body, reason) VALUES ($1, $2, $3, $4)",
            [
                (
                    one.message.seq,
                    one.message.subject.replace("\0", "\N{REPLACEMENT CHARACTER}"),
                    one.message.body,
                    one.reason,
                )
                for one in changes.unknown
            ],
        )
        await self._connection.execute("UPDATE watermark SET seq = $1", changes.watermark)


async def catch_up(joblog: JobLog, projection: Projection, batch: int) -> engine.Changes | None:
    """Project the next batch of the log. None where there is nothing new."""
    entries = await joblog.read(await projection.watermark() + 1, batch)
    if not entries:
        return None
    return await projection.apply(
        [engine.Message(seq=entry.seq, subject=entry.subject, body=entry.body) for entry in entries]
    )


def utc(moment: datetime) -> datetime:
    """The broker's times are UTC whether they say so or not."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _schema() -> str:
    return resources.files("services.projector").joinpath("schema.sql").read_text()
