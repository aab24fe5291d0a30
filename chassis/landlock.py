"""Which files this thread may still open, by Landlock, the kernel's own sandbox that needs no privileges.

Source: https://docs.kernel.org/userspace-api/landlock.html (the structures and bits of ABI 1 to 6).
"""

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""System calls; the same numbers on every architecture."""
_VERSION = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_DIR, _MAKE_REG, _TRUNCATE = 1 << 7, 1 << 8, 1 << 14
_READING = _READ_FILE | _READ_DIR
_WRITING = _READING | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _TRUNCATE
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
"""How many of the rights to files an ABI knows; it knows all of those before."""
_NETWORK_SINCE, _SCOPES_SINCE = 4, 6


def confine(*, read: Iterable[Path], write: Iterable[Path]) -> None:
    """From now on this thread and its children open nothing else, neither TCP ports nor the signals of others.

    What is open stays open. It cannot be undone. Needs PR_SET_NO_NEW_PRIVS. Raises OSError: ENOSYS or EOPNOTSUPP where
    the kernel has no Landlock, and whatever opening one of the paths raises.
    """
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, f"no Landlock on {sys.platform}")
    abi = _syscall(_CREATE_RULESET, None, 0, _VERSION)
    known = (1 << max(count for since, count in _FILE_RIGHTS.items() if since <= abi)) - 1
    handled = struct.pack("<QQQ", known, 0b11 if abi >= _NETWORK_SINCE else 0, 0b11 if abi >= _SCOPES_SINCE else 0)
    length = 24 if abi >= _SCOPES_SINCE else 16 if abi >= _NETWORK_SINCE else 8
    ruleset = _syscall(_CREATE_RULESET, handled, length, 0)
    try:
        for path in read:
            _allow(ruleset, path, _READING & known)
        for path in write:
            _allow(ruleset, path, _WRITING & known)
        _syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        allowed = rights if path.is_dir() else rights & _OF_FILES
        _syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("<Qi", allowed, place), 0)
    finally:
        os.close(place)


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    given = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result: int = libc.syscall(ctypes.c_long(number), *given)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
