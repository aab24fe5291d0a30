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
_FIRST_SEQ = "Subtide-First-Sequence"
_WRONG_LAST_SEQUENCE = 10071
_STREAM_FULL = (10077, 10023)
_READ_TIMEOUT_S = 10.0
_HISTORY_BATCH = 500


class LogFull(Exception):
    """The stream is at its `max_bytes` and refuses new facts rather than forget old ones."""


class _TooManySubjects(nats.errors.Error):
    """The server answers of 1,024 subjects at once (ADR-31), and a job that was retried often has more facts."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the log as stored; `body` may be anything that somebody published."""

    seq: int
    subject: str
    body: bytes
    stored_at: datetime
    first_seq: int | None = None
    """Where the same fact came first, if it was published `again`."""

    @property
    def place(self) -> int:
        """Its place among the facts of its job."""
        return self.seq if self.first_seq is None else self.first_seq


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """A fact and its place in the log: the first, if it was published `again`."""

    seq: int
    fact: facts.AnyFact


class JobLog:
    """The facts in JetStream, for one connection."""

    def __init__(self, client: Client, *, publish_timeout_s: float = 10.0) -> None:
        self._client = client
        self._js = client.jetstream(timeout=publish_timeout_s)

    async def append(self, fact: facts.Fact) -> int | None:
        """Publish create-only; idempotency key: the subject. Returns the sequence, None if the fact was there.

        A terminal fact is refused, too, where the run has another; `expired` where the job was retried since, and a
        retry where the job is expired. Raises LogFull, or nats.errors.Error where the broker cannot be reached.
        """
        if isinstance(fact, facts.JobExpired) or (isinstance(fact, facts.JobAccepted) and fact.run > 1):
            every, matches = subjects.of_every_run(fact), subjects.is_of_every_run
        elif facts.ends_run(fact):
            every, matches = subjects.of_run(fact), subjects.is_of_run
        else:
            return await self._publish(fact, {_EXPECTED: "0"})
        while True:
            entries = await self._entries_of(fact.job_id)
            if any(_precludes(known.fact, fact) for known in _readable(entries)):
                return None
            last = max((entry.seq for entry in entries if matches(entry.subject, fact)), default=0)
            guard = {_EXPECTED: str(last), f"{_EXPECTED}-Subject": every}
            if (seq := await self._publish(fact, guard)) is not None:
                return seq

    async def again(self, fact: facts.Fact) -> int:
        """Publish a fact that is in the log already once more, to wake those who should have acted on it.

        It says where it came first: what came between the two stays after it.
        """
        known = await self._direct_get(topology.JOBS, {"multi_last": [subjects.of(fact)]})
        headers = {_FIRST_SEQ: str(known[0].place)} if known else {}
        return int((await self._js.publish(subjects.of(fact), facts.encode(fact), headers=headers)).seq)

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

    async def facts_of(self, job_id: str, *kinds: type[facts.Fact]) -> list[Recorded]:
        """The readable facts of a job, every run, in log order; only those of some kinds where any are named."""
        return list(_readable(await self._entries_of(job_id, *kinds)))

    async def history_of(self, job_id: str) -> list[Entry]:
        """Every message on the subjects of a job, in log order: with those that are no facts, or came `again`."""
        history: list[Entry] = []
        request = {"seq": 1, "batch": _HISTORY_BATCH, "next_by_subj": subjects.of_job(job_id)}
        while entries := await self._direct_get(topology.JOBS, request):  # a short batch is not yet the last one
            history += entries
            request["seq"] = entries[-1].seq + 1
        return history

    async def stored(self, fact: facts.Fact) -> facts.AnyFact | None:
        """What is in the log on the subject of a fact, if it is one. Asked of the stream's leader, as `knows`."""
        try:
            message = await self._js.get_last_msg(topology.JOBS, subjects.of(fact))
        except nats.js.errors.NotFoundError:
            return None
        try:
            return subjects.fact_on(subjects.of(fact), message.data or b"")
        except ValueError:
            return None

    async def knows(self, job_id: str) -> bool:
        """Whether the log has anything of a job. Asked of the stream's leader: a copy may be behind."""
        try:
            await self._js.get_last_msg(topology.JOBS, subjects.of_job(job_id))
        except nats.js.errors.NotFoundError:
            return False
        return True

    async def view(self, job_id: str) -> progress.JobView | None:
        """The job as its facts tell it; None where there is no such job."""
        view: progress.JobView | None = None
        for recorded in await self.facts_of(job_id):
            view = progress.fold(view, recorded.fact, recorded.seq)
        return view

    async def live_progress(self, job_id: str) -> list[progress.LiveProgress]:
        """The last word of each stage of a job on how far it is; nothing where a restart of the broker emptied it."""
        try:
            entries = await self._direct_get(topology.PROGRESS, {"multi_last": [subjects.progress_of_job(job_id)]})
        except nats.errors.NoRespondersError:
            return []
        return [msgspec.json.decode(entry.body, type=progress.LiveProgress) for entry in entries]

    async def read(self, first_seq: int, limit: int) -> list[Entry]:
        """At most `limit` messages from `first_seq` on, in order; empty at the end of the log."""
        return await self._direct_get(topology.JOBS, {"seq": first_seq, "batch": limit, "next_by_subj": "job.>"})

    async def last_seq(self) -> int:
        """The sequence of the last message in the log."""
        return int((await self._js.stream_info(topology.JOBS)).state.last_seq)

    async def report(self, live: progress.LiveProgress) -> None:
        """Say how far a stage is. Lossy by design: not acknowledged, not retried."""
        await self._client.publish(subjects.progress(live.job_id, live.stage), msgspec.json.encode(live))

    async def _entries_of(self, job_id: str, *kinds: type[facts.Fact]) -> list[Entry]:
        asked = [subjects.of_job_and_kind(job_id, kind) for kind in kinds] or [subjects.of_job(job_id)]
        try:
            return await self._direct_get(topology.JOBS, {"multi_last": asked})
        except _TooManySubjects:
            last = {entry.subject: entry for entry in await self.history_of(job_id)}
            names = {facts.name(kind) for kind in kinds}
            return [entry for entry in last.values() if not names or subjects.parse(entry.subject).fact in names]

    async def _direct_get(self, stream: str, request: dict[str, Any]) -> list[Entry]:
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox)
        try:
            await self._client.publish(f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(request), reply=inbox)
            return [entry async for entry in _replies(subscription)]
        finally:
            await subscription.unsubscribe()


