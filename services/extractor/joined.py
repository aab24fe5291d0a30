"""Several files as one to read: a recording that was uploaded in parts is never copied together."""

import bisect
import io
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO


def open_joined(paths: Sequence[Path]) -> "Joined":
    """The files one after another, from the first byte. Close it. Raises OSError."""
    return Joined(paths)


class Joined(io.RawIOBase):
    """Reads and seeks; one file is open at a time."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._ends = list(itertools.accumulate(path.stat().st_size for path in paths))
        self._at = 0
        self._open: tuple[int, IO[bytes]] | None = None

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return self._ends[-1] if self._ends else 0

    def readable(self) -> bool:
        """It is for reading only."""
        return True

    def seekable(self) -> bool:
        """Forth and back."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file: a place past the end is allowed, one before the beginning is not."""
        at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        if at < 0:
            raise ValueError(f"negative seek position {at}")
        self._at = at
        return at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed knows no name for buffers here
        """As much as one file has from here on."""
        n = bisect.bisect_right(self._ends, self._at)
        if n == len(self._ends):
            return 0
        file = self._opened(n)
        file.seek(self._at - (self._ends[n - 1] if n else 0))
        count: int = file.readinto(buffer)  # type: ignore[attr-defined]  # every file that is open for bytes has it
        self._at += count
        return count

    def read(self, size: int = -1) -> bytes:
        """As many bytes as asked for, fewer only at the end: what reads media takes less for the end."""
        wanted = max(0, self.size - self._at)
        content = bytearray(wanted if size < 0 else min(size, wanted))
        view = memoryview(content)
        filled = 0
        while filled < len(content) and (count := self.readinto(view[filled:])):
            filled += count
        return bytes(view[:filled])

    def close(self) -> None:
        """Nothing can be read any more."""
        if self._open is not None:
            self._open[1].close()
            self._open = None
        super().close()

    def _opened(self, n: int) -> IO[bytes]:
        if self._open is None or self._open[0] != n:
            if self._open is not None:
                self._open[1].close()
            self._open = n, self._paths[n].open("rb", buffering=0)
        return self._open[1]
