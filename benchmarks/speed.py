"""`make bench`: the pipeline beside the plain script on ten minutes of meeting, in one run, models loaded on both.

The two take turns, each on a recording that begins with another excerpt, so that nothing is found in the cache. What
is quoted is the ratio of the medians.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import media
from benchmarks.pipeline import Outcome, PeakMemory, running_stack, transcribe

ROUNDS = 2
SECONDS = 600
LIMITS = {"wall clock, ratio": 0.72, "first caption, of the script's total": 0.15, "peak memory, GB": 3.0}


def main() -> None:
    """Print the table; exit with 1 where a limit is missed."""
    place = media.folder()
    with tempfile.TemporaryDirectory() as folder:
        files = [media.meeting(place, Path(folder) / f"meeting-{n}.wav", SECONDS, first=n) for n in range(ROUNDS)]
        plain, ours, peak_bytes = asyncio.run(_measured(files))
    script_s = statistics.median(plain)
    figures = {
        "wall clock, ratio": statistics.median(outcome.total_s for outcome in ours) / script_s,
        "first caption, of the script's total": statistics.median(outcome.first_caption_s or 1e9 for outcome in ours)
        / script_s,
        "peak memory, GB": peak_bytes / 1e9,
    }
    table = Table(title=f"{SECONDS // 60} minutes of meeting, {ROUNDS} rounds")
    for column in ("figure", "measured", "limit"):
        table.add_column(column)
    for name, limit in LIMITS.items():
        table.add_row(name, f"{figures[name]:.3f}", f"<= {limit}")
    console = Console()
    console.print(f"plain script: {', '.join(f'{seconds:.1f}' for seconds in plain)} s")
    console.print(f"pipeline: {', '.join(f'{outcome.total_s:.1f}' for outcome in ours)} s")
    console.print(f"first caption: {', '.join(f'{outcome.first_caption_s or 0:.1f}' for outcome in ours)} s")
    console.print(table)
    sys.exit(any(figures[name] > limit for name, limit in LIMITS.items()))


async def _measured(files: list[Path]) -> tuple[list[float], list[Outcome], int]:
    plain: list[float] = []
    ours: list[Outcome] = []
    peak_bytes = 0
    for number, file in enumerate(files):
        plain.append(await asyncio.to_thread(_plain_script_s, file))
        async with running_stack() as address:
            with tempfile.TemporaryDirectory() as folder:
                # Half a minute first, so that the models are loaded, as they are in the script when its clock starts.
                short = media.meeting(media.folder(), Path(folder) / "warm-up.wav", 30, first=number + 1)
                await transcribe(address, short)
            with PeakMemory() as memory:
                ours.append(await transcribe(address, file))
            peak_bytes = max(peak_bytes, memory.peak_bytes)
    return plain, ours, peak_bytes


def _plain_script_s(file: Path) -> float:
    command = [sys.executable, "-m", "benchmarks.plain_script", str(file)]
    seconds = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["seconds"]
    return float(seconds["transcribe"] + seconds["diarize"])


if __name__ == "__main__":
    main()