def _precludes(known: facts.AnyFact, fact: facts.Fact) -> bool:
    """Whether a fact of the same job keeps another from becoming true."""
    if isinstance(fact, facts.JobExpired):
        retried = isinstance(known, facts.JobAccepted) and known.run > fact.run
        return retried or (isinstance(known, facts.JobExpired) and known.run >= fact.run)
    if isinstance(fact, facts.JobAccepted):
        return isinstance(known, facts.JobExpired) or (isinstance(known, facts.JobAccepted) and known.run >= fact.run)
    return known.run == fact.run and facts.ends_run(known)


def _readable(entries: list[Entry]) -> Iterator[Recorded]:
    for entry in sorted(entries, key=lambda entry: entry.place):
        try:
            yield Recorded(seq=entry.place, fact=subjects.fact_on(entry.subject, entry.body))
        except ValueError:
            continue  # somebody else's message on our subject: the projector lists it


async def _replies(subscription: Any) -> AsyncIterator[Entry]:
    async with asyncio.timeout(_READ_TIMEOUT_S):
        while True:
            message: Msg = await subscription.next_msg(timeout=_READ_TIMEOUT_S)
            headers = message.headers or {}
            status = None if "Nats-Sequence" in headers else headers.get("Status")  # a stored message may say anything
            if status in ("204", "404"):
                return
            if status == "503":
                raise nats.errors.NoRespondersError
            if status == "413":
                raise _TooManySubjects
            if status is not None:
                raise nats.errors.Error(f"direct get: {status} {headers.get('Description', '')}")
            first_seq = headers.get(_FIRST_SEQ, "")
            yield Entry(
                seq=int(headers["Nats-Sequence"]),
                first_seq=int(first_seq) if first_seq.isdecimal() else None,
                subject=headers["Nats-Subject"],
                body=message.data,
                stored_at=datetime.fromisoformat(headers["Nats-Time-Stamp"]),
            )
