"""The uploads in their bucket: made once, changed by compare-and-set, opened by their own token only.

Nothing is kept in a gateway's memory, so any of several can go on where another was killed.
"""

import asyncio
import hmac
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import msgspec
from nats.aio.client import Client
from nats.js.errors import APIError, KeyWrongLastSequenceError, NotFoundError
from nats.js.kv import KeyValue

from chassis.store import Store
from contracts import topology
from contracts.artifacts import part_keys, staging_folder, upload_key
from contracts.uploads import Lease, Upload, bucket_key, bucket_keys_of, claim_key, id_prefix
from services.gateway import access, idempotency
from services.gateway.idempotency import Identity
from services.gateway.problems import Problem

_STREAM = f"KV_{topology.UPLOADS}"
_SUBJECT = f"$KV.{topology.UPLOADS}."
_OPERATION = "KV-Operation"
_WRONG_LAST_SEQUENCE = (10071, 10164)
_MANY_AT_ONCE = 20


class Changed(Exception):
    """Somebody else has changed the upload meanwhile, or it is gone."""


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
        self._js = client.jetstream(timeout=10.0)
        self._bucket = bucket
        self._store = store
        self._abandoned = timedelta(seconds=abandoned_s)
        self._max_unfinished = max_unfinished

    async def create(self, identity: Identity, asked: Asked, *, owner: str, counted_as: str) -> Kept:
        """A new upload, or the one that an equal try made. Raises Problem on an unequal one, or one too many."""
        upload_id = id_prefix(counted_as) + identity.job_id
        if identity.keyed and (known := await self._find(upload_id)) is not None:
            return _equal(known, asked)
        if (unfinished := await self._unfinished(counted_as)) >= self._max_unfinished:
            raise _too_many(unfinished, self._max_unfinished)
        now = datetime.now(UTC)
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
            revision = await self._bucket.create(bucket_key(upload_id), msgspec.json.encode(upload))
        except KeyWrongLastSequenceError:
            known = await self._find(upload_id)
            if known is None:
                raise not_found() from None
            return _equal(known, asked)
        return Kept(upload_id, upload, int(revision))

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
        try:
            revision = await self._bucket.update(
                bucket_key(kept.upload_id), msgspec.json.encode(upload), last=kept.revision
            )
        except KeyWrongLastSequenceError as error:
            raise Changed from error
        return Kept(kept.upload_id, upload, int(revision))

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
                return

    async def claim(self, identity: Identity, upload_id: str) -> None:
        """Bind a key to an upload, for as long as keys are remembered. Raises Problem where it is another's."""
        key = claim_key(identity.job_id)
        try:
            await self._bucket.create(key, upload_id.encode())
        except KeyWrongLastSequenceError:
            if await self._value(key) != upload_id.encode():
                raise idempotency.reused() from None

    async def is_claimed(self, identity: Identity) -> bool:
        """Whether the key was used for an upload."""
        return await self._value(claim_key(identity.job_id)) is not None

    async def remove(self, kept: Kept) -> None:
        """End an upload, and delete what has arrived of it. Raises Problem where it is gone, or a job's.

        It is gone from the bucket first: what a crash leaves in the store nobody speaks of, and the janitor takes it.
        """
        while True:
            if kept.upload.used_by is not None:
                raise Problem(409, "upload_used", "A job was made of this upload: cancel or delete the job instead.")
            try:
                await self._bucket.delete(bucket_key(kept.upload_id), last=kept.revision)
            except APIError as error:
                if error.err_code not in _WRONG_LAST_SEQUENCE:
                    raise
                kept = await self.again(kept)
            else:
                break
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
        found = await self._entry(key)
        if found is None:
            return None
        kept = Kept(upload_id, msgspec.json.decode(found[0], type=Upload), found[1])
        return kept if kept.upload.expires_at > datetime.now(UTC) else None

    async def _unfinished(self, counted_as: str) -> int:
        """Uploads of a caller of which no job was made. Racing creations may be counted too late."""
        info = await self._js.stream_info(_STREAM, subjects_filter=_SUBJECT + bucket_keys_of(counted_as))
        subjects = list(info.state.subjects or {})
        if len(subjects) < self._max_unfinished:
            return len(subjects)
        found = await asyncio.gather(*(self._value(subject.removeprefix(_SUBJECT)) for subject in subjects))
        uploads = [msgspec.json.decode(value, type=Upload) for value in found if value is not None]
        return sum(upload.used_by is None for upload in uploads)

    async def _value(self, key: str) -> bytes | None:
        found = await self._entry(key)
        return found[0] if found is not None else None

    async def _entry(self, key: str) -> tuple[bytes, int] | None:
        """Asked of the bucket's leader: a copy may be behind, and "not there" makes a client begin anew."""
        try:
            message = await self._js.get_last_msg(_STREAM, _SUBJECT + key)
        except NotFoundError:
            return None
        if (message.headers or {}).get(_OPERATION) is not None:
            return None
        return message.data or b"", int(message.seq or 0)


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


def _too_many(unfinished: int, limit: int) -> Problem:
    return Problem(
        429,
        "too_many_uploads",
        f"You have {unfinished} uploads of which no job was made yet, and at most {limit} are kept for you. Submit "
        "or delete some.",
        headers={"Retry-After": "60"},
    )
