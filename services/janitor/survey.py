"""Reads the log on from where it was last read, so that knowing all jobs costs only what is new."""

import asyncio
from datetime import UTC, datetime

import msgspec
from nats.aio.client import Client

from chassis import buckets
from chassis.joblog import JobLog
from contracts import subjects, topology
from contracts.artifacts import staging_folder
from contracts.uploads import EVERY, Upload
from services.janitor.engine import Survey

_BATCH = 500


class Coming:
    """The uploads that are not jobs yet, or have only just become some."""

    def __init__(self, client: Client) -> None:
        self._js = client.jetstream()

    async def folders(self) -> frozenset[str]:
        """Where in the store their parts lie. Raises nats.errors.Error: then nothing is known of any upload."""
        folders: set[str] = set()
        async for value in buckets.values(self._js, topology.UPLOADS, EVERY):
            upload = msgspec.json.decode(value, type=Upload)
            folders.add(upload.key)
            if upload.signed_part_bytes is not None and not upload.whole:
                folders.add(staging_folder(upload.key))
        return frozenset(folders)


class Surveying:
    """The survey of the log, made up to date by each look. A log that was lost is read anew."""

    def __init__(self, client: Client, joblog: JobLog) -> None:
        self._js = client.jetstream()
        self._joblog = joblog
        self._reading = asyncio.Lock()
        self._survey = Survey()
        self._seq = 0
        self._log_created: datetime | None = None

    async def log_is_older_than(self, moment: datetime) -> bool:
        """Whether the log was begun before a moment: one that was lost and made anew knows nothing of what was."""
        created = (await self._js.stream_info(topology.JOBS)).created
        return created is not None and (created if created.tzinfo else created.replace(tzinfo=UTC)) < moment

    async def now(self) -> Survey:
        """All that the log tells at this moment. Raises nats.errors.Error."""
        async with self._reading:
            info = await self._js.stream_info(topology.JOBS)
            if info.created != self._log_created or info.state.last_seq < self._seq:
                self._survey, self._seq, self._log_created = Survey(), 0, info.created
            while entries := await self._joblog.read(self._seq + 1, _BATCH):
                for entry in entries:
                    try:
                        self._survey.add(entry.seq, subjects.fact_on(entry.subject, entry.body))
                    except ValueError:
                        continue  # the projector lists it
                self._seq = entries[-1].seq
            self._survey.forget(info.state.first_seq)
            return self._survey
