"""Hostile media through the extractor's own pool and sandbox: what became of it, and whether anything got out.

    python -m tests.security.media [--mutations N] [--seed N]

What is large has a process of its own, as in the service. The rest share one by the score; a score that does not come
through is tried again one by one. The exit status is 1 where a zero of the table is none.
"""

import argparse
import asyncio
import itertools
import mmap
import random
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from chassis.child import EnginePool
from chassis.sandbox import Reach
from contracts.failures import EngineError, FailureCode
from services.extractor.app import decoding_pool
from services.extractor.engine import Extractor, Report
from services.extractor.limits import Limits
from services.extractor.settings import Settings
from tests.origin import origin
from tests.security.corpus import DECODED, Bait, Specimen, made, mutations, seeds

_SCORE = 20
_LARGE = frozenset({"long", "streams", "nested", "headers", "clocks"})
_SECRET_BYTES = 4000


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one specimen."""

    kind: str
    name: str
    code: str
    told: str = ""
    resident_bytes: int = 0
    seconds: float = 0.0
    right: bool = True
    leaked: bool = False
    lost: bool = False
    """The worker did not answer with a result or one of our failures."""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """What became of all of them."""

    outcomes: list[Outcome]
    requests: int
    """At the server that a file may have tried to reach."""

    @property
    def zeros(self) -> dict[str, int]:
        """What must not have happened, and how often it did."""
        return {
            "workers lost": sum(one.lost for one in self.outcomes),
            "decoders crashed": sum(one.code == FailureCode.DECODER_CRASHED for one in self.outcomes),
            "requests at the counting server": self.requests,
            "files read outside": sum(one.leaked for one in self.outcomes),
            "wrong outcomes": sum(not one.right for one in self.outcomes),
        }


class Weighed(Extractor):
    """The extractor, with a note of the memory it took beside its output."""

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(limits)
        self._status = Path("/proc/self/status").open("rb") if sys.platform == "linux" else None  # noqa: SIM115

    def examine(self, sources: Sequence[Path], folder: Path, *, report: Report) -> list[Outcome]:
        """Decode each of `sources`; its output is `folder/<n>.wav` and `folder/<n>.json`."""
        return [self._one(n, source, folder, report) for n, source in enumerate(sources)]

    def _one(self, n: int, source: Path, folder: Path, report: Report) -> Outcome:
        code, told, began = DECODED, "", time.monotonic()
        try:
            media = self.extract([source], folder / f"{n}.wav", folder / f"{n}.json", report=report)
            told = repr(media)
        except EngineError as error:
            code, told = error.code, f"{error.told} {error.detail}".strip()
        finally:
            (folder / "weight").write_text(str(self._resident_bytes()))
        return Outcome(kind="", name="", code=code, told=told, seconds=time.monotonic() - began)

    def _resident_bytes(self) -> int:
        if self._status is None:
            return 0
        self._status.seek(0)
        return int(self._status.read().partition(b"VmHWM:")[2].split()[0]) * 1024


class Trap:
    """A folder with bait, a server that counts, and the pool that everything goes through."""

    def __init__(self, pool: EnginePool, folder: Path, bait: Bait, secret: bytes) -> None:
        self.bait = bait
        self._pool = pool
        self._folder = folder
        self._secret = secret

    async def examine(self, specimens: Sequence[Specimen]) -> list[Outcome]:
        """Through one process; where that is lost, each through one of its own."""
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            sent, work = Path(name) / "sent", Path(name) / "work"
            sent.mkdir()
            work.mkdir()
            paths = [sent / f"{n}-{one.name}" for n, one in enumerate(specimens)]
            for path, one in zip(paths, specimens, strict=True):
                await asyncio.to_thread(path.write_bytes, one.content)
            began = time.monotonic()
            try:
                found = await self._pool.call_within(
                    Reach(read=paths, write=[work]), "examine", paths, work, returns=list[Outcome], report=_silent
                )
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a line of the table
                if len(specimens) > 1:
                    return [outcome for one in specimens for outcome in await self.examine([one])]
                found = [_failed(error, time.monotonic() - began)]
            weight = int((work / "weight").read_text()) if (work / "weight").exists() else 0
            return [
                msgspec.structs.replace(
                    outcome,
                    kind=one.kind,
                    name=one.name,
                    right=outcome.code in one.right,
                    resident_bytes=weight,
                    leaked=await asyncio.to_thread(self._leaked, outcome, [work / f"{n}.wav", work / f"{n}.json"]),
                )
                for n, (one, outcome) in enumerate(zip(specimens, found, strict=True))
            ]

    def _leaked(self, outcome: Outcome, made_of_it: Sequence[Path]) -> bool:
        """Whether any stretch of the secret is in what came out."""
        pieces = [self._secret[at : at + 32] for at in range(0, len(self._secret) - 31, 400)]
        if any(repr(piece)[2:-1] in outcome.told for piece in pieces):
            return True
        return any(_holds(path, pieces) for path in made_of_it if path.exists() and path.stat().st_size)


@asynccontextmanager
async def trap(settings: Settings | None = None) -> AsyncIterator[tuple[Trap, Callable[[], int]]]:
    """A trap, and how many came to its server so far."""
    settings = msgspec.structs.replace(settings or Settings(), engine="tests.security.media:Weighed")
    secret = random.Random("secret").randbytes(_SECRET_BYTES)  # as s16 samples: noise, which no tone holds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bait = folder / "bait.wav"
        bait.write_bytes(_wav(secret))
        async with origin() as server:
            server.serves(_wav(secret))
            pool = decoding_pool(settings)
            try:
                yield (
                    Trap(pool, folder, Bait(file=bait, address=f"{server.url}/bait.wav"), secret),
                    lambda: server.connections,
                )
            finally:
                await pool.close()


async def tried(specimens: Iterable[Specimen], trapped: Trap, at_once: int) -> list[Outcome]:
    """Everything, `at_once` processes at a time; after it the pool must still decode an honest recording."""
    waiting = _shared(specimens)
    outcomes: list[Outcome] = []

    async def work() -> None:
        for some in waiting:
            outcomes.extend(await trapped.examine(some))

    await asyncio.gather(*(work() for _ in range(at_once)))
    honest = Specimen(kind="honest", name="last.wav", content=seeds()["wav"], right=frozenset({DECODED}))
    return outcomes + await trapped.examine([honest])


def printed(table: Table) -> None:
    """For people."""
    kinds = sorted({one.kind for one in table.outcomes})
    for kind in kinds:
        those = [one for one in table.outcomes if one.kind == kind]
        codes = ", ".join(f"{code} {count}" for code, count in Counter(str(one.code) for one in those).most_common())
        print(f"{kind:10} {len(those):5}   {codes}")
    heaviest = max(table.outcomes, key=lambda one: one.resident_bytes)
    slowest = max(table.outcomes, key=lambda one: one.seconds)
    print(f"\ninputs tried: {len(table.outcomes)}")
    for name, count in table.zeros.items():
        print(f"{name}: {count}")
    print(f"worst memory: {heaviest.resident_bytes >> 20} MiB ({heaviest.kind} {heaviest.name})")
    print(f"worst time: {slowest.seconds:.1f} s ({slowest.kind} {slowest.name})")
    for one in table.outcomes:
        if not one.right or one.leaked or one.lost or one.code == FailureCode.DECODER_CRASHED:
            print(f"  {one.kind} {one.name}: {one.code}{' LEAKED' * one.leaked}{' LOST' * one.lost} {one.told[:200]}")


async def _main(count: int, seed: int) -> Table:
    settings = Settings()
    whole = seeds()
    async with trap(settings) as (trapped, requests):
        specimens = itertools.chain(made(trapped.bait, whole), mutations(whole, count, seed))
        outcomes = await tried(specimens, trapped, at_once=settings.workers)
        return Table(outcomes=outcomes, requests=requests())


def main() -> None:
    """Print the table. Fails where a zero is none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.mutations} mutations")
    table = asyncio.run(_main(options.mutations, options.seed))
    printed(table)
    sys.exit(any(table.zeros.values()))


def _failed(error: Exception, seconds: float) -> Outcome:
    if isinstance(error, EngineError):
        told = f"{error.told} {error.detail}".strip()
        return Outcome(kind="", name="", code=error.code, told=told, seconds=seconds)
    return Outcome(kind="", name="", code=type(error).__name__, told=str(error), seconds=seconds, lost=True)


def _shared(specimens: Iterable[Specimen]) -> Iterator[list[Specimen]]:
    """Which go through a process together."""
    for large, those in itertools.groupby(specimens, key=lambda one: one.kind in _LARGE):
        while some := list(itertools.islice(those, 1 if large else _SCORE)):
            yield some


def _holds(path: Path, pieces: Sequence[bytes]) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return any(content.find(piece) >= 0 for piece in pieces)


def _wav(samples: bytes) -> bytes:
    """16 kHz mono s16, so that decoding gives the very bytes."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16)
    return (
        struct.pack("<4sI4s", b"RIFF", 36 + len(samples), b"WAVE")
        + form
        + struct.pack("<4sI", b"data", len(samples))
        + samples
    )


async def _silent(_: float, __: str) -> None:
    """Nobody watches."""


if __name__ == "__main__":
    main()
