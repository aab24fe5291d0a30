"""A TCP proxy on loopback that breaks connections on purpose, as bad lines do."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

_BLOCK_BYTES = 256 << 10
_ABORT = struct.pack("ii", 1, 0)
"""Linger for no time: the connection is reset, not closed."""


class CuttingProxy:
    """Passes connections on to a port, in a thread of its own; at each of the counts of bytes something happens."""

    def __init__(self, target: int, events: Sequence[tuple[int, Callable[[], None] | None]]) -> None:
        """An event is a count of bytes from clients and what to call then; None cuts the connection."""
        self._target = target
        self._events = sorted(events, key=lambda event: event[0])
        self.passed = 0
        """Bytes from clients so far."""
        self.cuts = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cutting-proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            _reset(writer)
            return
        back = asyncio.create_task(_passed(onward[0], writer))
        with suppress(OSError, asyncio.CancelledError):
            while block := await reader.read(_BLOCK_BYTES):
                onward[1].write(block)
                await onward[1].drain()
                self.passed += len(block)
                if self._events and self.passed >= self._events[0][0]:
                    _, event = self._events.pop(0)
                    if event is None:
                        self.cuts += 1
                        break
                    await asyncio.to_thread(event)
        back.cancel()
        _reset(writer)
        _reset(onward[1])


async def _passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while block := await reader.read(_BLOCK_BYTES):
            writer.write(block)
            await writer.drain()
    writer.close()  # however it ended: a server that was killed resets its connections


def _reset(writer: asyncio.StreamWriter) -> None:
    held: socket.socket | None = writer.get_extra_info("socket")
    if held is not None:
        with suppress(OSError):
            held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    writer.transport.abort()
