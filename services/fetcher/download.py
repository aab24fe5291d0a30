"""A recording on its way into the store, part by part, over however many connections and workers.

A part is written once it is full. All that a worker that died leaves are such parts, under a key that stands for this
very content: another worker asks first, and goes on behind them if the server still has the same (docs/adr/0008).
"""

import asyncio
import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta
from email.message import Message
from email.utils import parsedate_to_datetime

import msgspec

from chassis.store import Store
from contracts import addresses
from contracts.addresses import Address
from contracts.artifacts import LEAF_BYTES, ArtifactRef, ContentDigest, part_key
from contracts.failures import FailureCode, Permanent, Retryable
from contracts.filenames import clean_filename
from services.fetcher.asking import BROKEN, Answer, Asking
from services.fetcher.settings import Settings

_REPORT_EVERY_S = 0.5
_ETAG_MAX = 1024
_LATER = (408, 425, 429)
"""Refusals that mean: not now."""
_STRONG_AFTER = timedelta(seconds=1)
"""RFC 9110, 8.8.2.2: a date tells one content from the next if it was that old when it was told."""
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")
_WORD = re.compile(r"[A-Za-z0-9, -]{1,40}")

Report = Callable[[float], Awaitable[None]]
"""Hears how much of a recording is there, from 0 to 1."""


class _Again(Exception):
    """Ask once more, from where we are."""


