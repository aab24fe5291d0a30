"""Which files of a folder are recordings, and since when each of them has been left alone."""

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from cli.begun import Recording
from cli.client import FORMATS

PATTERNS = tuple(
    f"*.{suffix}"
    for suffix in (
        "3gp aac aif aiff amr avi flac flv m2ts m4a m4b m4v mka mkv mov mp3 mp4 mpeg mpg mts oga ogg opus ts wav webm "
        "wma wmv"
    ).split()
)
"""What is taken for a recording where no pattern is given; what it really is the server finds out."""

_UNFINISHED = ("~", ".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", ".download", ".opdownload")
_RESULTS = tuple(f".{name}" for name in FORMATS)


def is_recording(name: str, patterns: Sequence[str]) -> bool:
    """Whether a file of this name is one: neither hidden nor unfinished, nor what we write. Case does not matter."""
    name = name.lower()
    if name.startswith((".", "~")) or name.endswith(_UNFINISHED) or name.endswith(_RESULTS):
        return False
    return any(fnmatchcase(name, pattern.lower()) for pattern in patterns)


def found(folder: Path, patterns: Sequence[str], *, recursive: bool) -> list[Recording]:
    """The recordings in a folder, by name; links are not followed, hidden folders not entered. Raises OSError where the
    folder itself cannot be read.
    """
    return sorted(_found(folder, patterns, recursive=recursive), key=lambda recording: recording.path)


class Settling:
    """Tells the files that somebody still writes to from those that are left alone for `settle_s`."""

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._since: dict[Recording, float] = {}

    def settled(self, present: Sequence[Recording], now_s: float) -> list[Recording]:
        """Those of the present ones that have not changed for long enough. An empty file is one that is begun."""
        self._since = {one: self._since.get(one, now_s) for one in present if one.size}
        return [one for one, since in self._since.items() if now_s - since >= self._settle_s]

    def next_s(self, now_s: float) -> float | None:
        """In how long the next one may be settled; None where none is on the way."""
        left = [self._settle_s - (now_s - since) for since in self._since.values()]
        return min((one for one in left if one > 0), default=None)


def _found(folder: Path, patterns: Sequence[str], *, recursive: bool) -> Iterator[Recording]:
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                if entry.is_file(follow_symlinks=False):
                    if is_recording(entry.name, patterns):
                        yield Recording.at(Path(entry.path))
                elif recursive and entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                    yield from _found(Path(entry.path), patterns, recursive=True)
            except OSError:  # gone since, or not for us: another look may find it
                continue
