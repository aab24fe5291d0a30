"""What is there at the end, as anybody could read it: log, store, tables, ledger, consumers."""

import time
from pathlib import Path

import asyncpg
import msgspec
from nats.aio.client import Client

from chassis.admission import Admission, Ledger
from chassis.joblog import Entry, JobLog
from contracts import topology
from contracts.projection import SCHEMA

_BATCH = 500


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file on the store's disk, by its path below the folder of artifacts or that of workspaces."""

    path: str
    age_s: float


class Consumer(msgspec.Struct, frozen=True, kw_only=True):
    """How far a durable is."""

    name: str
    pending: int
    unacked: int


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the invariants speak of."""

    entries: list[Entry]
    files: list[File]
    rows: dict[str, bytes]
    ledger: Ledger
    consumers: list[Consumer]


async def log(client: Client) -> list[Entry]:
    """The whole log."""
    joblog = JobLog(client)
    entries: list[Entry] = []
    while batch := await joblog.read(entries[-1].seq + 1 if entries else 1, _BATCH):
        entries += batch
    return entries


async def rows(database_url: str) -> dict[str, bytes]:
    """The view of each job in the projection."""
    connection = await asyncpg.connect(database_url, timeout=10)
    try:
        found = await connection.fetch(f"SELECT job_id, view FROM {SCHEMA}.jobs")
    finally:
        await connection.close()
    return {row["job_id"]: row["view"] for row in found}


def files(artifacts: Path) -> list[File]:
    """Everything below the artifact folder, and what workspaces left beside it."""
    now = time.time()
    found = []
    for root, base in ((artifacts, artifacts), (artifacts.parent / "tmp", artifacts.parent)):
        for path in root.rglob("*"):
            try:
                if path.is_file():
                    found.append(File(path=str(path.relative_to(base)), age_s=now - path.stat().st_mtime))
            except FileNotFoundError:
                continue
    return found


async def consumers(client: Client) -> list[Consumer]:
    """Every durable of the topology."""
    js = client.jetstream(timeout=10)
    found = []
    for durable in topology.DURABLES:
        info = await js.consumer_info(durable.stream, durable.name)
        found.append(Consumer(name=durable.name, pending=info.num_pending or 0, unacked=info.num_ack_pending or 0))
    return found


async def ledger(client: Client) -> Ledger:
    """Who waits and who runs."""
    return await Admission(await client.jetstream(timeout=10).key_value(topology.ADMISSION)).ledger()


async def gather(client: Client, database_url: str, artifacts: Path) -> Evidence:
    """All of it."""
    return Evidence(
        entries=await log(client),
        files=files(artifacts),
        rows=await rows(database_url),
        ledger=await ledger(client),
        consumers=await consumers(client),
    )
