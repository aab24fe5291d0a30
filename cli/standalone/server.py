"""What an embedded server is to those who start it: launched from the main thread, watched until ready, stopped."""

import random
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from cli.errors import CliError
from cli.standalone.launch import end, kill

READY_S = 30.0
READY_POLL_S = 0.01
STOP_S = 4.0

_PORTS = range(20000, 32000)
"""Below the ports that outgoing connections get: one of those, retrying while a server is down, would take its port and
even connect to itself."""
_TAIL_BYTES = 2000


class StartFailed(CliError):
    """A server cannot be started; the message names its log and the last line in it."""


class Server(ABC):
    """One server process. `start` blocks; the supervisor takes `prepare`, `launch` and `is_ready` one by one."""

    name: str
    stop_signal: signal.Signals
    launches = 3
    """How often the first start is tried: another process may take the port in the meantime."""

    def __init__(self, log: Path, inherit: Sequence[int] = ()) -> None:
        """`log`: the file its output is appended to. `inherit`: descriptors it keeps."""
        self.log = log
        self.inherit = inherit
        self.process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Its address, with credentials. The same after every restart."""

    @abstractmethod
    def prepare(self) -> None:
        """Whatever must be there before a launch. Blocks; safe to repeat. Raises StartFailed."""

    @abstractmethod
    def launch(self) -> None:
        """Start the process and return at once. Call it from the main thread."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the launched process serves."""

    def is_sick(self) -> bool:
        """Whether it runs, and will serve only once it is started again. Blocks."""
        return False

    def is_ready(self) -> bool:
        """Whether it serves. Raises StartFailed where the process has ended."""
        process = self._launched()
        if process.poll() is not None:
            raise StartFailed(f"{self.name} ended with code {process.returncode}: {self.last_words()}")
        return self.answers()

    def start(self) -> Self:
        """Prepare, launch and wait until it serves. Raises StartFailed."""
        self.prepare()
        for attempt in range(1, self.launches + 1):
            self.launch()
            try:
                self._until_ready()
            except StartFailed:
                self.kill()
                if attempt == self.launches:
                    raise
                time.sleep(attempt * 0.2)
            else:
                break
        return self

    def stop(self, within_s: float = STOP_S) -> None:
        """Stop it in order; kill it when it takes longer."""
        if self.process is not None:
            end(self.process, self.stop_signal, within_s=within_s)

    def kill(self) -> None:
        """Kill it, as a crash would."""
        if self.process is not None:
            kill(self.process)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def last_words(self) -> str:
        """The end of its log, for a person."""
        try:
            lines = self.log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return f"{lines[-1] if lines else 'it said nothing'} (log: {self.log})"

    def late(self) -> StartFailed:
        """The error for a server that does not get ready."""
        return StartFailed(f"{self.name} was not ready within {READY_S:.0f} s: {self.last_words()}")

    def _launched(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise StartFailed(f"{self.name} was not launched")
        return self.process

    def _until_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while not self.is_ready():
            if time.monotonic() > deadline:
                raise self.late()
            time.sleep(READY_POLL_S)


def free_port() -> int:
    """A port on the loopback that nobody listens on."""
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise StartFailed(f"No free port on 127.0.0.1 between {_PORTS.start} and {_PORTS.stop}")
