"""Starts processes, starts again whichever dies, and stops them all in time."""

import asyncio
import http.client
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from chassis import telemetry
from cli.standalone.launch import launch
from cli.standalone.server import READY_POLL_S, READY_S, Server, StartFailed

FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 10.0
_STABLE_S = 30.0
"""Having run that long, a process that dies is started again as quickly as the first time."""
_WATCH_S = 0.1
_ANSWER_S = 1.0
_LOOK_S = 5.0
_SICK_S = 30.0
"""How long a server may say that it is sick, and recover by itself, before it is started again."""


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """A process of ours, such as one that runs services."""

    name: str
    argv: list[str]
    env: dict[str, str]
    """All of its environment."""
    ready_url: str = ""
    """Answers 200 once it serves; empty takes it for ready as soon as it runs."""


class Service(Server):
    """A child as a server: SIGTERM lets it hand work back, and nothing of it survives us."""

    stop_signal = signal.SIGTERM
    launches = 1

    def __init__(self, child: Child, log: Path, inherit: Sequence[int] = ()) -> None:
        super().__init__(log, inherit)
        self.name = child.name
        self._child = child

    @property
    def url(self) -> str:
        """Where it says that it is ready."""
        return self._child.ready_url

    def prepare(self) -> None:
        """Nothing is needed."""

    def launch(self) -> None:
        """See Server."""
        self.process = launch(self._child.argv, env=self._child.env, log=self.log, inherit=self.inherit)

    def answers(self) -> bool:
        """Whether `ready_url` answers 200."""
        if not self._child.ready_url:
            return True
        try:
            with urllib.request.urlopen(self._child.ready_url, timeout=_ANSWER_S) as answer:  # noqa: S310 - our own URL
                return bool(answer.status == http.client.OK)
        except (OSError, urllib.error.URLError, http.client.HTTPException):
            return False


class Supervisor:
    """Keeps processes running until it is stopped. Use it from the main thread's event loop.

    `stop_s`: how long all of them together may take to stop before they are killed. `together`: whether they are asked
    at once, or one after another, the last started first.
    """

    def __init__(self, *, logs: Path, inherit: Sequence[int] = (), stop_s: float = 11.0, together: bool = True) -> None:
        self._logs = logs
        self._inherit = inherit
        self._stop_s = stop_s
        self._together = together
        self._servers: list[Server] = []
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self, what: Child | Server) -> None:
        """Start a process, wait until it is ready, and keep it running from then on. Raises StartFailed."""
        server = Service(what, self._logs / f"{what.name}.log", self._inherit) if isinstance(what, Child) else what
        self._servers.append(server)
        for attempt in range(1, server.launches + 1):
            try:
                await _come_up(server)
            except StartFailed:
                server.kill()
                if attempt == server.launches:
                    raise
                await asyncio.sleep(FIRST_DELAY_S)
            else:
                break
        self._keepers.append(asyncio.create_task(_keep(server), name=f"keep-{server.name}"))

    async def run_until(self, stop: asyncio.Event) -> None:
        """Keep everything running until the event is set, then stop it."""
        try:
            await stop.wait()
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Stop all processes; kill those that are not gone in time. Returns when none is left."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        deadline = time.monotonic() + self._stop_s
        if self._together:
            await asyncio.gather(*(_end(server, deadline) for server in self._servers))
        else:
            for server in reversed(self._servers):
                await _end(server, deadline)
        self._servers.clear()
        self._keepers.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()


async def _come_up(server: Server) -> None:
    """Prepare and wait in a thread, launch in this one, whose end would be the child's."""
    await asyncio.to_thread(server.prepare)
    server.launch()
    deadline = time.monotonic() + READY_S
    while not await asyncio.to_thread(server.is_ready):
        if time.monotonic() > deadline:
            raise server.late()
        await asyncio.sleep(READY_POLL_S)


async def _keep(server: Server) -> None:
    """Start it again whenever it has ended. Not being ready, as while another server is down, is no reason to."""
    log = telemetry.logger(child=server.name, log=str(server.log))
    delay_s = FIRST_DELAY_S
    while True:
        since = time.monotonic()
        exit_code = await _ended_or_sick(server)
        if time.monotonic() - since > _STABLE_S:
            delay_s = FIRST_DELAY_S
        log.warning("child_died", exit_code=exit_code, restart_in_s=delay_s)
        await asyncio.sleep(delay_s)
        delay_s = min(delay_s * 2, LONGEST_DELAY_S)
        try:
            await asyncio.to_thread(server.prepare)
        except StartFailed as error:
            log.error("child_not_started", error=str(error))
        else:
            server.launch()
            log.info("child_restarted")


async def _ended(server: Server) -> int:
    while True:
        code = server.process.poll() if server.process is not None else -1
        if code is not None:
            return code
        await asyncio.sleep(_WATCH_S)


async def _ended_or_sick(server: Server) -> int:
    """As `_ended`; one that has been sick for a while is ended."""
    ended = asyncio.ensure_future(_ended(server))
    well_at = time.monotonic()
    try:
        while not ended.done():
            await asyncio.wait({ended}, timeout=_LOOK_S)
            if not ended.done() and not await asyncio.to_thread(server.is_sick):
                well_at = time.monotonic()
            elif not ended.done() and server.process is not None and time.monotonic() - well_at >= _SICK_S:
                telemetry.logger(child=server.name).warning("child_sick", hint="it is started again")
                server.process.send_signal(server.stop_signal)
                well_at = time.monotonic()
        return ended.result()
    finally:
        ended.cancel()


async def _end(server: Server, deadline: float) -> None:
    """Ask it to stop, wait until the deadline, kill what is left of it."""
    process = server.process
    if process is None:
        return
    if process.poll() is None:
        process.send_signal(server.stop_signal)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await _ended(server)
    if process.poll() is None:
        telemetry.logger(child=server.name).warning("child_killed", reason="it did not stop in time")
    server.kill()
