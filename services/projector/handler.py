"""One batch of the log into Postgres: rows and watermark in one transaction, by one writer."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib import resources
from types import TracebackType
from typing import Any

import asyncpg
import msgspec
from nats.aio.client import Client

from chassis.joblog import Entry, JobLog
from contracts import progress, topology
from contracts.projection import SCHEMA
from services.projector import engine

_CONNECT_TIMEOUT_S = 5.0
_COMMAND_TIMEOUT_S = 60.0
_VANISHED = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""A writer whose machine is gone loses its lock in 25 s, not in the two hours that are usual."""
_TERMINAL = [str(status) for status in progress.Status if status.terminal]


class LogState(msgspec.Struct, frozen=True, kw_only=True):
    """Which log it is, and what it has."""

    created_at: datetime
    first_seq: int
    last_seq: int


class Projection:
    """The tables, through the one connection that also holds the writer's lock: who loses it can no longer write."""

    def __init__(self, connection: Any, schema: str) -> None:
        self.connection = connection
        self._schema = schema

    @classmethod
    async def open(cls, database_url: str, schema: str = SCHEMA) -> "Projection":
        """Connect. Raises OSError or asyncpg's errors."""
        connection = await asyncpg.connect(
            database_url,
            timeout=_CONNECT_TIMEOUT_S,
            command_timeout=_COMMAND_TIMEOUT_S,
            server_settings={"search_path": schema, "application_name": "subtide-projector", **_VANISHED},
        )
        return cls(connection, schema)

    async def __aenter__(self) -> "Projection":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.terminate()  # a polite close would wait for a server that may be gone

    async def try_lock(self) -> bool:
        """Become the writer of the schema, until the connection ends. False while another is."""
        return bool(await self.connection.fetchval("SELECT pg_try_advisory_lock($1)", lock_key(self._schema)))

    async def prepare(self, log_state: Callable[[], Awaitable[LogState]]) -> None:
        """Make the tables, empty them where they tell of another log, and forget who expired before it begins."""
        async with self._writing():
            await self.connection.execute(f"CREATE SCHEMA IF NOT EXISTS {self._schema}")
            await self.connection.execute(_tables())
            # The log is asked after the watermark is read, or it might seem to end before it.
            row = await self.connection.fetchrow("SELECT seq, log_created_at FROM watermark FOR UPDATE")
            log = await log_state()
            if row is not None and (row["log_created_at"] != log.created_at or row["seq"] > log.last_seq):
                await self.connection.execute("TRUNCATE jobs, tokens, expired_jobs, unknown_facts, watermark")
            await self.connection.execute(
                "INSERT INTO watermark (seq, log_created_at) VALUES (0, $1) ON CONFLICT DO NOTHING", log.created_at
            )
            await self.connection.execute("DELETE FROM expired_jobs WHERE seq < $1", log.first_seq)

    async def watermark(self) -> int:
        """The last sequence that is projected. Raises where the tables were emptied or dropped under us."""
        seq = await self.connection.fetchval("SELECT seq FROM watermark")
        if seq is None:
            raise asyncpg.exceptions.NoDataFoundError("the watermark is gone")
        return int(seq)

    async def apply(self, after: int, messages: Sequence[engine.Message]) -> engine.Changes:
        """Write the batch that was read after a watermark.

        Raises engine.OutOfOrder, engine.Unreadable or a database error, with nothing written.
        """
        async with self._writing():
            watermark = await self.connection.fetchval("SELECT seq FROM watermark FOR UPDATE")
            if watermark != after:
                raise engine.OutOfOrder(f"the watermark went from {after} to {watermark} while the log was read")
            known, _ = engine.readable(messages)
            job_ids = list({fact.job_id for _, fact in known})
            expired = await self.connection.fetch("SELECT job_id FROM expired_jobs WHERE job_id = ANY($1)", job_ids)
            changes = engine.project(
                watermark, messages, await self._views(job_ids), {row["job_id"] for row in expired}
            )
            await self._remove(changes.expired)
            await self._put([engine.row(view) for view in changes.views])
            await self._keep_aside(changes.unknown)
            await self.connection.execute("UPDATE watermark SET seq = $1", changes.watermark)
        return changes

    async def unfinished(self) -> list[str]:
        """The jobs whose rows say that they are not over."""
        rows = await self.connection.fetch("SELECT job_id FROM jobs WHERE status <> ALL($1) ORDER BY job_id", _TERMINAL)
        return [row["job_id"] for row in rows]

    async def heal(self, job_id: str, history: Sequence[engine.Message]) -> engine.Healing | None:
        """Make the row of a job what its facts say, up to the watermark. None where it was so, or is gone."""
        async with self._writing():
            watermark = await self.connection.fetchval("SELECT seq FROM watermark FOR UPDATE")
            stored = await self._row(job_id)
            if watermark is None or stored is None:
                return None
            healing = engine.heal(stored, history, watermark)
            if healing is None:
                return None
            await self.connection.execute("DELETE FROM jobs WHERE job_id = $1", job_id)
            await self._put([healing.row] if healing.row is not None else [])
            await self._remove({job_id: healing.expired} if healing.expired is not None else {})
        return healing

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        """A transaction during which nobody puts another schema in the place of ours."""
        async with self.connection.transaction():
            await self.connection.execute(f"SELECT pg_advisory_xact_lock_shared({SWAP_LOCK})")
            yield

    async def _views(self, job_ids: list[str]) -> dict[str, progress.JobView]:
        rows = await self.connection.fetch("SELECT job_id, view FROM jobs WHERE job_id = ANY($1)", job_ids)
        return {row["job_id"]: engine.view(row["job_id"], row["view"]) for row in rows}

    async def _row(self, job_id: str) -> engine.Row | None:
        row = await self.connection.fetchrow("SELECT * FROM jobs WHERE job_id = $1", job_id)
        if row is None:
            return None
        tokens = await self.connection.fetch("SELECT token_sha256, share_n FROM tokens WHERE job_id = $1", job_id)
        return engine.Row(**row, tokens=sorted(engine.Token(**token) for token in tokens))

    async def _put(self, rows: Sequence[engine.Row]) -> None:
        await self.connection.executemany(
            """
            INSERT INTO jobs (job_id, owner, status, accepted_at, seq, view) VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (job_id) DO UPDATE SET status = excluded.status, seq = excluded.seq, view = excluded.view
            """,
            [(row.job_id, row.owner, row.status, row.accepted_at, row.seq, row.view) for row in rows],
        )
        await self.connection.execute("DELETE FROM tokens WHERE job_id = ANY($1)", [row.job_id for row in rows])
        await self.connection.executemany(
            "INSERT INTO tokens (token_sha256, job_id, share_n) VALUES ($1, $2, $3)",
            [(token.token_sha256, row.job_id, token.share_n) for row in rows for token in row.tokens],
        )

    async def _remove(self, expired: Mapping[str, int]) -> None:
        await self.connection.execute("DELETE FROM jobs WHERE job_id = ANY($1)", list(expired))
        await self.connection.executemany(
            "INSERT INTO expired_jobs (job_id, seq) VALUES ($1, $2) ON CONFLICT DO NOTHING", list(expired.items())
        )

    async def _keep_aside(self, unknown: Sequence[engine.Unknown]) -> None:
        await self.connection.executemany(
            "INSERT INTO unknown_facts (seq, subject, body, reason) VALUES ($1, $2, $3, $4)",
            [(one.message.seq, _text(one.message.subject), one.message.body, _text(one.reason)) for one in unknown],
        )


