"""The memory that parts of uploads come into.

To get new memory for every part takes as long as to hash the part, so some is kept to be filled again; all other goes
back to the system at once, and not when Python comes to it.
"""

import mmap

_IDLE = 4
_GIVES_BACK = hasattr(mmap, "MADV_DONTNEED")


class Buffer:
    """Memory for a part."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._mapped = _mapped(size)
        self._memory = memoryview(self._mapped)
        self._is_touched = False
        self.filled = 0

    def fill(self, block: memoryview) -> None:
        """Put a block behind what is there."""
        self._memory[self.filled : self.filled + len(block)] = block
        self.filled += len(block)
        self._is_touched = True

    @property
    def content(self) -> memoryview:
        """What is there."""
        return self._memory[: self.filled]

    def give_up(self) -> None:
        """Forget what is there, and give the memory back; nobody may be reading it. It can be filled again."""
        self.filled = 0
        if not self._is_touched:
            return
        self._is_touched = False
        if _GIVES_BACK:
            self._mapped.madvise(mmap.MADV_DONTNEED)  # however long somebody still holds a view of it
        else:
            self._mapped = _mapped(self._size)
            self._memory = memoryview(self._mapped)


class Buffers:
    """Those that are kept to be filled again."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._idle: list[Buffer] = []

    def take(self) -> Buffer:
        """An empty one."""
        return self._idle.pop() if self._idle else Buffer(self._size)

    def give_back(self, *buffers: Buffer) -> None:
        """Nobody reads or writes them any more."""
        for buffer in buffers:
            if len(self._idle) < _IDLE:
                buffer.filled = 0
                self._idle.append(buffer)
            else:
                buffer.give_up()


def _mapped(size: int) -> mmap.mmap:
    """Memory that the system gives page by page, as it is written to. Were it shared, it would not be given back."""
    if hasattr(mmap, "MAP_ANONYMOUS"):
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return mmap.mmap(-1, size)
