"""Several recordings at once: taken in as one fact, looked at as one thing, their results in one file."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from functools import partial

import msgspec

from chassis.joblog import JobLog
from chassis.store import Store
from contracts import facts
from contracts.addresses import Rules
from contracts.addresses import filename as filename_at
from contracts.failures import FAILURES, FailureCode
from contracts.parameters import Parameters
from contracts.progress import JobView, Status
from services.gateway import access, addresses, bundle, form, idempotency
from services.gateway.commands import Commands
from services.gateway.engine import HighWater, folded
from services.gateway.idempotency import Identity
from services.gateway.naming import NamedBatch, Source, in_item
from services.gateway.places import Places
from services.gateway.problems import Problem
from services.gateway.submit import OWNER, check_unused, check_whole, job_of, upload_used
from services.gateway.uploads import Kept, Uploads

FACT_BYTES_MAX = 900_000
"""The broker takes messages of 1 MiB."""

_AT_ONCE = 8
_LOOKS, _LOOKS_EVERY_S = 25, 0.02
EXPIRED = "expired"


class AcceptedJob(msgspec.Struct, frozen=True, kw_only=True):
    """One job of a batch, in the order of the items."""

    job_id: str
    access_token: str
    """Opens the job; given out once, here."""
    filename: str


class AcceptedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """All of it is in the log; from here on it survives everything."""

    batch_id: str
    batch_token: str
    """Opens the batch; given out once, here."""
    jobs: list[AcceptedJob]


class BatchJob(msgspec.Struct, frozen=True, kw_only=True):
    """One job of a batch as its owner sees it. `status` is that of the job, or `expired`."""

    job_id: str
    filename: str
    status: str
    progress: float
    progress_message: str
    error_code: str | None
    error_message: str | None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as its owner sees it. `progress` is per cent of all jobs together; a job that ended counts in full."""

    batch_id: str
    created_at: datetime
    done: bool
    """Whether every job has ended, however it ended."""
    progress: float
    counts: dict[str, int]
    """Jobs by status."""
    jobs: list[BatchJob]


class Opened(msgspec.Struct, frozen=True):
    """A batch and its jobs as they stand; None for one that is not in the log yet, or not any more."""

    accepted: facts.BatchAccepted
    given_up: bool
    """Whether the batch could not be unfolded as long as it was kept: there will be no further jobs."""
    views: Sequence[JobView | None]


