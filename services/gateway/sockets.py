"""The websocket `/ws`: any number of jobs on one connection, until either side is gone.

Two tasks a socket: one reads, and so learns at once that the client has left or the server stops; one writes.
"""

import asyncio
from contextlib import suppress

import msgspec
import nats.errors
from litestar import WebSocket, websocket
from litestar.di import NamedDependency as Given
from litestar.exceptions import WebSocketDisconnect

from chassis import telemetry
from chassis.joblog import JobLog
from services.gateway import access, messages
from services.gateway.engine import HighWater
from services.gateway.feed import Feed
from services.gateway.history import History
from services.gateway.outbox import Outbox, Overflow
from services.gateway.settings import Settings
from services.gateway.watch import Watch

TRY_AGAIN_LATER = 1013
_CLOSE_PATIENCE_S = 1.0


class Sockets:
    """What every socket stands on."""

    def __init__(self, feed: Feed, joblog: JobLog, high_water: HighWater, history: History, settings: Settings) -> None:
        self.feed = feed
        self.joblog = joblog
        self.high_water = high_water
        self.history = history
        self.settings = settings


@websocket("/ws", name="ws")
async def watch_jobs(socket: WebSocket, sockets: Given[Sockets]) -> None:  # type: ignore[type-arg]
    """Serve one client. See `/asyncapi` for the messages."""
    await socket.accept()
    session = _Session(socket, sockets)
    tasks = {asyncio.create_task(session.read()), asyncio.create_task(session.write())}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        session.close()
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    if any(isinstance(error, Overflow) for error in ended):
        with suppress(TimeoutError, WebSocketDisconnect, OSError, RuntimeError):
            async with asyncio.timeout(_CLOSE_PATIENCE_S):
                await socket.close(TRY_AGAIN_LATER, "reading too slowly: come back with since")
    for task in done:
        error = task.exception()
        if error is not None and not isinstance(error, Overflow | WebSocketDisconnect | OSError):
            telemetry.logger(stage="gateway").error("socket_crashed", exc_info=error)


class _Session:
    """The subscriptions of one socket."""

    def __init__(self, socket: WebSocket, sockets: Sockets) -> None:  # type: ignore[type-arg]
        self._socket = socket
        self._on = sockets
        self._outbox = Outbox(sockets.settings.max_messages_behind)
        self._watches: dict[str, Watch] = {}

    async def read(self) -> None:
        """Do what the client asks, one thing after the other. Raises WebSocketDisconnect when it is gone."""
        while True:
            text = await self._socket.receive_data("text")
            try:
                message = messages.decode(text)
            except (msgspec.MsgspecError, UnicodeError) as error:
                self._outbox.put(messages.Error(code="invalid_message", message=f"No message we know: {error}"))
            else:
                await self._do(message)
            await self._outbox.drained()

    async def write(self) -> None:
        """Send what waits. Raises Overflow, or what a broken connection raises."""
        while True:
            await self._socket.send_data(await self._outbox.next(), "text")

    def close(self) -> None:
        """Watch nothing any more."""
        for job_id in list(self._watches):
            self._drop(job_id)

    async def _do(self, message: messages.AnyClientMessage) -> None:
        match message:
            case messages.Subscribe():
                await self._subscribe(message)
            case messages.Unsubscribe():
                self._drop(message.job_id)
            case messages.Ping():
                self._outbox.put(messages.Pong())

    async def _subscribe(self, message: messages.Subscribe) -> None:
        job_id = message.job_id
        self._drop(job_id)
        self._forget_closed()
        limit = self._on.settings.max_jobs_per_socket
        if len(self._watches) >= limit:
            self._outbox.put(
                messages.Error(
                    code="too_many_jobs", message=f"One socket watches at most {limit} jobs.", job_id=job_id[:64]
                )
            )
            return
        watch = Watch(job_id, message.token, self._outbox, self._on.high_water, self._on.history)
        self._watches[job_id] = watch
        self._on.feed.watch(job_id, watch)  # before the log is read, so that nothing falls between
        try:
            may = watch.may(await self._on.joblog.facts_of(job_id, *access.DECIDED_BY))
            recorded = await self._on.joblog.facts_of(job_id) if may else []
            live = await self._on.joblog.live_progress(job_id) if may else []
        except ValueError:
            recorded, live = [], []  # an id that no job can have
        except (nats.errors.Error, TimeoutError):
            self._drop(job_id)
            self._outbox.put(
                messages.Error(
                    code="log_unavailable", message="The job log cannot be reached. Try again.", job_id=job_id
                )
            )
            return
        if not watch.open(recorded, live, message.since):
            self._drop(job_id)

    def _drop(self, job_id: str) -> None:
        watch = self._watches.pop(job_id, None)
        if watch is not None:
            self._on.feed.unwatch(job_id, watch)
            self._outbox.forget(job_id)

    def _forget_closed(self) -> None:
        for job_id in [job_id for job_id, watch in self._watches.items() if watch.closed]:
            self._drop(job_id)
