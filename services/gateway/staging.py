"""Parts that clients have put into the store themselves, and how an upload is made whole of them.

Where they wait nothing is of the upload yet: the addresses may hold for longer, and what is put there may have any
size. They are read once, and what is read then is stored as any upload's bytes are.
"""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Callable
from typing import NoReturn

import msgspec

from chassis.store import Missing, Store, Stored
from contracts.artifacts import staged_key, staging_folder
from contracts.uploads import Upload
from services.gateway.entries import Changed
from services.gateway.problems import Problem
from services.gateway.receiving import (
    CHECKSUM_MISMATCH,
    OFFSET_MISMATCH,
    Checksum,
    Receiving,
    lease_left_s,
    refuse_locked,
)
from services.gateway.uploads import Kept, Uploads, leased


class Staging:
    """The staged parts of all signed uploads."""

    def __init__(self, uploads: Uploads, receiving: Receiving, store: Store) -> None:
        self._uploads = uploads
        self._receiving = receiving
        self._store = store

    async def sizes(self, upload: Upload) -> list[int]:
        """Bytes that are there of each part."""
        staged = await self._staged(upload)
        return [staged[n].bytes if n in staged else 0 for n in range(1, len(upload.staged_sizes) + 1)]

    async def put(self, upload: Upload, number: int, body: AsyncIterator[bytes], *, announced: int | None) -> None:
        """Put one part in place of what is there, whole or not at all. Raises Problem unless it has its size."""
        if upload.whole:
            raise Problem(409, "upload_completed", "This upload is complete: its parts cannot be replaced any more.")
        size = upload.staged_sizes[number - 1]
        if announced is not None and announced != size:
            raise _wrong_size(number, announced, size)
        await self._store.put_stream(staged_key(upload.key, number), _exactly(body, number, size))

    async def complete(self, kept: Kept, sha256: str) -> None:
        """Make an upload whole, unless it is; with a `sha256` that is not empty, only of a file that has it.

        Raises Problem. What a broken one has read of the same parts is not read again, unless there is a `sha256`.
        """
        while not kept.upload.whole:
            refuse_locked(kept.upload)
            staged = await self._staged(kept.upload)
            wrong = _wrong(kept.upload, staged)
            if wrong is not None and (now := await self._uploads.again(kept)).revision != kept.revision:
                kept = now  # somebody was faster, and has cleared them away
                continue
            if wrong is not None:
                raise wrong
            kept = await self._read(kept, _mark(staged), sha256)
        if sha256 and not kept.upload.sha256:
            kept = await self._with_sha256(kept)
        if sha256 and sha256 != kept.upload.sha256:
            _mismatch()
        await self._clear(kept.upload)

    async def _read(self, kept: Kept, mark: str, sha256: str) -> Kept:
        """Take the staged parts in, from where another began. The same upload as it is then."""

        def begun(upload: Upload) -> Upload:
            if upload.whole:  # by somebody who was faster: it is refused for its offset
                return upload
            if upload.offset and (sha256 or upload.staged != mark):
                upload = msgspec.structs.replace(upload, parts=[0] * len(upload.parts), leaves=b"")
            return msgspec.structs.replace(upload, staged=mark, sha256=sha256)

        offset = begun(kept.upload).offset
        checksum = Checksum("sha256", bytes.fromhex(sha256)) if sha256 else None
        blocks = self._blocks(kept.upload, offset)
        try:
            await self._receiving.receive(kept, offset, blocks, announced=None, checksum=checksum, begun=begun)
        except Problem as problem:
            if problem.document.code == CHECKSUM_MISMATCH:
                _mismatch()
            if problem.document.code != OFFSET_MISMATCH:  # which is: another has begun and ended meanwhile
                raise
        return await self._uploads.again(kept)

    async def _blocks(self, upload: Upload, start: int) -> AsyncIterator[bytes]:
        """The staged bytes from `start` on. A part may still be put anew while it is read."""
        for number, size in enumerate(upload.staged_sizes, 1):
            read = begin = min(start, size)
            start -= begin
            if begin == size:
                continue
            try:
                async for block in self._store.stream(staged_key(upload.key, number), start=begin):
                    read += len(block)
                    if read > size:
                        raise _not_there(number, read, size)
                    yield block
            except Missing:
                read = 0
            if read != size:
                raise _not_there(number, read, size)

    async def _staged(self, upload: Upload) -> dict[int, Stored]:
        sizes = upload.staged_sizes
        numbers = {staged_key(upload.key, n): n for n in range(1, len(sizes) + 1)}
        found = [one async for one in self._store.list(f"{staging_folder(upload.key)}/")]
        return {numbers[one.key]: one for one in found if one.key in numbers}

    async def _with_sha256(self, kept: Kept) -> Kept:
        """A whole upload with its SHA-256, where none was asked for before. Read once, by one request at a time: the
        others are told that it is locked. Where that one breaks off, its lease runs out.
        """
        writer, lease_s = secrets.token_hex(8), self._receiving.pace.lease_s

        def held(upload: Upload) -> Upload:
            return leased(upload, writer, lease_s=lease_s, numbers=0)

        while True:
            if kept.upload.sha256:
                return kept
            refuse_locked(kept.upload)
            try:
                kept = await self._uploads.save(kept, held(kept.upload))
            except Changed:
                kept = await self._uploads.again(kept)
            else:
                break
        made = hashlib.sha256()
        async for block in self._store.read(kept.upload.source):
            await asyncio.to_thread(made.update, block)
            if lease_left_s(kept.upload) < lease_s / 2:
                kept = await self._changed(kept, held)
        sha256 = made.hexdigest()
        return await self._changed(kept, lambda now: msgspec.structs.replace(now, sha256=sha256, lease=None))

    async def _changed(self, kept: Kept, change: Callable[[Upload], Upload]) -> Kept:
        """A job may be made of it meanwhile."""
        while True:
            try:
                return await self._uploads.save(kept, change(kept.upload))
            except Changed:
                kept = await self._uploads.again(kept)

    async def _clear(self, upload: Upload) -> None:
        async for staged in self._store.list(f"{staging_folder(upload.key)}/"):
            await self._store.delete(staged.key)