class Batches:
    """Takes batches in, and shows them."""

    def __init__(
        self,
        joblog: JobLog,
        store: Store,
        places: Places,
        uploads: Uploads,
        owners: Commands,
        high_water: HighWater,
        rules: Rules,
    ) -> None:
        self._joblog = joblog
        self._store = store
        self._places = places
        self._uploads = uploads
        self._owners = owners
        self._high_water = high_water
        self._rules = rules

    async def submit(
        self, identity: Identity, of_items: Sequence[Identity], named: NamedBatch, *, counted_as: str
    ) -> AcceptedBatch:
        """Take a place for all, mark the uploads, append the batch. Raises Problem, LogFull or nats' errors."""
        read = [await self._item(n, source, of_items[n]) for n, source in enumerate(named.sources)]
        items = [item for item, _ in read]
        if identity.keyed and (known := await self._accepted(identity.job_id)) is not None:
            return _again(known, identity, of_items, items, named.parameters)
        _check_different(items)
        for n, item in enumerate(items):
            if item.source is not None and await self._joblog.facts_of(item.job_id):
                raise in_item(n, upload_used())
        batch = facts.BatchAccepted(
            job_id=identity.job_id,
            run=1,
            owner=OWNER,
            at=datetime.now(UTC),
            items=items,
            parameters=named.parameters,
            token_sha256=identity.token_sha256,
        )
        check_fits(batch)
        async with self._places.held(
            batch.job_id, 1, owner=OWNER, counted_as=counted_as, upload=None, jobs=len(items)
        ) as held:
            for n, (_, kept) in enumerate(read):
                if kept is not None:
                    await self._use(n, kept, batch.job_id)
            await held.append(batch)
        if not held.won and (known := await self._accepted(batch.job_id)) is not None:
            return _again(known, identity, of_items, items, named.parameters)
        await self._unfolded(batch)
        return _answer(batch, identity, of_items)

    async def opened(self, batch_id: str, token: str | None) -> Opened:
        """A batch and its jobs. Raises Problem, the same for a wrong token as for a batch that is not there."""
        try:
            recorded = [entry.fact for entry in await self._joblog.facts_of(batch_id)]
        except ValueError:
            recorded = []  # an id that no batch can have
        accepted = next((fact for fact in recorded if isinstance(fact, facts.BatchAccepted)), None)
        expected = accepted.token_sha256 if accepted is not None else "0" * 64
        opens = hmac.compare_digest(expected, access.digest(token or ""))
        if accepted is None or not opens:
            raise Problem(404, "batch_not_found", "There is no such batch, or this token does not open it.")
        limit = asyncio.Semaphore(_AT_ONCE)

        async def view(item: facts.BatchItem) -> JobView | None:
            async with limit:
                return await self._view(item.job_id)

        views = await asyncio.gather(*(view(item) for item in accepted.items))
        return Opened(accepted, any(isinstance(fact, facts.JobExpired) for fact in recorded), views)

    def shown(self, opened: Opened) -> Batch:
        """What the owner is shown."""
        jobs = [
            self._job(item, view, opened.given_up)
            for item, view in zip(opened.accepted.items, opened.views, strict=True)
        ]
        counts: dict[str, int] = {}
        for job in jobs:
            counts[job.status] = counts.get(job.status, 0) + 1
        over = [job.status not in (Status.PENDING, Status.PROCESSING) for job in jobs]
        done = [100.0 if ended else job.progress for ended, job in zip(over, jobs, strict=True)]
        return Batch(
            batch_id=opened.accepted.job_id,
            created_at=opened.accepted.at,
            done=all(over),
            progress=round(sum(done) / len(done), 1),
            counts=counts,
            jobs=jobs,
        )

    async def cancel(self, opened: Opened, *, running: bool) -> None:
        """Cancel every job that waits; with `running`, those that run, too. Jobs that ended stay as they are.

        Raises Problem where some of its jobs are not there yet, which is over in a moment.
        """
        for view in opened.views:
            if view is None or view.status.terminal:
                continue
            try:
                await self._owners.cancel(view, running=running)
            except Problem as problem:
                if problem.document.code != "not_cancellable":
                    raise
        if None in opened.views and not opened.given_up:
            raise Problem(
                409,
                "batch_beginning",
                "The jobs of this batch are being made at this moment. Cancel it again in a few seconds.",
                headers={"Retry-After": "2"},
            )

    def results(self, opened: Opened, formats: Sequence[str]) -> AsyncIterator[bytes]:
        """A zip of the results of the jobs that were completed, as it is made. Raises Problem where there are none."""
        entries = bundle.entries(opened.views, formats)
        if not entries:
            raise Problem(409, "not_finished", "No job of this batch has subtitles yet.")
        return bundle.zipped(self._store, entries)

    async def _unfolded(self, batch: facts.BatchAccepted) -> None:
        """Give the dispatcher a moment, so that whoever asks for the jobs at once finds them."""
        for _ in range(_LOOKS):
            if await self._joblog.facts_of(batch.items[-1].job_id):
                return
            await asyncio.sleep(_LOOKS_EVERY_S)

    async def _use(self, n: int, kept: Kept, batch_id: str) -> None:
        try:
            await self._uploads.use(kept, batch_id, partial(check_unused, self._joblog))
        except Problem as problem:
            raise in_item(n, problem) from None

    async def _item(self, n: int, source: Source, identity: Identity) -> tuple[facts.BatchItem, Kept | None]:
        try:
            if source.source_url:
                address = addresses.accepted(source.source_url, self._rules)
                filename = form.clean_filename(source.filename) if source.filename else filename_at(address)
                return facts.BatchItem(
                    job_id=identity.job_id,
                    filename=filename,
                    source_url=address.url,
                    token_sha256=identity.token_sha256,
                ), None
            kept = await self._uploads.opened(source.upload_id or "", source.upload_token)
            check_whole(kept.upload)
        except Problem as problem:
            raise in_item(n, problem) from None
        filename = form.clean_filename(source.filename) if source.filename else kept.upload.filename
        return facts.BatchItem(
            job_id=job_of(kept.upload_id),
            filename=filename,
            source=kept.upload.source,
            token_sha256=identity.token_sha256,
        ), kept

    async def _accepted(self, batch_id: str) -> facts.BatchAccepted | None:
        recorded = await self._joblog.facts_of(batch_id)
        return next((entry.fact for entry in recorded if isinstance(entry.fact, facts.BatchAccepted)), None)

    async def _view(self, job_id: str) -> JobView | None:
        recorded = [(entry.seq, entry.fact) for entry in await self._joblog.facts_of(job_id)]
        view = folded(recorded)
        if view is None or view.status.terminal:
            return view
        return folded(recorded, await self._joblog.live_progress(job_id)) or view

    def _job(self, item: facts.BatchItem, view: JobView | None, given_up: bool) -> BatchJob:
        if view is None:
            return BatchJob(
                job_id=item.job_id,
                filename=item.filename,
                status=Status.FAILED if given_up else Status.PENDING,
                progress=0.0,
                progress_message="",
                error_code=FailureCode.INTERNAL if given_up else None,
                error_message=FAILURES[FailureCode.INTERNAL].sentence if given_up else None,
            )
        raised = self._high_water.raised(view)
        return BatchJob(
            job_id=view.job_id,
            filename=view.filename,
            status=EXPIRED if view.expired_at else view.status,
            progress=raised.progress,
            progress_message=raised.progress_message,
            error_code=view.error_code,
            error_message=view.error_message,
        )


