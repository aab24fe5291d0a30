"""Waiting for what may never come, such as a broker, without being deaf to SIGTERM meanwhile."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")
_CANCEL_AGAIN_S = 0.5


class Stopped(Exception):
    """Told to stop before it came."""


async def unless_stopped(waiting: Awaitable[T], stop: asyncio.Event) -> T:
    """What is waited for. Raises Stopped once told to stop; nothing of the waiting goes on then."""
    task = asyncio.ensure_future(waiting)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        told = not task.done()
        while not task.done():
            task.cancel()  # which asyncio.wait_for, under the broker's client, loses now and then (cpython#86296)
            await asyncio.wait({task}, timeout=_CANCEL_AGAIN_S)
    if told and (task.cancelled() or task.exception() is not None):
        raise Stopped
    return task.result()
