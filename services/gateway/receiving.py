"""The bytes of one request into parts of an upload, so that whatever breaks, what has arrived is kept.

A part is stored first and counts once the upload says so. A request that lost its lease stores what nobody speaks of,
under a number that nobody else uses.
"""

import asyncio
import hashlib
import hmac
import math
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import msgspec

from chassis import telemetry
from chassis.store import Store
from contracts.artifacts import LEAF_BYTES, ContentDigest, part_key
from contracts.uploads import PARTS_MAX, Upload
from services.gateway import idempotency
from services.gateway.buffers import Buffer, Buffers
from services.gateway.entries import Changed
from services.gateway.problems import Problem
from services.gateway.room import WAIT_S, Room
from services.gateway.uploads import Kept, Uploads, leased

CHECKSUMS = {"sha1": hashlib.sha1, "sha256": hashlib.sha256}
"""What a client may have its bytes checked with."""
OFFSET_MISMATCH = "upload_offset_mismatch"
CHECKSUM_MISMATCH = "checksum_mismatch"

_LOOKS_A_LEASE = 4
_UNCOUNTED_MAX = 16
"""Parts that may be stored before the upload says so, which it does `_LOOKS_A_LEASE` times a lease in any case."""


class Checksum(msgspec.Struct, frozen=True):
    """What the bytes of a request should have."""

    algorithm: str
    digest: bytes


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How much goes into a part, and how long a request that is silent keeps others out."""

    part_bytes: int = LEAF_BYTES
    lease_s: float = 4.0
    """Clients come back after 0, 1, 3 and 5 seconds: one of these must find the way free."""
    parts_max: int = PARTS_MAX
    at_once: int = 64
    """Requests that are received at once."""
    wait_s: float = WAIT_S
    """How long another one waits for its place."""


class Receiving:
    """Takes requests with bytes in; one at a time for each upload, over all gateways."""

    def __init__(self, uploads: Uploads, store: Store, pace: Pace) -> None:
        self._uploads = uploads
        self._store = store
        self._room = Room(pace.at_once, pace.wait_s)
        self._buffers = Buffers(pace.part_bytes)
        self.pace = pace

    async def receive(
        self,
        kept: Kept,
        offset: int,
        blocks: AsyncIterator[bytes],
        *,
        announced: int | None,
        checksum: Checksum | None = None,
        begun: Callable[[Upload], Upload] = lambda upload: upload,
    ) -> Upload:
        """Store what comes from `offset` on. Raises Problem; what came is kept, unless it has a checksum.

        `begun` says what else becomes of the upload as the request begins.
        """
        self._admit(begun(kept.upload), offset, announced)  # to be refused one needs no place
        leave = await self._room.enter(kept.upload.counted_as)
        try:
            kept = await self._leased(kept, offset, announced, checksum, begun)
        except BaseException:
            leave()
            raise
        buffers = (self._buffers.take(), self._buffers.take())
        request = _Request(self._uploads, self._store, self.pace, kept, blocks, checksum, buffers)
        try:
            await request.run()
        except Changed as error:
            raise _taken_over() from error
        finally:
            self._let_go(request, leave)
        return request.upload

    async def compare(self, upload: Upload, blocks: AsyncIterator[bytes]) -> None:
        """Raises Problem unless a body has the same bytes as what has arrived, as far as there are both."""
        stored, held = self._store.read(upload.source), memoryview(b"")
        async for block in blocks:
            rest = memoryview(block)
            while rest:
                if not held:
                    held = memoryview(await anext(stored, b""))
                if not held:
                    return
                common = min(len(rest), len(held))
                if rest[:common] != held[:common]:
                    raise idempotency.reused()
                rest, held = rest[common:], held[common:]

    async def _leased(
        self,
        kept: Kept,
        offset: int,
        announced: int | None,
        checksum: Checksum | None,
        begun: Callable[[Upload], Upload],
    ) -> Kept:
        writer = secrets.token_hex(8)
        while True:
            upload = begun(kept.upload)
            self._admit(upload, offset, announced)
            numbers = self._numbers(upload, all_at_once=checksum is not None)
            taken = leased(upload, writer, lease_s=self.pace.lease_s, numbers=numbers)
            if len(taken.parts) + numbers > self.pace.parts_max:
                raise _too_many_parts(len(taken.parts), self.pace.parts_max)
            try:
                return await self._uploads.save(kept, taken)
            except Changed:
                kept = await self._uploads.again(kept)

    def _numbers(self, upload: Upload, *, all_at_once: bool) -> int:
        """How many parts a request may store before it counts them."""
        left = math.ceil((upload.length - upload.offset) / self.pace.part_bytes)
        if all_at_once:
            return left + 1
        given_up = upload.lease.numbers if upload.lease is not None else 0
        return max(1, min(left, _UNCOUNTED_MAX, self.pace.parts_max - len(upload.parts) - given_up))

    def _let_go(self, request: "_Request", leave: Callable[[], None]) -> None:
        """Its memory and its place are free once nothing is at work on them: that may be after who asked has gone."""
        if (working := request.at_work) is not None:
            working.add_done_callback(lambda _: self._let_go(request, leave))
            return
        self._buffers.give_back(*request.buffers)
        leave()

    def _admit(self, upload: Upload, offset: int, announced: int | None) -> None:
        refuse_locked(upload)
        if offset != upload.offset:
            raise Problem(
                409,
                OFFSET_MISMATCH,
                f"{upload.offset:,} bytes of this upload have arrived, and the request goes on at {offset:,}.",
                headers={"Upload-Offset": str(upload.offset)},
            )
        if announced is not None and announced > upload.length - offset:
            raise _too_much(upload, offset, f"{announced:,}")


class _Request:
    """One request that holds the lease."""

    def __init__(
        self,
        uploads: Uploads,
        store: Store,
        pace: Pace,
        kept: Kept,
        blocks: AsyncIterator[bytes],
        checksum: Checksum | None,
        buffers: tuple[Buffer, Buffer],
    ) -> None:
        self._uploads = uploads
        self._store = store
        self._pace = pace
        self._kept = kept
        self._blocks = blocks
        self._checksum = checksum
        self._checked = CHECKSUMS[checksum.algorithm](usedforsecurity=False) if checksum is not None else None
        self._digest: ContentDigest | None = None
        self._buffer, self._spare = buffers
        """One is filled while the other is stored."""
        self._begun_at = self._buffer_at = kept.upload.offset
        """Where in the file the request and the buffer begin."""
        self._storing: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._broken = False
        """Whether a part could not be stored or counted: nothing may follow it."""
        assert kept.upload.lease is not None
        self._numbers = kept.upload.lease.numbers
        self._uncounted: list[int] = []
        """Sizes of parts that are stored and that the upload does not have yet."""
        self._turn = asyncio.Lock()
        self._saving = asyncio.Lock()
        self._last_byte_at = self._saved_at = datetime.now(UTC)

    @property
    def upload(self) -> Upload:
        """The upload as this request last put it."""
        return self._kept.upload

    @property
    def buffers(self) -> tuple[Buffer, Buffer]:
        """What it keeps bytes in. Not to be touched while something is at work."""
        return self._buffer, self._spare

    @property
    def at_work(self) -> asyncio.Task[None] | None:
        """What goes on after `run` was cancelled for a second time."""
        return next((one for one in (self._keeping, self._storing) if one is not None and not one.done()), None)

    async def run(self) -> None:
        """To the end of the body. Raises Problem, Changed where another took over, and what the body raises."""
        try:
            await self._take_in()
            await self._store_rest()
            if self._checksum is not None:
                await self._check(self._checksum)
            await self._save(count=True, release=True)
        except Changed:
            if self._storing is not None:
                await asyncio.wait({self._storing})
            raise
        except BaseException:
            # The connection is gone, or the process is told to stop.
            self._keeping = asyncio.create_task(self._keep_what_came(), name="upload-keep")
            await asyncio.shield(self._keeping)
            raise

    async def _take_in(self) -> None:
        reading = asyncio.create_task(self._read(), name="upload-read")
        watching = asyncio.create_task(self._watch(), name="upload-watch")
        try:
            done, _ = await asyncio.wait({reading, watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reading, watching):
                task.cancel()
            await asyncio.gather(reading, watching, return_exceptions=True)
        (reading if reading in done else watching).result()

    async def _read(self) -> None:
        async for block in self._blocks:
            if self._digest is None:
                self._digest = await self._resumed()
            self._last_byte_at = datetime.now(UTC)
            came_to = self._buffer_at + self._buffer.filled + len(block)
            if came_to > self.upload.length:
                self._buffer.filled = 0
                raise _too_much(self.upload, self._begun_at, f"{came_to - self._begun_at:,} or more")
            rest = memoryview(block)
            while rest:
                room = self._pace.part_bytes - self._buffer_at % self._pace.part_bytes - self._buffer.filled
                self._digest.update(rest[:room])
                self._buffer.fill(rest[:room])
                if len(rest) >= room:
                    await self._begin_to_store()
                rest = rest[room:]

    async def _watch(self) -> None:
        """Say that bytes come; once none do, keep those that came, and see whether somebody else has taken over."""
        while True:
            await asyncio.sleep(self._pace.lease_s / _LOOKS_A_LEASE)
            if self._last_byte_at > self._saved_at:
                await self._save(count=self._checksum is None)
            elif (datetime.now(UTC) - self._last_byte_at).total_seconds() > self._pace.lease_s:
                if self._checksum is None and len(self.upload.parts) < self._pace.parts_max // 2:
                    await self._store_rest()
                    if self._uncounted:
                        await self._save(count=True)
                self._give_up_unused()
                revision = self._kept.revision
                if (await self._uploads.again(self._kept)).revision > revision == self._kept.revision:
                    raise Changed

    def _give_up_unused(self) -> None:
        """A client that stalls holds no more memory than its bytes need."""
        if self._storing is None or self._storing.done():
            self._spare.give_up()
            if not self._buffer.filled:
                self._buffer.give_up()

    async def _store_rest(self) -> None:
        await self._begin_to_store()
        async with self._turn:
            await self._stored()

    async def _begin_to_store(self) -> None:
        """One part is stored while the next comes in."""
        async with self._turn:
            await self._stored()
            if self._buffer.filled:
                self._buffer, self._spare = self._spare, self._buffer
                self._buffer.filled = 0
                self._buffer_at += self._spare.filled
                self._storing = asyncio.create_task(self._store_part(self._spare.content), name="upload-part")

    async def _stored(self) -> None:
        if self._storing is not None:
            await asyncio.wait({self._storing})  # which leaves it alone where we are cancelled
            storing, self._storing = self._storing, None
            self._broken = self._broken or storing.exception() is not None
            storing.result()

    async def _store_part(self, content: memoryview) -> None:
        working = [self._store.put_part(part_key(self.upload.key, self._next_number), content)]
        if self._checked is not None:
            working.append(asyncio.to_thread(self._checked.update, content))
        # Where one fails, the other must not be left reading memory that is filled with something else.
        for outcome in await asyncio.gather(*working, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
        self._uncounted.append(len(content))
        if self._checksum is None and len(self._uncounted) >= self._numbers:
            await self._save(count=True)

    @property
    def _next_number(self) -> int:
        return len(self.upload.parts) + len(self._uncounted)

    async def _resumed(self) -> ContentDigest:
        """The digest of what arrived before: of the leaf that was begun, the bytes are read once more."""
        digest = ContentDigest(self.upload.leaves)
        whole_bytes = len(digest.leaves) // ContentDigest.SIZE * LEAF_BYTES
        if whole_bytes < self.upload.offset:
            async for block in self._store.read(self.upload.source, start=whole_bytes):
                digest.update(block)
        return digest

    async def _check(self, checksum: Checksum) -> None:
        assert self._checked is not None
        if not hmac.compare_digest(self._checked.digest(), checksum.digest):
            raise Problem(
                460,
                CHECKSUM_MISMATCH,
                f"The bytes of this request do not have the {checksum.algorithm} that it says. None of them is kept.",
            )

    async def _drop(self) -> None:
        """What was stored of a request of which nothing is to be kept."""
        first, dropped = len(self.upload.parts), len(self._uncounted)
        self._uncounted = []
        for n in range(first, first + dropped):
            await self._store.delete(part_key(self.upload.key, n))

    async def _keep_what_came(self) -> None:
        with suppress(Exception):
            await self._stored()
        try:
            if self._checksum is not None:
                await self._drop()
            elif not self._broken:
                await self._store_rest()
            await self._save(count=True, release=True)
        except Exception as error:  # the lease runs out by itself, and its numbers are given up
            log = telemetry.logger(stage="gateway")
            log.warning("upload_not_released", error=repr(error), exc_info=error)

    async def _save(self, *, count: bool = False, release: bool = False) -> None:
        """Say that we are at it still, or at it no more; with `count`, that what is stored is part of the upload."""
        # Who waits may be cancelled; the revision that was written must be known all the same.
        await asyncio.shield(self._saved(count=count, release=release))

    async def _saved(self, *, count: bool, release: bool) -> None:
        async with self._saving:
            upload = self.upload
            lease = upload.lease
            assert lease is not None
            if count and self._digest is not None:
                parts = [*upload.parts, *self._uncounted]
                digest = self._digest.hexdigest() if sum(parts) == upload.length else ""
                # The digest is ahead of what is stored.
                leaves = self._digest.leaves[: sum(parts) // LEAF_BYTES * ContentDigest.SIZE]
                upload = msgspec.structs.replace(upload, parts=parts, leaves=leaves, digest=digest)
            if release:
                given_up = [0] if self._broken else []
                upload = msgspec.structs.replace(upload, parts=[*upload.parts, *given_up], lease=None)
            else:
                until = self._last_byte_at + timedelta(seconds=self._pace.lease_s)
                upload = msgspec.structs.replace(upload, lease=msgspec.structs.replace(lease, until=until))
            counted = len(self._uncounted) if count else 0
            self._kept = await self._uploads.save(self._kept, upload)
            del self._uncounted[:counted]  # with no await between: a part's number is the sum of both
            self._saved_at = datetime.now(UTC)


def lease_left_s(upload: Upload) -> float:
    """How long from now a request still keeps others from writing; 0 where none does."""
    return max(0.0, (upload.lease.until - datetime.now(UTC)).total_seconds()) if upload.lease is not None else 0.0


def refuse_locked(upload: Upload) -> None:
    """Raises Problem while another request writes."""
    if left_s := lease_left_s(upload):
        raise Problem(
            423,
            "upload_locked",
            "Another request is sending to this upload at the moment.",
            headers={"Retry-After": str(math.ceil(left_s))},
        )


def _too_much(upload: Upload, offset: int, came: str) -> Problem:
    return Problem(
        413,
        "upload_too_long",
        f"The upload was announced with {upload.length:,} bytes, of which {upload.length - offset:,} were left, and "
        f"this request has {came}.",
    )


def _taken_over() -> Problem:
    return Problem(
        409, "upload_taken_over", "Another request goes on with this upload, or it was ended. Ask how far it is."
    )


def _too_many_parts(parts: int, limit: int) -> Problem:
    return Problem(
        409,
        "too_many_parts",
        f"The upload has come in {parts:,} pieces, and at most {limit:,} are kept. Begin a new one and send larger "
        "pieces.",
    )
