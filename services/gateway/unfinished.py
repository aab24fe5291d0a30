"""How many uploads a caller may have of which no job was made yet: exactly so many, over all gateways.

One entry for each caller has their ids. An id is put in before its upload is created, and taken out after the upload
was used or removed: what a crash on the way leaves is an id too many, never one too few. Such ids are looked for only
when there is no room for another.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from weakref import WeakValueDictionary

import msgspec

from contracts.uploads import OpenUploads, Upload, bucket_key, bucket_keys_of, id_prefix, open_key, upload_id_of
from services.gateway.entries import Changed, Entries
from services.gateway.problems import Problem

CREATION = timedelta(seconds=60)
"""How long an id is left alone whose upload is not there: another gateway may be creating it."""

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_MANY_AT_ONCE = 20
_TURN_S = 20.0
"""Longest that one waits for its turn and for the broker: the last of many must not wait for each one's timeout."""


class Unfinished:
    """The ids of all callers. Every method raises nats.errors.Error or TimeoutError without the broker."""

    def __init__(self, entries: Entries, limit: int) -> None:
        self._entries = entries
        self._limit = limit
        self._turns: WeakValueDictionary[str, _Turn] = WeakValueDictionary()

    async def enter(self, counted_as: str, upload_id: str, begun_at: datetime) -> None:
        """Count an upload that is about to be created; one that is counted already, no second time. Raises Problem
        where the caller has as many as he may.
        """
        turn, came_s = self._turn(counted_as), time.monotonic()
        async with asyncio.timeout(_TURN_S), turn.lock:
            while True:
                begun, revision = await self._begun(counted_as)
                if upload_id not in begun and len(begun) >= self._limit:
                    if turn.full_at == revision and turn.looked_s >= came_s:
                        raise _too_many(turn.alive, self._limit)  # others looked while we waited for our turn
                    looked_s = time.monotonic()
                    begun = await self._alive(begun)
                    if len(begun) >= self._limit:
                        turn.alive, turn.full_at, turn.looked_s = len(begun), revision, looked_s
                        raise _too_many(len(begun), self._limit)
                try:
                    await self._put(counted_as, {**begun, upload_id: begun_at}, revision)
                except Changed:  # by another gateway
                    continue
                return

    async def leave(self, counted_as: str, upload_id: str, begun_at: datetime) -> None:
        """Count an upload no more that is used or gone; one that was begun anew under its id is another."""
        turn, mine = self._turn(counted_as), (upload_id, begun_at)
        turn.leaving.add(mine)
        try:
            async with asyncio.timeout(_TURN_S), turn.lock:
                while mine in turn.leaving:  # otherwise it was taken out together with another
                    leaving = frozenset(turn.leaving)
                    found = await self._entries.find(open_key(counted_as))
                    begun, revision = _decoded(*found) if found is not None else ({}, 0)
                    rest = {known: at for known, at in begun.items() if not _is_among(leaving, known, at)}
                    if len(rest) < len(begun):
                        try:
                            await self._put(counted_as, rest, revision)
                        except Changed:  # by another gateway
                            continue
                    turn.leaving -= leaving
        finally:
            turn.leaving.discard(mine)

    async def _begun(self, counted_as: str) -> tuple[Mapping[str, datetime], int]:
        """The ids of a caller, and the revision of their entry.

        The bucket forgets what is not written for a day, and uploads that somebody goes on with live longer than that.
        So where there is no entry, what counts is the uploads themselves, of which there are as few then as may be.
        """
        found = await self._entries.find(open_key(counted_as))
        if found is not None:
            return _decoded(*found)
        keys = await self._entries.keys(bucket_keys_of(counted_as))
        return dict.fromkeys(map(upload_id_of, keys), _LONG_AGO), 0

    async def _put(self, counted_as: str, begun: Mapping[str, datetime], revision: int) -> None:
        value = msgspec.json.encode(OpenUploads(begun_at=dict(begun)))
        await self._entries.put(open_key(counted_as), value, last=revision)

    async def _alive(self, begun: Mapping[str, datetime]) -> Mapping[str, datetime]:
        """Those that count: one read for each, and there are no more of them than a caller may have."""
        ids = list(begun)
        alive: list[bool] = []
        for start in range(0, len(ids), _MANY_AT_ONCE):
            some = ids[start : start + _MANY_AT_ONCE]
            alive += await asyncio.gather(*(self._is_alive(one, begun[one]) for one in some))
        return {one: begun[one] for one, lives in zip(ids, alive, strict=True) if lives}

    async def _is_alive(self, upload_id: str, begun_at: datetime) -> bool:
        found = await self._entries.find(bucket_key(upload_id))
        now = datetime.now(UTC)
        if found is None:
            return now - begun_at < CREATION
        upload = msgspec.json.decode(found[0], type=Upload)
        return upload.used_by is None and upload.expires_at > now

    def _turn(self, counted_as: str) -> "_Turn":
        return self._turns.setdefault(id_prefix(counted_as), _Turn())


class _Turn:
    """What the requests of one caller in this process have in common, for as long as there are some."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        """Hundreds of requests that race for one entry would all but one be in vain."""
        self.leaving: set[tuple[str, datetime]] = set()
        self.alive, self.full_at, self.looked_s = 0, -1, 0.0
        """How many counted of a list that was full, at which revision of it, and when that was looked for."""


def _decoded(value: bytes, revision: int) -> tuple[Mapping[str, datetime], int]:
    return msgspec.json.decode(value, type=OpenUploads).begun_at, revision


def _is_among(leaving: frozenset[tuple[str, datetime]], upload_id: str, begun_at: datetime) -> bool:
    if begun_at == _LONG_AGO:  # of which it is not known when it was begun
        return any(upload_id == one for one, _ in leaving)
    return (upload_id, begun_at) in leaving


def _too_many(unfinished: int, limit: int) -> Problem:
    return Problem(
        429,
        "too_many_uploads",
        f"You have {unfinished} uploads of which no job was made yet, and at most {limit} are kept for you. Submit "
        "or delete some.",
        headers={"Retry-After": "60"},
    )