async def catch_up(joblog: JobLog, projection: Projection, batch: int) -> engine.Changes | None:
    """Project the next batch of the log. None where there is nothing new."""
    watermark = await projection.watermark()
    entries = await joblog.read(watermark + 1, batch)
    if not entries:
        return None
    return await projection.apply(watermark, [_message(entry) for entry in entries])


async def heal(joblog: JobLog, projection: Projection, job_id: str) -> engine.Healing | None:
    """Hold the row of a job against the log, and put it right. None where it was right."""
    history = await joblog.history_of(job_id)
    if not history and await joblog.knows(job_id):
        return None  # a copy of the log that is behind: no reason to remove a row
    return await projection.heal(job_id, [_message(entry) for entry in history])


def lock_key(name: str) -> int:
    """The advisory lock for a purpose."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


SWAP_LOCK = lock_key(f"{SCHEMA} is replaced")


async def log_state(client: Client) -> LogState:
    """Asks the broker. Raises nats.errors.Error."""
    info = await client.jetstream().stream_info(topology.JOBS)
    assert info.created is not None
    return LogState(created_at=_utc(info.created), first_seq=info.state.first_seq, last_seq=info.state.last_seq)


def _utc(moment: datetime) -> datetime:
    """The broker's times are UTC whether they say so or not."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _message(entry: Entry) -> engine.Message:
    return engine.Message(seq=entry.seq, subject=entry.subject, body=entry.body)


def _text(anything: str) -> str:
    """What Postgres takes for text: no NUL, no half characters."""
    return anything.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _tables() -> str:
    return resources.files("services.projector").joinpath("schema.sql").read_text()
