"""Keeps a message while it is worked on: `in_progress` at intervals, and a ceiling that no heartbeat outlives."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import nats.errors

from chassis import telemetry


@asynccontextmanager
async def heartbeat(
    in_progress: Callable[[], Awaitable[None]], *, every_s: float, ceiling_s: float
) -> AsyncIterator[None]:
    """While the block runs the message stays ours. Raises TimeoutError in the block after `ceiling_s` seconds.

    A beat that cannot be sent is no reason to stop working: the broker may be back before the message is given away,
    and if it is not, the create-only publish decides whose result counts.
    """
    task = asyncio.create_task(_beat(in_progress, every_s), name="heartbeat")
    try:
        async with asyncio.timeout(ceiling_s):
            yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _beat(in_progress: Callable[[], Awaitable[None]], every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await in_progress()
        except (nats.errors.Error, OSError) as error:
            telemetry.logger().warning("heartbeat_missed", error=repr(error))
