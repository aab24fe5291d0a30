"""Engines that try what a sandbox forbids; light, for they are imported in each process anew."""

import errno
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Burglar:
    """An engine that was taken over. What fails by an error says which."""

    def identity(self) -> str:
        return "burglar"

    def open(self, path: Path, how: int) -> int:
        return _code(lambda: os.close(os.open(path, how, 0o600)))

    def look(self, path: Path) -> int:
        return _code(lambda: list(path.iterdir()))

    def ask(self, family: int) -> int:
        return _code(lambda: socket.socket(family, socket.SOCK_STREAM).close())

    def pair(self) -> int:
        return _code(lambda: socket.socketpair())

    def run(self) -> int:
        return _code(lambda: subprocess.run([sys.executable, "-c", ""], check=False))

    def become(self) -> int:
        return _code(lambda: os.execv(sys.executable, [sys.executable, "-c", ""]))

    def fork(self) -> int:
        return _code(lambda: os._exit(0) if os.fork() == 0 else None)

    def kill(self, pid: int) -> int:
        return _code(lambda: os.kill(pid, 0))

    def choke(self, pid: int) -> int:
        import resource

        return _code(lambda: resource.prlimit(pid, resource.RLIMIT_CPU, (1, 1)))  # type: ignore[attr-defined]

    def loosen(self) -> int:
        import resource

        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        try:
            resource.setrlimit(resource.RLIMIT_AS, unlimited)
        except (OSError, ValueError):
            return errno.EPERM
        return 0

    def disown(self, path: Path) -> int:
        return _code(lambda: path.chmod(0o777))

    def shorten(self, path: Path) -> int:
        return _code(lambda: os.truncate(path, 0))

    def thread(self) -> str:
        heard: list[str] = []
        thread = threading.Thread(target=lambda: heard.append("still works"))
        thread.start()
        thread.join()
        return heard[0]

    def threads_at_the_door(self) -> str:
        return next(line for line in _status_before.splitlines() if line.startswith("Threads:")).split()[1]

    def allocate(self, size: int) -> int:
        return len(bytearray(size))

    def write(self, path: Path, size: int) -> None:
        with path.open("wb") as file:
            file.write(bytes(size))

    def spin(self) -> None:
        while True:
            pass

    def sleep(self) -> None:
        threading.Event().wait()

    def core(self) -> int:
        import resource

        return resource.getrlimit(resource.RLIMIT_CORE)[1]

    def open_many(self, path: Path, count: int) -> int:
        held: list[int] = []
        return _code(lambda: held.extend(os.open(path, os.O_RDONLY) for _ in range(count)))


class OnAnOldKernel:
    """As where Landlock is not there: its calls are refused, as by a container's own filter."""

    def __init__(self) -> None:
        import chassis.landlock

        chassis.landlock._CREATE_RULESET = 5000

    def identity(self) -> str:
        return "old"


_status_before = Path("/proc/self/status").read_text() if sys.platform == "linux" else ""


def _code(act: Callable[[], Any]) -> int:
    try:
        act()
    except OSError as error:
        return error.errno or -1
    return 0
