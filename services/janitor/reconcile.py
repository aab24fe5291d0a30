"""Holds the log against what follows from it, and puts right what is missing: the admission ledger, work whose message
vanished, schedules, stored files.

Nothing is believed at the first look: what was missing must be missing still a moment later, because a worker says
first and acks then. Every remedy may come twice without harm, so two janitors do not disturb each other.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

import msgspec
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from chassis import telemetry
from chassis.admission import Admission, Ledger, Limits, Place, State
from chassis.joblog import Entry, JobLog
from contracts import facts, subjects, topology
from services.janitor.engine import Survey, expiry
from services.janitor.owed import owed
from services.janitor.places import Release, Restore, Wake, misplaced, starved
from services.janitor.removal import Removal
from services.janitor.schedules import Schedules
from services.janitor.survey import Surveying

Wrong = dict[tuple[str, ...], Callable[[], Awaitable[None]]]
"""What is wrong, and how it is put right."""


class Settled(msgspec.Struct, frozen=True):
    """How far a durable is."""

    seq: int = 0
    """Every message up to here is done with."""
    idle: bool = False
    """Whether nothing waits and nothing is in work."""


class Said(msgspec.Struct, frozen=True):
    """A fact, and where it came last: the message that a durable has of it."""

    fact: facts.AnyFact
    last_seq: int


class Reconciliation:
    """One at a time in this process."""

    def __init__(
        self,
        client: Client,
        joblog: JobLog,
        surveying: Surveying,
        schedules: Schedules,
        removal: Removal,
        *,
        numbers: topology.Numbers,
        limits: Limits,
        second_look_s: float,
    ) -> None:
        self._js = client.jetstream(timeout=10.0)
        self._joblog = joblog
        self._surveying = surveying
        self._schedules = schedules
        self._removal = removal
        self._numbers = numbers
        self._limits = limits
        self._second_look_s = second_look_s
        self._one_at_a_time = asyncio.Lock()

    async def run(self) -> int:
        """Put right what is not. Returns the number of things."""
        async with self._one_at_a_time:
            return await self._heal() + await self._removal.sweep()

    async def _heal(self) -> int:
        suspected = await self._look()
        if not suspected:
            return 0
        await asyncio.sleep(self._second_look_s)
        wrong = {key: remedy for key, remedy in (await self._look()).items() if key in suspected}
        for key, remedy in wrong.items():
            await remedy()
            telemetry.logger(stage="janitor").warning("healed", what=key[0], about=key[1:])
        return len(wrong)

    async def _look(self) -> Wrong:
        # In this order: what a durable was done with before the log is read has its result in the log.
        settled = {durable.name: await self._settled(durable) for durable in topology.DURABLES}
        admission = Admission(await self._js.key_value(topology.ADMISSION))
        ledger = await admission.ledger()
        scheduled = await self._schedules.subjects()
        survey = await self._surveying.now()
        live = {job_id for job_id, job in survey.jobs.items() if job.live}
        working = live | {job_id for job_id, job in survey.jobs.items() if job.unexported}
        asked = sorted(working | set(ledger.places))
        said = {job_id: _said(await self._joblog.history_of(job_id)) for job_id in asked}
        return {
            **self._places(admission, ledger, said, survey, settled[topology.DISPATCHER.name]),
            **self._work({job_id: said[job_id] for job_id in working}, settled),
            **self._batches(survey, settled[topology.DISPATCHER.name]),
            **self._expiries(survey, scheduled, settled[topology.RETENTION.name]),
        }

    async def _settled(self, durable: topology.Durable) -> Settled:
        try:
            info = await self._js.consumer_info(durable.stream, durable.name)
        except NotFoundError:
            return Settled()  # the service makes it again, and all its messages come
        seq = info.ack_floor.stream_seq if info.ack_floor else 0
        if not info.num_ack_pending and info.delivered:
            # The floor does not pass a message that was given up until another is acked.
            seq = max(seq, info.delivered.stream_seq)
        return Settled(seq, idle=not info.num_ack_pending and not info.num_pending)

    def _places(
        self,
        admission: Admission,
        ledger: Ledger,
        said: Mapping[str, list[Said]],
        survey: Survey,
        dispatcher: Settled,
    ) -> Wrong:
        wrong: Wrong = {}
        jobs = {job_id: [one.fact for one in entries] for job_id, entries in said.items()}
        now = datetime.now(UTC)
        folded = {batch.accepted.job_id for batch in survey.folded()}
        silent_s = self._numbers.ack_wait_s
        for remedy in misplaced(ledger, jobs, self._limits, now=now, silent_s=silent_s, folded=folded):
            match remedy:
                case Release(job_id=job_id, run=run):
                    key = ("place_without_job", job_id, str(run))
                    wrong[key] = partial(self._release, admission, remedy, jobs)
                case Restore(started=started):
                    key = ("job_without_place", started.job_id, str(started.run))
                    wrong[key] = partial(self._restore, admission, remedy)
                case Wake(accepted=accepted, unheard=unheard):
                    seq = _seq_of(accepted, said[accepted.job_id])
                    if dispatcher.seq >= seq if unheard else dispatcher.idle:
                        wrong[("not_dispatched", accepted.job_id, str(seq))] = partial(self._again, accepted)
        return wrong

    def _work(self, said: Mapping[str, list[Said]], settled: Mapping[str, Settled]) -> Wrong:
        wrong: Wrong = {}
        for entries in said.values():
            run = max((one.fact.run for one in entries if isinstance(one.fact, facts.JobAccepted)), default=0)
            of_run = [one.fact for one in entries if one.fact.run == run]
            for step in owed(of_run, window=self._numbers.window):
                seq = _seq_of(step.fact, entries)
                if settled[step.durable].seq >= seq:
                    wrong[("work_vanished", step.durable, str(seq))] = partial(self._again, step.fact)
        return wrong

    def _batches(self, survey: Survey, dispatcher: Settled) -> Wrong:
        return {
            ("work_vanished", topology.DISPATCHER.name, str(batch.last_seq)): partial(self._again, batch.waking)
            for batch in survey.folded()
            if dispatcher.seq >= batch.last_seq
        }

    def _expiries(self, survey: Survey, scheduled: set[str], retention: Settled) -> Wrong:
        wrong: Wrong = {}
        now = datetime.now(UTC)
        for job_id, job in survey.jobs.items():
            expired = expiry(job_id, job, self._numbers.retention_s, now)
            if expired is None or subjects.schedule(expired) in scheduled:
                continue
            if subjects.due(expired) in scheduled and not retention.idle:
                continue  # its time has just come
            wrong[("not_scheduled", job_id, str(job.run))] = partial(self._schedules.arrange, expired)
        return wrong

    async def _again(self, fact: facts.AnyFact) -> None:
        await self._joblog.again(fact)

    async def _release(
        self, admission: Admission, release: Release, jobs: Mapping[str, Sequence[facts.AnyFact]]
    ) -> None:
        def released(ledger: Ledger) -> Ledger:
            place = ledger.places.get(release.job_id)
            return ledger.without(release.job_id) if place is not None and place.run == release.run else ledger

        ledger = await admission.change(released)
        for wake in starved(ledger, jobs, self._limits):
            await self._joblog.again(wake.accepted)

    async def _restore(self, admission: Admission, restore: Restore) -> None:
        started = restore.started
        place = Place(
            owner=started.owner,
            counted_as=started.owner,
            run=started.run,
            tier=restore.tier,
            state=State.ACTIVE,
            since=started.at,
        )
        await admission.change(
            lambda ledger: ledger if started.job_id in ledger.places else ledger.with_place(started.job_id, place)
        )


def _seq_of(fact: facts.AnyFact, said: Sequence[Said]) -> int:
    return next(one.last_seq for one in said if one.fact == fact)


def _said(history: Sequence[Entry]) -> list[Said]:
    """What is known of a job, in log order; a fact that came `again` keeps its place."""
    said: dict[str, Said] = {}
    for entry in history:
        with suppress(ValueError):
            said[entry.subject] = Said(subjects.fact_on(entry.subject, entry.body), entry.seq)
    return list(said.values())
