"""Runs the projector, and looks at its tables as a reader does."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from chassis.joblog import JobLog
from contracts import facts
from contracts.progress import JobView
from contracts.projection import SCHEMA
from services.projector.app import serve
from services.projector.reading import wait
from tests.integration.conftest import until
from tests.lives import ENDS, life

QUICK = {"SUBTIDE_PROJECTOR_RETRY_S": "0.05", "SUBTIDE_PROJECTOR_RETRY_MAX_S": "0.2", "SUBTIDE_PROJECTOR_POLL_S": "0.1"}


@asynccontextmanager
async def running(environ: dict[str, str]) -> AsyncIterator[asyncio.Task[None]]:
    """A projector in this process."""
    stop = asyncio.Event()
    task = asyncio.create_task(serve(environ | QUICK, stop))
    try:
        yield task
    finally:
        stop.set()
        await asyncio.wait_for(task, 5)


@contextmanager
def process(*module: str, environ: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Python program of its own, to be killed."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", *module], env=dict(os.environ) | environ | QUICK, stdout=output, stderr=output
        )
        try:
            yield child
        finally:
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
            child.wait()


class Tables:
    """What a reader of the projection sees."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def rows(self, query: str, *values: object, schema: str = SCHEMA) -> list[Any]:
        """The answer of a database that may not be there: nothing then."""
        try:
            connection = await asyncpg.connect(self.url, server_settings={"search_path": schema})
        except (OSError, asyncpg.PostgresError):
            return []
        try:
            return list(await connection.fetch(query, *values))
        except asyncpg.UndefinedTableError:
            return []
        finally:
            await connection.close()

    async def watermark(self) -> int:
        """How far the tables are."""
        return next((row["seq"] for row in await self.rows("SELECT seq FROM watermark")), -1)

    async def views(self) -> dict[str, JobView]:
        """The jobs."""
        rows = await self.rows("SELECT job_id, view FROM jobs")
        return {row["job_id"]: msgspec.json.decode(row["view"], type=JobView) for row in rows}

    async def reaches(self, seq: int | None) -> None:
        """Wait until the tables tell of a fact."""
        assert seq is not None
        await asyncio.wait_for(wait(self.url, seq), 30)

    async def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Everything in the tables, in order."""
        order = {
            "jobs": "job_id",
            "tokens": "token_sha256, job_id",
            "expired_jobs": "job_id",
            "unknown_facts": "seq",
            "watermark": "one",
        }
        return {
            table: [tuple(row) for row in await self.rows(f"SELECT * FROM {table} ORDER BY {key}")]
            for table, key in order.items()
        }

    async def schemas(self) -> list[str]:
        """Those of the projection."""
        rows = await self.rows("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'projection%' ORDER BY nspname")
        return [row["nspname"] for row in rows]


class Load:
    """A publisher of facts of many jobs that run beside one another; new ones come as long as it lasts."""

    def __init__(self, joblog: JobLog, *, jobs_at_once: int = 12, ends: Collection[str] = ENDS) -> None:
        self.joblog = joblog
        self.appended = 0
        self.last_seq = 0
        self._numbers = (number for number in itertools.count() if ENDS[number % len(ENDS)] in ends)
        self._jobs_at_once = jobs_at_once
        self._enough = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Load":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.finish()

    async def has_appended(self, more: int) -> None:
        """Wait until there are so many facts more."""
        goal = self.appended + more
        await until(lambda: self.appended >= goal, 30)

    async def finish(self) -> int:
        """Take no new jobs, and let those under way come to their ends. Returns the last sequence."""
        self._enough = True
        assert self._task is not None
        await self._task
        return self.last_seq

    async def _run(self) -> None:
        lives: list[list[facts.AnyFact]] = []
        while lives or not self._enough:
            while len(lives) < self._jobs_at_once and not self._enough:
                lives.append(life(next(self._numbers)))
            for rest in lives:
                self.last_seq = await self.joblog.append(rest.pop(0)) or self.last_seq
                self.appended += 1
                await asyncio.sleep(0.001)
            lives = [rest for rest in lives if rest]


async def append_all(joblog: JobLog, said: Sequence[facts.Fact]) -> int:
    """Append in order. Returns the last sequence."""
    last = 0
    for fact in said:
        last = await joblog.append(fact) or last
    return last
