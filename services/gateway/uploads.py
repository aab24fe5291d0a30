"""The uploads in their bucket: made once, changed by compare-and-set, opened by their own token only.

Nothing is kept in a gateway's memory, so any of several can go on where another was killed.
"""

import asyncio
import hmac
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.js.kv import KeyValue

from chassis import telemetry
from chassis.store import Store
from contracts.artifacts import part_keys, staging_folder, upload_key
from contracts.uploads import Lease, Upload, bucket_key, claim_key, id_prefix
from services.gateway import access, idempotency
from services.gateway.entries import Changed, Entries
from services.gateway.idempotency import Identity
from services.gateway.problems import Problem
from services.gateway.unfinished import CREATION, Unfinished

_MANY_AT_ONCE = 20


class Kept(msgspec.Struct, frozen=True):
    """An upload as it was at one revision of the bucket."""

    upload_id: str
    upload: Upload
    revision: int


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What an upload is to be."""

    length: int
    filename: str
    metadata: str
    signed_part_bytes: int | None = None


class Uploads:
    """All uploads. Every method raises nats.errors.Error or TimeoutError where the broker cannot be reached."""

    def __init__(
        self, client: Client, bucket: KeyValue, store: Store, *, abandoned_s: float, max_unfinished: int
    ) -> None:
        self._entries = Entries(client, bucket)
        self._unfinished = Unfinished(self._entries, max_unfinished)
        self._store = store
        self._abandoned = timedelta(seconds=abandoned_s)

    async def create(self, identity: Identity, asked: Asked, *, owner: str, counted_as: str) -> Kept:
        """A new upload, or the one that an equal try made. Raises Problem on an unequal one, or one too many."""
        upload_id = id_prefix(counted_as) + identity.job_id
        if identity.keyed and (known := await self._find(upload_id)) is not None:
            return _equal(known, asked)
        now = datetime.now(UTC)
        await self._unfinished.enter(counted_as, upload_id, now)
        # A crash here leaves an id without an upload; a try with the same key creates it, and otherwise it is dropped
        # when the caller's list is full, though not within the minute in which the upload could still come.
        upload = Upload(
            owner=owner,
            counted_as=counted_as,
            token_sha256=identity.token_sha256,
            key=upload_key(owner, secrets.token_hex(16)),
            length=asked.length,
            filename=asked.filename,
            metadata=asked.metadata,
            signed_part_bytes=asked.signed_part_bytes,
            created_at=now,
            expires_at=now + self._abandoned,
        )
        try:
            revision = await self._entries.put(bucket_key(upload_id), msgspec.json.encode(upload), last=0)
        except Changed:  # another try was faster, and what the list has of the id must be of its upload
            known = await self._find(upload_id)
            if known is None:
                raise not_found() from None
            if known.upload.used_by is None:
                await self._unfinished.enter(counted_as, upload_id, known.upload.created_at)
            return _equal(known, asked)
        # A crash here leaves an upload that counts until it expires, as any that nobody goes on with.
        kept = Kept(upload_id, upload, revision)
        if datetime.now(UTC) - now > CREATION / 2:
            await self._enter_again(kept)
        return kept

    async def opened(self, upload_id: str, token: str | None) -> Kept:
        """The upload that a token opens. Raises Problem, the same for a wrong token as for no such upload."""
        known = await self._find(upload_id)
        expected = known.upload.token_sha256 if known is not None else "0" * 64
        opens = hmac.compare_digest(expected, access.digest(token or ""))
        if known is None or not opens:
            raise not_found()
        return known

    async def named(self, upload_id: str) -> Kept:
        """An upload, for who has shown without its token that it was opened to him. Raises Problem where it is gone."""
        known = await self._find(upload_id)
        if known is None:
            raise not_found()
        return known

    async def again(self, kept: Kept) -> Kept:
        """The same upload as it is now. Raises Problem where it is gone."""
        known = await self._find(kept.upload_id)
        if known is None or known.upload.key != kept.upload.key:
            raise not_found()
        return known

    async def save(self, kept: Kept, upload: Upload) -> Kept:
        """Put an upload in place of what it was; it lives longer by that. Raises Changed where it no longer is."""
        upload = msgspec.structs.replace(upload, expires_at=datetime.now(UTC) + self._abandoned)
        revision = await self._entries.put(bucket_key(kept.upload_id), msgspec.json.encode(upload), last=kept.revision)
        return Kept(kept.upload_id, upload, revision)

    async def use(self, kept: Kept, used_by: str, check: Callable[[str], Awaitable[None]] | None = None) -> None:
        """Say what job or batch is being made of it, so that nobody removes it any more. Raises Problem where it is
        gone; `check` is asked of another that said so before, and raises where that one was made.
        """
        while kept.upload.used_by != used_by:
            if kept.upload.used_by is not None and check is not None:
                await check(kept.upload.used_by)
            try:
                await self.save(kept, msgspec.structs.replace(kept.upload, used_by=used_by))
            except Changed:
                kept = await self.again(kept)
            else:
                # A crash here leaves the id of an upload that is used: it is dropped when the caller's list is full.
                await self._leave(kept.upload_id, kept.upload)
                return

    async def claim(self, identity: Identity, upload_id: str) -> None:
        """Bind a key to an upload, for as long as keys are remembered. Raises Problem where it is another's."""
        key = claim_key(identity.job_id)
        try:
            await self._entries.put(key, upload_id.encode(), last=0)
        except Changed:
            known = await self._entries.find(key)
            if known is None or known[0] != upload_id.encode():
                raise idempotency.reused() from None

    async def is_claimed(self, identity: Identity) -> bool:
        """Whether the key was used for an upload."""
        return await self._entries.find(claim_key(identity.job_id)) is not None

    async def remove(self, kept: Kept) -> None:
        """End an upload, and delete what has arrived of it. Raises Problem where it is gone, or a job's.

        It is gone from the bucket first: what a crash leaves in the store nobody speaks of, and the janitor takes it.
        """
        while True:
            if kept.upload.used_by is not None:
                raise Problem(409, "upload_used", "A job was made of this upload: cancel or delete the job instead.")
            try:
                await self._entries.delete(bucket_key(kept.upload_id), last=kept.revision)
            except Changed:
                kept = await self.again(kept)
            else:
                break
        # A crash here leaves the id of an upload that is gone: it is dropped when the caller's list is full.
        await self._leave(kept.upload_id, kept.upload)
        keys = part_keys(kept.upload.source) if kept.upload.parts else []
        if kept.upload.signed_part_bytes is not None:
            keys += [staged.key async for staged in self._store.list(f"{staging_folder(kept.upload.key)}/")]
        for start in range(0, len(keys), _MANY_AT_ONCE):
            await asyncio.gather(*(self._store.delete(key) for key in keys[start : start + _MANY_AT_ONCE]))

    async def _find(self, upload_id: str) -> Kept | None:
        try:
            key = bucket_key(upload_id)
        except ValueError:
            return None
        found = await self._entries.find(key)
        if found is None:
            return None
        kept = Kept(upload_id, msgspec.json.decode(found[0], type=Upload), found[1])
        return kept if kept.upload.expires_at > datetime.now(UTC) else None

    async def _enter_again(self, kept: Kept) -> None:
        """Others may have taken an upload for one that never comes, and have let in another for it."""
        try:
            await self._unfinished.enter(kept.upload.counted_as, kept.upload_id, kept.upload.created_at)
        except Problem:
            await self.remove(kept)
            raise

    async def _leave(self, upload_id: str, upload: Upload) -> None:
        try:
            await self._unfinished.leave(upload.counted_as, upload_id, upload.created_at)
        except (nats.errors.Error, TimeoutError) as error:  # the upload is used or gone all the same
            telemetry.logger(stage="gateway").warning("upload_still_counted", upload_id=upload_id, error=repr(error))


def leased(upload: Upload, writer: str, *, lease_s: float, numbers: int) -> Upload:
    """The upload with its lease taken. What a former writer may be storing still keeps its numbers to itself."""
    given_up = upload.lease.numbers if upload.lease is not None else 0
    until = datetime.now(UTC) + timedelta(seconds=lease_s)
    return msgspec.structs.replace(
        upload,
        parts=[*upload.parts, *[0] * given_up],
        lease=Lease(writer=writer, until=until, numbers=numbers),
    )


def not_found() -> Problem:
    """The same for an upload that is not there and for a token that does not open it."""
    return Problem(404, "upload_not_found", "There is no such upload, or this token does not open it.")


def _equal(known: Kept, asked: Asked) -> Kept:
    if _described(known.upload) != _described(asked):
        raise idempotency.reused()
    return known


def _described(one: Upload | Asked) -> tuple[int, str, str, bool]:
    """What tries of one creation have in common: not the size of parts, which is a setting."""
    return one.length, one.filename, one.metadata, one.signed_part_bytes is not None
