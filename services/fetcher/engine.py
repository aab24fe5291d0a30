"""What is at an address, into the store; what was fetched for the same job before is not fetched again.

Knows no NATS.
"""

import asyncio
from datetime import datetime

import httpcore
import msgspec

from chassis.connecting import Resolve, resolve
from chassis.store import Store
from contracts import addresses
from contracts.addresses import Rules
from contracts.artifacts import ArtifactRef, fetched_folder, fetched_note, part_keys
from contracts.failures import FailureCode, Permanent, Retryable
from services.fetcher.asking import Asking
from services.fetcher.download import Download, Report
from services.fetcher.settings import Settings

IDENTITY = "http/1"


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """The note that the recording of a job is there."""

    source: ArtifactRef
    filename: str


class Fetcher:
    """Fetches recordings under rules. `resolve` says which IP addresses a name has, `network` connects to one."""

    def __init__(
        self,
        store: Store,
        rules: Rules,
        settings: Settings,
        *,
        resolve: Resolve = resolve,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._store = store
        self._rules = rules
        self._settings = settings
        self._asking = Asking(rules, settings, resolve, network or httpcore.AnyIOBackend())

    async def fetch(
        self, url: str, *, owner: str, job_id: str, filename: str, report: Report
    ) -> tuple[Fetched, datetime | None]:
        """The recording, and since when it is there if it was. `filename` is what the job calls it meanwhile.

        Idempotency key: the note, create-only. Raises Permanent: ADDRESS_FORBIDDEN, ADDRESS_REFUSED, ADDRESS_TOO_LARGE,
        ADDRESS_TIMED_OUT or EMPTY_FILE. Raises Retryable: ADDRESS_UNREACHABLE. Raises StoreFull.
        """
        note = fetched_note(owner, job_id)
        if (found := await self._store.record(note, Fetched)) is not None:
            if await self._is_there(found[0].source):
                return found[0], found[1].made_at
            await self._store.delete(note)
        if not self._rules.enabled:
            raise Permanent(
                FailureCode.ADDRESS_FORBIDDEN, "addresses are switched off", told="It fetches nothing at all."
            )
        try:
            address = addresses.parse(url)
        except addresses.Malformed as error:
            raise Permanent(FailureCode.ADDRESS_FORBIDDEN, str(error), told=str(error)) from None
        download = Download(
            self._store,
            self._asking,
            fetched_folder(owner, job_id),
            settings=self._settings,
            max_bytes=self._rules.max_bytes,
            report=report,
        )
        limit = asyncio.timeout(self._settings.total_s)
        try:
            async with limit:
                source, its_name = await download.run(address)
        except TimeoutError:
            if not limit.expired():
                raise
            raise Permanent(
                FailureCode.ADDRESS_TIMED_OUT,
                f"{download.offset} bytes of {address.host}",
                told=f"After {self._settings.total_s:,.0f} seconds, {download.offset:,} bytes of it had come.",
            ) from None
        if not await self._is_there(source):
            raise Retryable(FailureCode.ADDRESS_UNREACHABLE, "what was stored earlier has just been deleted")
        if filename != addresses.filename(address):
            its_name = filename  # which the user chose
        return await self._store.keep(note, Fetched(source=source, filename=its_name), Fetched), None

    async def _is_there(self, source: ArtifactRef) -> bool:
        """Whether every part is stored, in its size."""
        sizes = {file.key: file.bytes async for file in self._store.list(source.key + "/")}
        return all(sizes.get(key) == size for key, size in zip(part_keys(source), source.parts, strict=True))
