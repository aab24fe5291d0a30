"""The last completed jobs, kept for a while: what estimates are made from. Nobody waits long for them."""

import asyncio
import time

import msgspec

from chassis import telemetry
from services.gateway import estimate
from services.gateway.estimate import Experience
from services.gateway.listing import Listing
from services.gateway.problems import Problem

_JOBS = 200
_KEPT_S = 30.0
_PATIENCE_S = 0.2


class History:
    """Reads the projection at most every half minute, in the background; without Postgres it stays as it was."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._experience: Experience | None = None
        self._read_at: float | None = None
        self._reading: asyncio.Task[None] | None = None

    def known(self) -> Experience | None:
        """What is known now; asks for news where it is old. None where nothing was ever read."""
        if self._reading is None and (self._read_at is None or time.monotonic() - self._read_at > _KEPT_S):
            self._reading = asyncio.create_task(self._read(), name="history")
        return self._experience

    async def fresh(self) -> Experience | None:
        """What is known, having waited a moment for news."""
        self.known()
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=_PATIENCE_S)
        return self._experience

    def close(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self) -> None:
        try:
            views = await self._listing.completed(_JOBS)
            self._experience = await asyncio.to_thread(estimate.experience, views)
        except (Problem, msgspec.MsgspecError) as error:
            telemetry.logger(stage="gateway").debug("no_history", error=repr(error))
        finally:
            self._read_at = time.monotonic()
            self._reading = None
