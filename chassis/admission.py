"""Who waits and who runs: one ledger in the KV bucket `admission`, changed by compare-and-set only.

One key holds the whole ledger, because the limits speak of all jobs at once: a count over several keys could be
exceeded by submits that race. The gateway takes a place before a byte is uploaded; the dispatcher moves it on.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

import msgspec
from nats.errors import MaxPayloadError
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from chassis.joblog import LogFull

PLACES_MAX = 3_500
"""The broker takes messages of 1 MiB, and a place has up to 290 bytes."""

_KEY = "ledger"
T = TypeVar("T")


class State(StrEnum):
    """What a place is used for."""

    UPLOADING = "uploading"
    WAITING = "waiting"
    ACTIVE = "active"
    CANCELLED = "cancelled"
    """No longer to be started; the fact may not be published yet."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much is let in (environment: SUBTIDE_<NAME>)."""

    max_active_jobs: int = 3
    """Jobs that run at once, over all users."""
    max_active_per_owner: int = 5
    """Jobs of one owner that run at once."""
    max_queued_jobs: int = 10
    """Jobs of one owner that wait; 0 refuses a job as soon as the active places are taken."""
    max_waiting_jobs: int = 3_000
    """Jobs of all owners that have a place and do not run: they wait, or are being uploaded."""

    def __post_init__(self) -> None:
        if self.max_waiting_jobs + self.max_active_jobs > PLACES_MAX:
            raise ValueError(
                f"`max_waiting_jobs` and `max_active_jobs` may be {PLACES_MAX:,} together, and are "
                f"{self.max_waiting_jobs:,} and {self.max_active_jobs:,}: all places are in one message of the broker"
            )


