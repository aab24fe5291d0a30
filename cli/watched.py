"""What a watched folder remembers of its recordings: a line for each thing that happened, in `.subtide` in the folder.

It carries the tokens of the jobs, so it is for its owner only. One watcher at a time works on a folder.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

import filelock
import msgspec

from cli import results
from cli.begun import Recording
from cli.client import Accepted
from cli.errors import CliError

FOLDER = ".subtide"
_LINES, _LOCK = "watched.jsonl", "lock"


class Outcome(StrEnum):
    """How far a recording is."""

    SUBMITTED = "submitted"
    WRITTEN = "written"
    FAILED = "failed"


class Watched(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A recording as it was when it was submitted, and what became of it."""

    path: str
    """As in an address: names of files need not be text."""
    size: int
    mtime_ns: int
    whole_name: bool = False
    """Whether the results are called by the whole name, because another recording has the same but for its suffix, or
    a file that is not ours is called so.
    """
    server: str
    job_id: str = ""
    token: str = ""
    outcome: Outcome

    @property
    def relative(self) -> Path:
        """Where it lies in the folder."""
        return Path(os.fsdecode(unquote_to_bytes(self.path)))

    @property
    def stem(self) -> Path:
        """Its results in the folder, without their suffix."""
        return self.relative if self.whole_name else self.relative.with_name(self.relative.stem)


class Journal:
    """What was noted, the last of each path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / FOLDER / _LINES
        self._known: dict[str, Watched] = {}
        self._read()

    def running(self) -> list[Watched]:
        """What was submitted and has not ended here."""
        return [one for one in self._known.values() if one.outcome is Outcome.SUBMITTED]

    def knows(self, recording: Recording) -> bool:
        """Whether it was submitted as it is now, however it ended."""
        known = self._known.get(_named(recording.path.relative_to(self._folder)))
        return known is not None and (known.size, known.mtime_ns) == (recording.size, recording.mtime_ns)

    def new(self, recording: Recording, server: str, accepted: Accepted | None = None) -> Watched:
        """A recording with its job, or one that can have none; to be noted."""
        relative = recording.path.relative_to(self._folder)
        one = Watched(
            path=_named(relative),
            size=recording.size,
            mtime_ns=recording.mtime_ns,
            server=server,
            job_id=accepted.job_id if accepted else "",
            token=accepted.access_token if accepted else "",
            outcome=Outcome.SUBMITTED if accepted else Outcome.FAILED,
        )
        earlier = self._known.get(one.path)
        taken = {str(other.stem).casefold() for other in self._known.values() if other.path != one.path}
        if earlier is not None:
            whole_name = earlier.whole_name
        else:
            whole_name = str(one.stem).casefold() in taken or results.are_there(self._folder / one.stem)
        return msgspec.structs.replace(one, whole_name=whole_name)

    def note(self, one: Watched) -> None:
        """Write it down for good. Raises CliError where that cannot be."""
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                file.write(b"\n" + msgspec.json.encode(one) + b"\n")  # what a crash left of a line before is apart
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise CliError(f"{self._path} cannot be written: {error.strerror}.") from error
        self._known[one.path] = one

    def _read(self) -> None:
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        for line in filter(None, lines):
            try:
                one = msgspec.json.decode(line, type=Watched)
            except msgspec.MsgspecError:
                continue  # the line that was being written when the machine went down
            self._known[one.path] = one
        if len(lines) > 4 * len(self._known):
            self._shorten()

    def _shorten(self) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=self._path.parent, prefix="watched-")  # made with mode 0600
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(msgspec.json.encode(one) + b"\n" for one in self._known.values())
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(self._path)


@contextmanager
def journal(folder: Path) -> Iterator[Journal]:
    """The journal of a folder, ours alone within the context. Raises CliError where another watcher has it."""
    ours = folder / FOLDER
    try:
        ours.mkdir(mode=0o700, exist_ok=True)
        with filelock.FileLock(ours / _LOCK, timeout=0):
            yield Journal(folder)
    except filelock.Timeout as error:
        raise CliError(f"Another `subtide watch-folder` works on {folder}.") from error
    except OSError as error:
        raise CliError(f"{ours} cannot be used: {error.strerror}.") from error


def _named(relative: Path) -> str:
    return quote(os.fsencode(relative))