def _mark(staged: dict[int, Stored]) -> str:
    """What stands for the parts as they are: another for each that was put anew."""
    said = [(number, one.bytes, one.etag) for number, one in sorted(staged.items())]
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()[:32]


def _wrong(upload: Upload, staged: dict[int, Stored]) -> Problem | None:
    """The first part that is not there as it should be."""
    for number, size in enumerate(upload.staged_sizes, 1):
        found = staged[number].bytes if number in staged else 0
        if found != size:
            return _not_there(number, found, size)
    return None


async def _exactly(body: AsyncIterator[bytes], number: int, size: int) -> AsyncIterator[bytes]:
    came = 0
    async for block in body:
        came += len(block)
        if came > size:
            raise _wrong_size(number, came, size)
        yield block
    if came != size:
        raise _wrong_size(number, came, size)


def _wrong_size(number: int, came: int, size: int) -> Problem:
    if came > size:
        return Problem(
            413, "part_too_long", f"Part {number} has {size:,} bytes, and this request has {came:,} or more."
        )
    return Problem(400, "part_too_short", f"Part {number} has {size:,} bytes, and this request only {came:,}.")


def _not_there(number: int, found: int, size: int) -> Problem:
    return Problem(
        409,
        "part_wrong" if found else "part_missing",
        f"Part {number} has {size:,} bytes, and {found:,} are there. Put it at its address, and complete the upload "
        "again.",
        field=f"parts[{number}]",
    )


def _mismatch() -> NoReturn:
    raise Problem(
        460,
        CHECKSUM_MISMATCH,
        "The file does not have the SHA-256 that the completion says, and the upload stays as it was: put the parts "
        "anew that are wrong, or all, and complete it again.",
        field="sha256",
    )