class Place(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One job in the ledger. `counted_as` is whom the limits count it for: an owner, or a hash of an address."""

    owner: str
    counted_as: str
    run: int
    tier: int = 0
    state: State
    since: datetime
    """When the state began; of a place that is being uploaded, when its gateway last said that it is at it."""
    jobs: int = 1
    """How many jobs it stands for: a batch has one place until the dispatcher gives each of its jobs one. Until all
    of them are accepted it keeps its own, which then stands for none.
    """
    batch: str = ""
    """The batch that the job came in: as long as they wait, its jobs count as one."""
    uploads: list[str] = []
    """The uploads that share the place: tries of one submit. The last one to break off gives it up."""


class Ledger(msgspec.Struct, frozen=True):
    """All places, by job id, in the order they were taken."""

    places: dict[str, Place] = {}

    def count(self, *states: State, counted_as: str | None = None) -> int:
        """Jobs in any of the states, of one counted party or of all."""
        return sum(
            place.jobs
            for place in self.places.values()
            if place.state in states and counted_as in (None, place.counted_as)
        )

    def queued(self, counted_as: str) -> int:
        """What waits or is being uploaded of one counted party: jobs that came alone, and batches."""
        waiting = [
            place
            for place in self.places.values()
            if place.state in (State.UPLOADING, State.WAITING) and place.counted_as == counted_as
        ]
        return sum(not place.batch for place in waiting) + len({place.batch for place in waiting if place.batch})

    def unstarted(self) -> int:
        """Jobs of all owners that have a place and do not run. One that was cancelled has it until that is told."""
        return self.count(State.UPLOADING, State.WAITING, State.CANCELLED)

    def with_place(self, job_id: str, place: Place) -> "Ledger":
        """The ledger with a place added or replaced."""
        return self.with_places({job_id: place})

    def with_places(self, places: Mapping[str, Place]) -> "Ledger":
        """The ledger with places added or replaced."""
        return Ledger({**self.places, **places})

    def with_state(self, job_id: str, state: State) -> "Ledger":
        """The ledger with one place moved on; the same ledger where the job has none."""
        place = self.places.get(job_id)
        if place is None or place.state is state:
            return self
        return self.with_place(job_id, msgspec.structs.replace(place, state=state, since=datetime.now(UTC)))

    def without(self, job_id: str) -> "Ledger":
        """The ledger without a job."""
        return Ledger({other: place for other, place in self.places.items() if other != job_id})

    def has_room(self, counted_as: str, limits: Limits, jobs: int = 1) -> bool:
        """Whether so many more may come in at once: they could start now, or their owner's queue is not full; and in no
        case are there more in all than there may be.
        """
        if self.unstarted() + jobs > limits.max_waiting_jobs:
            return False
        held = (State.UPLOADING, State.WAITING, State.ACTIVE)
        must_wait = (
            self.count(*held) + jobs > limits.max_active_jobs
            or self.count(*held, counted_as=counted_as) + jobs > limits.max_active_per_owner
        )
        if not must_wait:
            return True
        free = max(0, limits.max_active_jobs - self.count(State.ACTIVE))
        waiting = max(0, self.queued(counted_as) - free)
        return waiting < limits.max_queued_jobs


class LedgerFull(LogFull):
    """The ledger no longer fits into a message of the broker: what would make it longer has to wait."""


class QueueFull(Exception):
    """No place: the active ones are taken and the owner's queue is full, or the queue of all owners is."""

    def __init__(self, active: int, waiting: int, *, unstarted: int | None = None) -> None:
        """`unstarted`: how many jobs of all owners would wait, where that is too many."""
        super().__init__(f"{active} jobs are running and {waiting} of yours are waiting")
        self.active = active
        self.waiting = waiting
        self.unstarted = unstarted


class Admission:
    """The ledger in its bucket. Every method is one compare-and-set, repeated until it wins."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket

    async def ledger(self) -> Ledger:
        """The ledger now."""
        ledger, _ = await self._read()
        return ledger

    async def take(self, job_id: str, place: Place, limits: Limits) -> None:
        """Take a place, or raise QueueFull. A job that has one for this run keeps it, and its uploads share it."""

        def taken(ledger: Ledger) -> Ledger:
            known = ledger.places.get(job_id)
            if known is not None and known.run >= place.run:
                return _shared(ledger, job_id, known, place)
            rest = ledger.without(job_id)  # what an earlier run had: it is over
            if not rest.has_room(place.counted_as, limits, place.jobs):
                unstarted = rest.unstarted() + place.jobs
                raise QueueFull(
                    rest.count(State.ACTIVE),
                    rest.queued(place.counted_as),
                    unstarted=unstarted if unstarted > limits.max_waiting_jobs else None,
                )
            return rest.with_place(job_id, place)

        await self.change(taken)

    async def renew(self, job_ids: Collection[str]) -> None:
        """Say that these are still being uploaded: a place of which nobody says so is dropped in time."""
        now = datetime.now(UTC)

        def renewed(ledger: Ledger) -> Ledger:
            places = {
                job_id: msgspec.structs.replace(place, since=now)
                for job_id, place in ledger.places.items()
                if job_id in job_ids and place.state is State.UPLOADING
            }
            return Ledger(ledger.places | places) if places else ledger

        await self.change(renewed)

    async def give_up(self, job_id: str, upload: str) -> None:
        """End an upload's part in its place; the place is free once no upload shares it. No effect once it moved on."""

        def given_up(ledger: Ledger) -> Ledger:
            place = ledger.places.get(job_id)
            if place is None or place.state is not State.UPLOADING:
                return ledger
            others = [other for other in place.uploads if other != upload]
            if not others:
                return ledger.without(job_id)
            return ledger.with_place(job_id, msgspec.structs.replace(place, uploads=others))

        await self.change(given_up)

    async def release(self, job_id: str) -> None:
        """Give the place up; a job without one has given it up."""
        await self.change(lambda ledger: ledger.without(job_id) if job_id in ledger.places else ledger)

    async def cancel_waiting(self, job_id: str, run: int) -> bool:
        """Keep a run that waits from being started. False where it is active or has no place, whoever has one."""
        won = False

        def cancelled(ledger: Ledger) -> Ledger:
            nonlocal won
            place = ledger.places.get(job_id)
            won = place is not None and place.run == run and place.state is not State.ACTIVE
            return ledger.with_state(job_id, State.CANCELLED) if won else ledger

        await self.change(cancelled)
        return won

    async def change(self, edit: Callable[[Ledger], Ledger]) -> Ledger:
        """Apply a pure edit by compare-and-set. Returns the ledger that was written (or found, if unchanged).

        Raises LedgerFull where it has become too long.
        """
        while True:
            ledger, revision = await self._read()
            edited = edit(ledger)
            if edited is ledger:
                return ledger
            body = msgspec.json.encode(edited)
            try:
                if revision is None:
                    await self._bucket.create(_KEY, body)
                else:
                    await self._bucket.update(_KEY, body, last=revision)
            except KeyWrongLastSequenceError:
                await asyncio.sleep(random.uniform(0, 0.01))  # noqa: S311 - spreads racers, guards nothing
                continue
            except MaxPayloadError as error:
                raise LedgerFull(f"the ledger of {len(edited.places):,} places has {len(body):,} bytes") from error
            return edited

    async def _read(self) -> tuple[Ledger, int | None]:
        try:
            entry = await self._bucket.get(_KEY)
        except KeyNotFoundError:
            return Ledger(), None
        return msgspec.json.decode(entry.value or b"{}", type=Ledger), entry.revision


def _shared(ledger: Ledger, job_id: str, known: Place, place: Place) -> Ledger:
    more = [upload for upload in place.uploads if upload not in known.uploads]
    if known.state is not State.UPLOADING or not more:
        return ledger
    return ledger.with_place(job_id, msgspec.structs.replace(known, uploads=[*known.uploads, *more]))
