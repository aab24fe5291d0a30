"""`make bench`, second half: three jobs at once, and for how long any service's event loop was ever blocked."""

import asyncio
import json
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import media
from benchmarks.pipeline import Outcome, new_folder, stack_on, transcribe

JOBS = 3
SECONDS = 180
BLOCKED_S = 0.5


def main() -> None:
    """Print what each service's event loop came late by at worst; exit with 1 where a limit is missed."""
    place = media.folder()
    with tempfile.TemporaryDirectory() as folder:
        files = [media.meeting(place, Path(folder) / f"meeting-{n}.wav", SECONDS, first=n) for n in range(JOBS)]
        with new_folder() as data:
            outcomes = asyncio.run(_together(data, files))
            blocked_s = _worst_blocked_s(data / "logs")
    back = sum(later < earlier for outcome in outcomes for earlier, later in pairwise(outcome.progress))
    table = Table(title=f"{JOBS} recordings of {SECONDS} s at once: limit {BLOCKED_S} s")
    for column in ("service", "event loop blocked at worst, s"):
        table.add_column(column)
    for service, seconds in sorted(blocked_s.items()):
        table.add_row(service, f"{seconds:.3f}")
    console = Console()
    console.print(f"all completed, in {', '.join(f'{outcome.total_s:.1f}' for outcome in outcomes)} s")
    messages = sum(len(outcome.progress) for outcome in outcomes)
    console.print(f"progress messages: {messages}, of them going back: {back}")
    console.print(table)
    sys.exit(back > 0 or not blocked_s or max(blocked_s.values()) > BLOCKED_S)


async def _together(data: Path, files: list[Path]) -> list[Outcome]:
    async with stack_on(data) as address:
        return await asyncio.gather(*(transcribe(address, file) for file in files))


def _worst_blocked_s(logs: Path) -> dict[str, float]:
    """What each service said of its event loop when it stopped: the worst delay of a 50 ms timer, by service."""
    worst: dict[str, float] = {}
    for log in logs.glob("*.log"):
        for line in log.read_text().splitlines():
            if '"event_loop"' in line:
                event = json.loads(line)
                worst[event["service"]] = max(worst.get(event["service"], 0.0), event["worst_blocked_s"])
    return worst


if __name__ == "__main__":
    main()
