"""How many requests with bytes one gateway process receives at once: each holds the memory of two parts.

One beyond waits for a place, and nothing of its body is read meanwhile: its connection holds the client back.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from weakref import WeakValueDictionary

from services.gateway.problems import Problem

WAIT_S = 20.0
"""How long one waits: less than proxies wait for an answer."""

_RETRY_AFTER_S = 5


class Room:
    """So many places, and at most half of them for one caller: nobody keeps all others out."""

    def __init__(self, most: int, wait_s: float = WAIT_S) -> None:
        self._most = most
        self._most_of_one = max(1, most // 2)
        self._wait_s = wait_s
        self._taken: Counter[str] = Counter()
        self._free = asyncio.Semaphore(most)
        self._free_of: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def enter(self, counted_as: str) -> Callable[[], None]:
        """Wait for a place. Returns what gives it back, to be called once; raises Problem where none becomes free."""
        own = self._free_of.setdefault(counted_as, asyncio.Semaphore(self._most_of_one))
        try:
            async with asyncio.timeout(self._wait_s):
                await own.acquire()
                try:
                    await self._free.acquire()
                except BaseException:
                    own.release()
                    raise
        except TimeoutError:
            raise self._busy(counted_as) from None
        self._taken[counted_as] += 1

        def leave() -> None:
            self._taken[counted_as] -= 1
            if not self._taken[counted_as]:
                del self._taken[counted_as]
            self._free.release()
            own.release()

        return leave

    def _busy(self, counted_as: str) -> Problem:
        return Problem(
            503,
            "receiving_busy",
            f"The bytes of {self._taken.total():,} requests are being received, {self._taken[counted_as]:,} of them of "
            f"your uploads; at most {self._most:,} are at once, {self._most_of_one:,} of one client, and no place "
            f"became free in {self._wait_s:g} seconds. Try again.",
            headers={"Retry-After": str(_RETRY_AFTER_S)},
        )