def identities(key: str | None, caller: str, secret: bytes, items: int) -> tuple[Identity, list[Identity]]:
    """What a batch and each of its jobs are to be called. No submit can have the same: a key has no space."""
    if key is None:
        return idempotency.new(), [idempotency.new() for _ in range(items)]
    return idempotency.derived(f"batch {key}", caller, secret), [
        idempotency.derived(f"batch {n} {key}", caller, secret) for n in range(items)
    ]


def check_fits(batch: facts.BatchAccepted) -> None:
    """Whether the log takes what there is to write down. Raises Problem: uploads in many pieces make it long."""
    if (size := len(facts.encode(batch))) > FACT_BYTES_MAX:
        raise Problem(
            413,
            "batch_too_large",
            f"What there is to write down of this batch has {size:,} bytes, and at most {FACT_BYTES_MAX:,} are taken. "
            "Send fewer items at once.",
        )


def _check_different(items: Sequence[facts.BatchItem]) -> None:
    seen: set[str] = set()
    for n, item in enumerate(items):
        if item.source is not None and item.job_id in seen:
            raise in_item(n, Problem(400, "repeated_upload", "The same upload is named twice.", field="upload_id"))
        seen.add(item.job_id)


def _again(
    known: facts.BatchAccepted,
    identity: Identity,
    of_items: Sequence[Identity],
    items: Sequence[facts.BatchItem],
    parameters: Parameters,
) -> AcceptedBatch:
    if (known.items, known.parameters) != (items, parameters):
        raise idempotency.reused()
    return _answer(known, identity, of_items)


def _answer(batch: facts.BatchAccepted, identity: Identity, of_items: Sequence[Identity]) -> AcceptedBatch:
    return AcceptedBatch(
        batch_id=batch.job_id,
        batch_token=identity.token,
        jobs=[
            AcceptedJob(job_id=item.job_id, access_token=given.token, filename=item.filename)
            for item, given in zip(batch.items, of_items, strict=True)
        ],
    )
