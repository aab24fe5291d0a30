"""How far the estimates of a job's duration are off, each made from the jobs before it only.

Runs excerpts of different lengths one after the other through a stack whose models are loaded, then plays the history
back in time order.
"""

import asyncio
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import nats
from rich.console import Console
from rich.table import Table

from benchmarks import media
from benchmarks.pipeline import new_folder, stack_on, transcribe
from chassis.joblog import JobLog
from cli.standalone.folder import read_running
from contracts.progress import JobView, Stage, Status
from services.gateway.estimate import experience

WARM_UP_S = 22
SECONDS = (20, 75, 30, 50, 15, 90, 40, 25, 60, 35)
"""Lengths of the recordings, in the order they are sent; every third is not diarized."""
AT_SUBMIT = "when it is submitted"
LENGTH_KNOWN = "once its length is known"


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of a job, and what came true, in seconds; None where nothing could be said."""

    when: str
    audio_s: float
    said_s: float | None
    true_s: float


def main() -> None:
    """Print the mean absolute error and the median relative error."""
    place = media.folder()
    with tempfile.TemporaryDirectory() as folder:
        files = [
            media.meeting(place, Path(folder) / f"meeting-{number}.wav", seconds, first=number % 4)
            for number, seconds in enumerate(SECONDS)
        ]
        warm_up = media.meeting(place, Path(folder) / "warm-up.wav", WARM_UP_S)
        views = asyncio.run(_transcribed(warm_up, files))
    estimates = list(replay(views))
    console = Console()
    table = Table(title=f"estimates for {len(views)} jobs of {min(SECONDS)} to {max(SECONDS)} s of sound")
    for column in ("made", "jobs", "without one", "mean absolute error, s", "median relative error"):
        table.add_column(column)
    for when in (AT_SUBMIT, LENGTH_KNOWN):
        made = [one for one in estimates if one.when == when]
        off = [(abs(one.said_s - one.true_s), one.true_s) for one in made if one.said_s is not None]
        for one in made:
            said = "nothing" if one.said_s is None else f"{one.said_s:.1f} s"
            console.print(f"{one.audio_s:.0f} s of sound, {when}: said {said}, took {one.true_s:.1f} s")
        absolute = f"{statistics.mean(error for error, _ in off):.1f}" if off else "-"
        relative = f"{statistics.median(error / true_s for error, true_s in off):.0%}" if off else "-"
        table.add_row(when, str(len(made)), str(len(made) - len(off)), absolute, relative)
    console.print(table)


def replay(history: Sequence[JobView]) -> Iterator[Estimate]:
    """What would have been said of each completed job, from those that had ended when it was accepted."""
    for view in sorted(history, key=lambda view: view.accepted_at):
        if view.status is not Status.COMPLETED or view.cached:
            continue
        assert view.started_at is not None
        assert view.ended_at is not None
        assert view.media is not None
        audio_s = view.media.duration_s
        known = experience(
            earlier for earlier in history if earlier.ended_at is not None and earlier.ended_at <= view.accepted_at
        )
        ran_s = (view.ended_at - view.started_at).total_seconds()
        said_s = known.duration_s(view.parameters, view.source.bytes)
        yield Estimate(when=AT_SUBMIT, audio_s=audio_s, said_s=said_s, true_s=ran_s)
        extracted = msgspec.structs.replace(
            view, status=Status.PROCESSING, ended_at=None, stage_fractions={Stage.EXTRACTING: 1.0}
        )
        left_s = max(ran_s - view.stage_seconds.get(Stage.EXTRACTING, 0.0), 0.0)
        yield Estimate(when=LENGTH_KNOWN, audio_s=audio_s, said_s=known.remaining_s(extracted), true_s=left_s)


async def _transcribed(warm_up: Path, files: Sequence[Path]) -> list[JobView]:
    with new_folder() as data:
        async with stack_on(data) as address:
            await transcribe(address, warm_up)
            outcomes = [
                await transcribe(address, file, diarize=str(number % 3 != 2).lower())
                for number, file in enumerate(files)
            ]
            running = read_running(data)
            assert running is not None
            client = await nats.connect(running.nats_url)
            views = [await JobLog(client).view(outcome.job_id) for outcome in outcomes]
            await client.close()
    return [view for view in views if view is not None]


if __name__ == "__main__":
    main()
