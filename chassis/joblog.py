"""The log `JOBS`: append a fact once, read the facts of a job, read on from a sequence.

Reads use JetStream's batched direct get (ADR-31, `multi_last` and `batch`), one request whatever the number of facts;
nats-py has no call for it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Any

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from contracts import facts, progress, subjects, topology

_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_WRONG_LAST_SEQUENCE = 10071
_STREAM_FULL = (10077, 10023)
_READ_TIMEOUT_S = 10.0


class LogFull(Exception):
    """The stream is at its `max_bytes` and refuses new facts rather than forget old ones."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the log as stored; `body` may be anything that somebody published."""

    seq: int
    subject: str
    body: bytes
    stored_at: datetime


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """A fact and its place in the log."""

    seq: int
    fact: facts.AnyFact


class JobLog:
    """The facts in JetStream, for one connection."""

    def __init__(self, client: Client, *, publish_timeout_s: float = 10.0) -> None:
        self._client = client
        self._js = client.jetstream(timeout=publish_timeout_s)

    async def append(self, fact: facts.Fact) -> int | None:
        """Publish create-only; idempotency key: the subject. Returns the sequence, None if the fact was there.

        A terminal fact is refused, too, where the run has another. Raises LogFull, or nats.errors.Error where the
        broker cannot be reached.
        """
        if not facts.ends_run(fact):
            return await self._publish(fact, {_EXPECTED: "0"})
        while True:
            entries = await self._entries_of(fact.job_id)
            if any(facts.ends_run(known.fact) and known.fact.run == fact.run for known in _readable(entries)):
                return None
            last = max((entry.seq for entry in entries if subjects.is_of_run(entry.subject, fact)), default=0)
            guard = {_EXPECTED: str(last), f"{_EXPECTED}-Subject": subjects.of_run(fact)}
            if (seq := await self._publish(fact, guard)) is not None:
                return seq

    async def again(self, fact: facts.Fact) -> int:
        """Publish a fact that is in the log already once more, to wake those who should have acted on it."""
        return int((await self._js.publish(subjects.of(fact), facts.encode(fact))).seq)

    async def _publish(self, fact: facts.Fact, guard: dict[str, str]) -> int | None:
        try:
            ack = await self._js.publish(subjects.of(fact), facts.encode(fact), headers=guard)
        except nats.js.errors.APIError as error:
            if error.err_code == _WRONG_LAST_SEQUENCE:
                return None
            if error.err_code in _STREAM_FULL:
                raise LogFull(str(error)) from error
            raise
        return int(ack.seq)

    async def facts_of(self, job_id: str) -> list[Recorded]:
        """The readable facts of a job, every run, in log order."""
        return list(_readable(await self._entries_of(job_id)))

    async def view(self, job_id: str) -> progress.JobView | None:
        """The job as its facts tell it; None where there is no such job."""
        view: progress.JobView | None = None
        for recorded in await self.facts_of(job_id):
            view = progress.fold(view, recorded.fact, recorded.seq)
        return view

    async def live_progress(self, job_id: str) -> list[progress.LiveProgress]:
        """The last word of each stage of a job on how far it is."""
        entries = await self._direct_get(topology.PROGRESS, {"multi_last": [subjects.progress_of_job(job_id)]})
        return [msgspec.json.decode(entry.body, type=progress.LiveProgress) for entry in entries]

    async def read(self, first_seq: int, limit: int) -> list[Entry]:
        """At most `limit` messages from `first_seq` on, in order; empty at the end of the log."""
        return await self._direct_get(topology.JOBS, {"seq": first_seq, "batch": limit, "next_by_subj": "job.>"})

    async def report(self, live: progress.LiveProgress) -> None:
        """Say how far a stage is. Lossy by design: not acknowledged, not retried."""
        await self._client.publish(subjects.progress(live.job_id, live.stage), msgspec.json.encode(live))

    async def _entries_of(self, job_id: str) -> list[Entry]:
        return await self._direct_get(topology.JOBS, {"multi_last": [subjects.of_job(job_id)]})

    async def _direct_get(self, stream: str, request: dict[str, Any]) -> list[Entry]:
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox)
        try:
            await self._client.publish(f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(request), reply=inbox)
            return [entry async for entry in _replies(subscription)]
        finally:
            await subscription.unsubscribe()


def _readable(entries: list[Entry]) -> Iterator[Recorded]:
    for entry in sorted(entries, key=lambda entry: entry.seq):
        try:
            yield Recorded(seq=entry.seq, fact=facts.decode(entry.body))
        except msgspec.MsgspecError:
            continue  # somebody else's message on our subject: the projector lists it


async def _replies(subscription: Any) -> AsyncIterator[Entry]:
    async with asyncio.timeout(_READ_TIMEOUT_S):
        while True:
            message: Msg = await subscription.next_msg(timeout=_READ_TIMEOUT_S)
            headers = message.headers or {}
            status = headers.get("Status")
            if status in ("204", "404"):
                return
            if status == "503":
                raise nats.errors.NoRespondersError
            if status is not None:
                raise nats.errors.Error(f"direct get: {status} {headers.get('Description', '')}")
            yield Entry(
                seq=int(headers["Nats-Sequence"]),
                subject=headers["Nats-Subject"],
                body=message.data,
                stored_at=datetime.fromisoformat(headers["Nats-Time-Stamp"]),
            )
