"""The entries of the bucket `uploads`: read from its leader, changed by compare-and-set only.

A copy of the bucket may be behind, and "not there" makes a client begin anew.
"""

from nats.aio.client import Client
from nats.js.errors import APIError, KeyWrongLastSequenceError, NotFoundError
from nats.js.kv import KeyValue

from contracts import topology

_STREAM = f"KV_{topology.UPLOADS}"
_SUBJECT = f"$KV.{topology.UPLOADS}."
_OPERATION = "KV-Operation"
_WRONG_LAST_SEQUENCE = (10071, 10164)


class Changed(Exception):
    """Somebody else has changed the entry meanwhile, or it is gone."""


class Entries:
    """Every method raises nats.errors.Error or TimeoutError where the broker cannot be reached."""

    def __init__(self, client: Client, bucket: KeyValue) -> None:
        self._js = client.jetstream(timeout=10.0)
        self._bucket = bucket

    async def find(self, key: str) -> tuple[bytes, int] | None:
        """An entry and its revision."""
        try:
            message = await self._js.get_last_msg(_STREAM, _SUBJECT + key)
        except NotFoundError:
            return None
        if (message.headers or {}).get(_OPERATION) is not None:
            return None
        return message.data or b"", int(message.seq or 0)

    async def put(self, key: str, value: bytes, *, last: int) -> int:
        """Put an entry in place of its revision `last`, 0 where there is none; its new revision. Raises Changed."""
        try:
            if last:
                return int(await self._bucket.update(key, value, last=last))
            return int(await self._bucket.create(key, value))
        except KeyWrongLastSequenceError as error:
            raise Changed from error

    async def delete(self, key: str, *, last: int) -> None:
        """Remove an entry that is of the revision `last`. Raises Changed."""
        try:
            await self._bucket.delete(key, last=last)
        except APIError as error:
            if error.err_code not in _WRONG_LAST_SEQUENCE:
                raise
            raise Changed from error

    async def keys(self, pattern: str) -> list[str]:
        """The keys of all entries that match; those that were deleted are among them until the bucket forgets them."""
        info = await self._js.stream_info(_STREAM, subjects_filter=_SUBJECT + pattern)
        return [subject.removeprefix(_SUBJECT) for subject in info.state.subjects or {}]
