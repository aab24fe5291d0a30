"""Counts, beside each message, the deliveries that were no tries: a worker that shuts down hands its message back.

Tries = deliveries (counted by the server, so a worker that dies counts) - hand-backs (counted here). They are one at
least: a count may outlive the stream or the durable that it is of, and then gives another message more tries.
"""

from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue


class Handbacks:
    """The KV bucket `handbacks`; keys `<durable>.<stream sequence>`."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket

    async def count(self, durable: str, seq: int, deliveries: int) -> int:
        """Hand-backs of a message so far, fewer than its deliveries. At the first there were none: no look-up."""
        if deliveries <= 1:
            return 0
        try:
            entry = await self._bucket.get(f"{durable}.{seq}")
        except KeyNotFoundError:
            return 0
        return min(int(entry.value or b"0"), deliveries - 1)

    async def add(self, durable: str, seq: int) -> None:
        """Count one more hand-back."""
        key = f"{durable}.{seq}"
        while True:
            try:
                entry = await self._bucket.get(key)
                await self._bucket.update(key, str(int(entry.value or b"0") + 1).encode(), last=entry.revision)
            except KeyNotFoundError:
                try:
                    await self._bucket.create(key, b"1")
                except KeyWrongLastSequenceError:
                    continue
            except KeyWrongLastSequenceError:
                continue
            return
