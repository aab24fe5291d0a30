"""What is happening to every job, as it happens, handed to those who watch it.

Both streams are republished under `live.`, which is not kept: whoever was cut off reads the log again. So a watcher
is told when there may be a gap *before* anything after the gap reaches it, and gets the job's facts afterwards.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from chassis import telemetry
from chassis.joblog import JobLog, Recorded
from contracts import subjects, topology
from contracts.progress import LiveProgress

_REREAD_RETRY_S = 1.0
_FACTS = f"{topology.LIVE}.job.>"
_PROGRESS = f"{topology.LIVE}.progress.>"


class Watcher(Protocol):
    """Somebody who follows one job."""

    def heard_fact(self, recorded: Recorded) -> None:
        """A fact, once or more often, in log order but for gaps."""

    def heard_progress(self, live: LiveProgress) -> None:
        """A word of a stage on how far it is."""

    def gap(self) -> None:
        """Facts may be missing from here on: keep back what is heard until `reread`."""

    def reread(self, recorded: Sequence[Recorded]) -> None:
        """All facts of the job."""


class Feed:
    """One subscription for all watchers of this process."""

    def __init__(self, joblog: JobLog) -> None:
        self._joblog = joblog
        self._watchers: defaultdict[str, set[Watcher]] = defaultdict(set)
        self._rereading: asyncio.Task[None] | None = None

    async def start(self, client: Client) -> None:
        """Subscribe. `lost` and `resume` are to be called by the connection's owner."""
        await client.subscribe(_FACTS, cb=self._on_fact)
        await client.subscribe(_PROGRESS, cb=self._on_progress)
        await client.flush()

    def watch(self, job_id: str, watcher: Watcher) -> None:
        """Hand over what happens to the job from now on."""
        self._watchers[job_id].add(watcher)

    def unwatch(self, job_id: str, watcher: Watcher) -> None:
        """Stop; one who does not watch has stopped."""
        watchers = self._watchers.get(job_id)
        if watchers is None:
            return
        watchers.discard(watcher)
        if not watchers:
            del self._watchers[job_id]

    @property
    def watching(self) -> int:
        """How many watchers there are, over all jobs."""
        return sum(len(watchers) for watchers in self._watchers.values())

    def lost(self) -> None:
        """The connection broke, or messages were dropped."""
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.gap()

    def resume(self) -> None:
        """The connection is back: read again what is watched, until it works."""
        self.close()
        self._rereading = asyncio.create_task(self._reread(), name="feed-reread")

    def close(self) -> None:
        """Stop reading again."""
        if self._rereading is not None:
            self._rereading.cancel()

    async def _reread(self) -> None:
        for job_id in list(self._watchers):
            while job_id in self._watchers:
                try:
                    recorded = await self._joblog.facts_of(job_id)
                except (nats.errors.Error, TimeoutError) as error:
                    telemetry.logger(stage="gateway", job_id=job_id).warning("reread_failed", error=repr(error))
                    await asyncio.sleep(_REREAD_RETRY_S)
                    continue
                for watcher in list(self._watchers.get(job_id, ())):
                    watcher.reread(recorded)
                break

    async def _on_fact(self, message: Msg) -> None:
        try:
            subject = message.subject.removeprefix(f"{topology.LIVE}.")
            job_id = subjects.parse(subject).job_id
            if job_id not in self._watchers:
                return
            fact = subjects.fact_on(subject, message.data)
            recorded = Recorded(seq=int((message.headers or {})["Nats-Sequence"]), fact=fact)
        except (ValueError, KeyError):
            return  # somebody else's message on our subject: the projector lists it
        for watcher in list(self._watchers[job_id]):
            watcher.heard_fact(recorded)

    async def _on_progress(self, message: Msg) -> None:
        parts = message.subject.split(".")
        if len(parts) < 3 or parts[2] not in self._watchers:
            return
        try:
            live = msgspec.json.decode(message.data, type=LiveProgress)
        except msgspec.MsgspecError:
            return
        for watcher in list(self._watchers[parts[2]]):
            watcher.heard_progress(live)
