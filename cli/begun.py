"""Uploads that were begun and that no job was made of yet, so that a command that was killed goes on where it was.

Each has a file of its own, readable by the user only. Whoever sends it holds a lock on the file; another command that
sends the same recording at the same time makes an upload of its own, and keeps it nowhere.
"""

import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import platformdirs

from cli.client import Upload
from cli.tokens import server_name

_BYTES_MAX = 1 << 16
_KEPT_S = 30 * 86400.0
"""Longer than any server keeps an upload that nobody goes on with."""


class Recording(msgspec.Struct, frozen=True):
    """A file as it was when it was looked at: once it is larger or newer, it is another."""

    path: Path
    size: int
    mtime_ns: int

    @classmethod
    def at(cls, path: Path) -> "Recording":
        """The file now. Raises OSError."""
        found = path.stat()
        return cls(path, found.st_size, found.st_mtime_ns)


class Begun:
    """How far one recording is, kept in a file."""

    def __init__(self, descriptor: int | None, path: Path, known: "_Known") -> None:
        self._descriptor = descriptor
        self._path = path
        self._known = known

    @property
    def key(self) -> str:
        """The `Idempotency-Key` of its creation: an upload whose answer was lost is found again by it."""
        return self._known.key

    @property
    def upload(self) -> Upload | None:
        """What the server calls it, if that is known."""
        return self._known.upload

    def is_called(self, upload: Upload) -> None:
        """The server has answered."""
        self._keep(msgspec.structs.replace(self._known, upload=upload))

    def anew(self) -> None:
        """The server knows nothing of it any more."""
        self._keep(_new())

    def forget(self) -> None:
        """There is a job of it."""
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)

    def _keep(self, known: "_Known") -> None:
        self._known = known
        if self._descriptor is None:
            return
        with suppress(OSError):  # it is sent from the start again, should this command be killed
            content = msgspec.json.encode(known)
            os.pwrite(self._descriptor, content, 0)
            os.ftruncate(self._descriptor, len(content))


@contextmanager
def begun(server: str, recording: Recording, folder: Path | None = None) -> Iterator[Begun]:
    """What was begun of a recording at a server; where nothing was, something new. Ours alone within the context."""
    folder = folder or Path(platformdirs.user_data_dir("subtide")) / "begun"
    named = f"{server_name(server)}\0{recording.size}\0{recording.mtime_ns}\0".encode()
    path = folder / f"{hashlib.sha256(named + os.fsencode(recording.path.absolute())).hexdigest()[:32]}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _forget_old(folder)
        descriptor = _locked(path)
    except OSError:
        descriptor = None  # nothing can be kept here; the recording can be sent all the same
    if descriptor is None:
        yield Begun(None, path, _new())
        return
    try:
        one = Begun(descriptor, path, _read(descriptor))
        if not one.key:
            one.anew()
        yield one
    finally:
        os.close(descriptor)


class _Known(msgspec.Struct, frozen=True, kw_only=True):
    key: str = ""
    upload: Upload | None = None


def _new() -> _Known:
    return _Known(key=secrets.token_urlsafe(24))


def _read(descriptor: int) -> _Known:
    try:
        return msgspec.json.decode(os.pread(descriptor, _BYTES_MAX, 0), type=_Known)
    except (OSError, msgspec.MsgspecError):
        return _Known()


def _locked(path: Path) -> int | None:
    """The file, open and locked; None where another command holds it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:  # else somebody has just forgotten it
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _forget_old(folder: Path) -> None:
    for path in folder.glob("*.json"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _KEPT_S:
                path.unlink()
