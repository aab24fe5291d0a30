"""What a child process gives up before it reads hostile bytes: the network, other files, other programs, and plenty.

No privileges are needed for any of it. A machine may lack a layer; which ones is reported, never passed over.
"""

import ctypes
import errno
import resource
import signal
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from chassis import landlock, seccomp

_NO_NEW_PRIVILEGES = 38
_CAPABILITIES_V3 = 0x20080522
_DAC_OVERRIDE = 1 << 1
_GRACE_CPU_S = 5


class Sandbox(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a child that serves one call."""

    cpu_s: int
    """Processor time; the kernel ends the child that takes more."""
    wall_s: float
    """Longest a call may take."""
    address_space_bytes: int
    """Memory, with all that is only reserved."""
    file_bytes: int
    """Largest file it may write."""
    open_files: int = 64
    folders: tuple[Path, ...] = ()
    """Folders it may read and write in every call."""
    variables: tuple[str, ...] = ()
    """Names in the environment that it may see, besides those of the language, the time zone and the like."""

    def limit_met(self, exitcode: int | None, error: Exception) -> str:
        """Which limit a child met that ended like this, in a sentence; empty if it was none."""
        if exitcode == -signal.SIGXCPU:
            return f"It took more than {self.cpu_s:,} seconds of processor time."
        if exitcode == -signal.SIGXFSZ or (isinstance(error, OSError) and error.errno == errno.EFBIG):
            return f"What comes out of it is larger than {self.file_bytes:,} bytes."
        if isinstance(error, MemoryError):
            return f"It needs more than {self.address_space_bytes:,} bytes of memory."
        return ""


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """The files and folders of one call; nothing else can be opened in it but the code of what is installed."""

    read: Sequence[Path] = ()
    write: Sequence[Path] = ()


def enter(sandbox: Sandbox, reach: Reach) -> list[str]:
    """Lock this process in for good. Returns the layers that this machine does not have.

    Raises OSError where a path to be reached is not there.
    """
    layers: dict[str, Callable[[], None]] = {
        "limits": lambda: _limit(sandbox),
        "no_new_privileges": _give_up_new_privileges,
        "landlock": lambda: landlock.confine(read=[*reach.read, *_packages()], write=[*reach.write, *sandbox.folders]),
        "capabilities": _drop_capabilities,
        "seccomp": seccomp.confine,  # last: the others need calls that it refuses
    }
    missing = []
    for path in (*reach.read, *reach.write, *sandbox.folders):
        path.stat()
    for name, apply in layers.items():
        try:
            apply()
        except (OSError, ValueError, AttributeError):  # of a system that has no such thing
            missing.append(name)
    return missing


def _packages() -> set[Path]:
    """The code of Python and of what is installed: libraries import parts of themselves when they first need them."""
    paths = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return {path for path in paths if path.is_dir()}


def _limit(sandbox: Sandbox) -> None:
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: sandbox.file_bytes,
        resource.RLIMIT_NOFILE: sandbox.open_files,
        resource.RLIMIT_CPU: sandbox.cpu_s,
        resource.RLIMIT_AS: sandbox.address_space_bytes,
    }
    for kind, wanted in limits.items():
        ceiling = resource.getrlimit(kind)[1]
        # The soft limit of processor time ends the child by a signal of its own, which says why.
        hard = wanted + _GRACE_CPU_S if kind == resource.RLIMIT_CPU else wanted
        hard = hard if ceiling == resource.RLIM_INFINITY else min(hard, ceiling)
        resource.setrlimit(kind, (min(wanted, hard), hard))


def _give_up_new_privileges() -> None:
    _on_linux(ctypes.CDLL(None, use_errno=True).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))


def _drop_capabilities() -> None:
    """Root without capabilities is an ordinary user, but for the files of others, which Landlock rules."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0)
    held = (ctypes.c_uint32 * 6)()
    _on_linux(libc.capget(header, held))
    kept = held[0] & _DAC_OVERRIDE
    _on_linux(libc.capset(header, (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0)))


def _on_linux(result: int) -> None:
    if sys.platform != "linux" or result != 0:
        raise OSError(ctypes.get_errno(), "refused")