class _Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a server is sending: enough to ask for the rest of it."""

    key: str
    validator: str | None
    length: int | None
    filename: str


class Download:
    """One try. Raises as `engine.Fetcher.fetch` says, but for the time."""

    def __init__(
        self, store: Store, asking: Asking, folder: str, *, settings: Settings, max_bytes: int, report: Report
    ) -> None:
        self._store = store
        self._asking = asking
        self._folder = folder
        self._settings = settings
        self._max_bytes = max_bytes
        self._report = report
        self._reported_at = 0.0
        self._resumable = True
        self._content: _Content | None = None
        self._reset()

    @property
    def offset(self) -> int:
        """Bytes that have come."""
        return sum(self._parts) + len(self._begun)

    async def run(self, address: Address) -> tuple[ArtifactRef, str]:
        """The whole recording, stored, and what its server calls it."""
        breaks = furthest = 0
        while not self._is_whole():
            try:
                async with self._asking.ask(address, self._rest()) as answer:
                    await self._receive(answer)
                break
            except (_Again, *BROKEN) as error:
                breaks = breaks + 1 if len(self._parts) <= furthest else 1
                furthest = max(furthest, len(self._parts))
                if breaks > self._settings.breaks_max or self._content is None:
                    raise Retryable(
                        FailureCode.ADDRESS_UNREACHABLE,
                        f"{address.host}: {type(error).__name__} {error}",
                        told=f"{self.offset:,} bytes of it had come." if self.offset else "",
                    ) from None
                if not isinstance(error, _Again):
                    await asyncio.sleep(self._settings.break_wait_s)
        return await self._end()

    def _rest(self) -> dict[bytes | str, bytes | str]:
        """The headers that ask for what is missing, if it is the rest of the same."""
        if self._content is None or self._content.validator is None or not self._resumable or not self.offset:
            return {}
        return {"Range": f"bytes={self.offset}-", "If-Range": self._content.validator}

    async def _receive(self, answer: Answer) -> None:
        asked_for_rest = bool(self._rest())
        _check_status(answer, asked_for_rest)
        if answer.status == 200:
            await self._begin(answer, in_place_of_rest=asked_for_rest)
        elif not self._continues(answer):
            self._resumable = False
            raise _Again("it does not send the rest")
        async for block in answer.body:
            await self._take(block)
        if self._content is not None and self._content.length is not None and not self._is_whole():
            raise _Again("it ended early")

    def _continues(self, answer: Answer) -> bool:
        """Whether what comes is the rest of what is here."""
        content = self._content
        said = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
        if answer.status != 206 or said is None or content is None or int(said[1]) != self.offset:
            return False
        etag = answer.headers.get("etag", "")
        if content.validator is not None and content.validator.startswith('"') and etag not in ("", content.validator):
            return False
        return said[3] == "*" or content.length in (None, int(said[3]))

    async def _begin(self, answer: Answer, *, in_place_of_rest: bool) -> None:
        """The first byte is about to come."""
        _check_packing(answer)
        if in_place_of_rest and self._content is not None and self._content.validator == _validator(answer):
            self._resumable = False  # it is the same, and yet all of it comes again
        announced = answer.headers.get("content-length", "")
        length = int(announced) if announced.isdecimal() else None
        if length is not None and length > self._max_bytes:
            raise self._too_large(f"It has {length:,} bytes")
        validator = _validator(answer)
        mark = secrets.token_hex(16)  # nobody else writes there
        if validator is not None:
            mark = hashlib.sha256(f"{validator} {length}".encode()).hexdigest()[:32]
        self._reset()
        self._content = _Content(
            key=self._folder + mark, validator=validator, length=length, filename=_filename(answer)
        )
        if validator is not None and self._resumable and await self._found():
            raise _Again("a part of it is here")

    async def _found(self) -> bool:
        """Take up the full parts that are stored."""
        assert self._content is not None
        stored = {file.key: file.bytes async for file in self._store.list(self._content.key + "/")}
        while stored.get(key := part_key(self._content.key, len(self._parts))) == LEAF_BYTES:
            await asyncio.to_thread(self._digest.update, await self._store.get(key))
            self._parts.append(LEAF_BYTES)
        return bool(self._parts)

    async def _take(self, block: bytes) -> None:
        if self.offset + len(block) > self._max_bytes:
            raise self._too_large("More than that came")
        self._begun += block
        if len(self._begun) >= LEAF_BYTES:
            await self._keep(LEAF_BYTES)
        await self._tell()

    async def _keep(self, size: int) -> None:
        """Store a part. Whoever else does has the same bytes, or another key."""
        assert self._content is not None
        part = bytes(self._begun[:size])
        await asyncio.to_thread(self._digest.update, part)
        await self._store.put_part(part_key(self._content.key, len(self._parts)), part)
        del self._begun[:size]
        self._parts.append(size)

    async def _tell(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._content and self._content.length and now - self._reported_at >= _REPORT_EVERY_S:
            self._reported_at = now
            await self._report(min(1.0, self.offset / self._content.length))

    async def _end(self) -> tuple[ArtifactRef, str]:
        assert self._content is not None
        if not self.offset:
            raise Permanent(FailureCode.EMPTY_FILE)
        if self._begun:
            await self._keep(len(self._begun))
        key, digest = self._content.key, self._digest.hexdigest()
        ref = ArtifactRef(key=key, digest=digest, bytes=self.offset, parts=list(self._parts))
        return ref, self._content.filename

    def _is_whole(self) -> bool:
        return self._content is not None and self.offset == self._content.length

    def _reset(self) -> None:
        self._parts: list[int] = []
        self._begun = bytearray()
        self._digest = ContentDigest()

    def _too_large(self, value: str) -> Permanent:
        told = f"{value}; this server accepts {self._max_bytes:,}."
        return Permanent(FailureCode.ADDRESS_TOO_LARGE, told, told=told)


def _check_status(answer: Answer, asked_for_rest: bool) -> None:
    status = answer.status
    if status == 200 or (asked_for_rest and status in (206, 416)):
        return
    told = f"It answered {status}."
    if status in _LATER or status >= 500:
        raise Retryable(FailureCode.ADDRESS_UNREACHABLE, f"{answer.address.host}: {status}", told=told)
    raise Permanent(FailureCode.ADDRESS_REFUSED, f"{answer.address.host}: {status}", told=told)


def _check_packing(answer: Answer) -> None:
    """A recording that is packed on its way would be stored packed, which nobody can decode; nor do we unpack bombs."""
    packing = answer.headers.get("content-encoding", "identity").strip().lower()
    if packing not in ("", "identity"):
        shown = packing if _WORD.fullmatch(packing) else "unknown"
        raise Permanent(
            FailureCode.ADDRESS_REFUSED,
            f"{answer.address.host}: content-encoding {shown}",
            told=f"It came packed ({shown}), although it was asked for as it is.",
        )


def _validator(answer: Answer) -> str | None:
    """What tells this content from any other of the same address; None where the server has nothing that is sure."""
    etag = answer.headers.get("etag", "")
    if 2 < len(etag) <= _ETAG_MAX and etag.isascii() and etag.startswith('"') and etag.endswith('"'):
        return etag
    modified = answer.headers.get("last-modified", "")
    try:
        age = parsedate_to_datetime(answer.headers["date"]) - parsedate_to_datetime(modified)
    except (KeyError, ValueError, TypeError):
        return None
    return modified if age >= _STRONG_AFTER else None


def _filename(answer: Answer) -> str:
    """What the server calls it, else what the address does."""
    header = Message()
    header["Content-Disposition"] = answer.headers.get("content-disposition", "")
    try:
        given = header.get_filename() or ""
    except (ValueError, LookupError):
        given = ""
    return clean_filename(given) if given.strip() else addresses.filename(answer.address)
