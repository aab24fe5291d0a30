"""What waits to be sent on one websocket: facts in order, and of progress only the last word for each job."""

import asyncio
from collections import OrderedDict, deque

import msgspec

from services.gateway.messages import Progress, ServerMessage


class Overflow(Exception):
    """The client reads too slowly: more facts wait than may."""


class Outbox:
    """Filled without waiting by those who watch, emptied by the one writer of the socket."""

    def __init__(self, max_behind: int) -> None:
        self._max_behind = max_behind
        self._facts: deque[tuple[bytes, bool]] = deque()
        self._live_behind = 0
        self._progress: OrderedDict[str, Progress] = OrderedDict()
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._overflowed = False

    def put(self, message: ServerMessage, *, live: bool = False) -> None:
        """Add a message. Of `live` ones, which nobody asked for just now, only so many may wait."""
        if live and self._live_behind >= self._max_behind:
            self._overflowed = True
        else:
            self._facts.append((msgspec.json.encode(message), live))
            self._live_behind += live
        self._drained.clear()
        self._filled.set()

    def put_progress(self, message: Progress) -> None:
        """Replace what waited to be said of the job's progress."""
        self._progress[message.job_id] = message
        self._filled.set()

    def forget(self, job_id: str) -> None:
        """Drop what waits to be said of a job's progress."""
        self._progress.pop(job_id, None)

    async def next(self) -> bytes:
        """The next message to send. Raises Overflow once the client is too far behind."""
        while True:
            if self._overflowed:
                raise Overflow
            if self._facts:
                message, live = self._facts.popleft()
                self._live_behind -= live
                return message
            self._drained.set()
            if self._progress:
                return msgspec.json.encode(self._progress.popitem(last=False)[1])
            self._filled.clear()
            await self._filled.wait()

    async def drained(self) -> None:
        """Wait until everything but progress is on its way: what a client asks next waits until it has read."""
        await self._drained.wait()
