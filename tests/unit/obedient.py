"""An engine for the tests of its process; light, for it is imported in each process anew."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from contracts.failures import Cancelled, FailureCode, Permanent, Retryable
from contracts.transcript import Chunk, Region, Word

CHUNK = Chunk(n=3, start=1.5, end=2.5, regions=[Region(1.5, 2.0)])


class Taken(msgspec.Struct, frozen=True):
    """What an engine was given, as it saw it."""

    types: list[str]
    words: list[Word]


class Engine:
    """Does as it is told, and worse."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._calls = 0

    def identity(self) -> str:
        return "engine"

    def count(self) -> int:
        self._calls += 1
        return self._calls

    def pid(self) -> int:
        return os.getpid()

    def take(self, wav: Path, sources: Sequence[Path], pcm: bytes, chunk: Chunk, *, language: str | None) -> Taken:
        print("what a library prints is no answer")
        given = [wav, sources[0], pcm, chunk, chunk.regions[0], language, self._folder]
        assert chunk == CHUNK
        return Taken(
            types=[type(one).__name__.removeprefix("Posix") for one in given],
            words=[Word(word=" one", start=0.1, end=0.3, probability=0.25)],
        )

    def fail(self, how: str) -> None:
        match how:
            case "retryable":
                raise Retryable(FailureCode.STORE_FULL, "detail", told="told")
            case "permanent":
                raise Permanent(FailureCode.NOT_MEDIA, "detail", told="told")
            case "cancelled":
                raise Cancelled("detail")
            case "full":
                raise OSError(28, "No space left on device")
        raise KeyError("a mistake of ours")

    def say(self, content: bytes) -> None:
        os.write(4, content)
        asyncio.run(asyncio.sleep(60))

    def answer(self, value: dict[str, Any]) -> Any:
        return value

    def large(self, size: int) -> bytes:
        return bytes(size)

    def exit(self) -> None:
        os._exit(7)

    def sleep(self, report: Any) -> None:
        for n in range(600):
            report(n / 600, "asleep")
            asyncio.run(asyncio.sleep(0.1))

    def variable(self, name: str) -> str | None:
        return os.environ.get(name)
