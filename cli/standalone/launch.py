"""Starts a process that dies with us, whatever kills us.

A child that merely shares our terminal outlives a kill -9. On Linux the kernel is asked to signal it when we die; where
that cannot be asked, a watcher beside the child waits for the end of a pipe that only we hold open.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

_EXEC = Path(__file__).with_name("exec_dying.py")
_HAS_DEATH_SIGNAL = sys.platform == "linux"

_lifeline: tuple[int, int] | None = None
"""A pipe nobody writes to: its reading end reports the end of this process."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A user that a child runs as; only root can choose one."""

    uid: int
    gid: int


def launch(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    log: Path,
    death_signal: signal.Signals = signal.SIGKILL,
    account: Account | None = None,
    inherit: Sequence[int] = (),
    watcher: bool = not _HAS_DEATH_SIGNAL,
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, in `/`, with its output appended to `log`.

    `inherit`: file descriptors that it keeps. Call this from the main thread: on Linux the death signal comes when the
    calling *thread* ends (prctl(2)). A program that cannot be executed exits with 127.
    """
    lifeline = _lifeline_end() if watcher else -1
    command = [
        sys.executable, "-I", "-S", str(_EXEC), str(os.getpid()), str(int(death_signal)),
        str(account.uid if account else -1), str(account.gid if account else -1), str(lifeline), *map(str, argv),
    ]  # fmt: skip
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            command,
            env=dict(env),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
            pass_fds=[*inherit, *([lifeline] if watcher else [])],
        )
    finally:
        os.close(descriptor)


def end(process: subprocess.Popen[bytes], number: signal.Signals, *, within_s: float) -> bool:
    """Ask a process to stop, and kill its whole group when it does not in time. Returns whether it did."""
    if process.poll() is None:
        process.send_signal(number)
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        kill(process)
        return False
    return True


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its group, and wait for it."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            process.kill()
    process.wait()


def _lifeline_end() -> int:
    global _lifeline
    if _lifeline is None:
        _lifeline = os.pipe()
    return _lifeline[0]
