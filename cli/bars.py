"""How far things are: bars where a person looks on, plain lines where the output goes to a file or a pipe.

Everything here goes to stderr; stdout is for what a command was asked for.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.text import Text

_LINE_EVERY = 0.25


class Display(Protocol):
    """Where progress is shown. `label` tells several files apart, and is empty where there is one."""

    def stage(self, label: str, stage: str, fraction: float) -> None:
        """A stage is so far, from 0 to 1."""

    def say(self, sentence: str) -> None:
        """Something worth a line."""


@contextmanager
def display() -> Iterator[Display]:
    """Bars on a terminal, lines elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines()
        return
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        console=console,
        redirect_stdout=sys.stdout.isatty(),  # lines printed meanwhile stand above the bars, unless they go elsewhere
    )
    with progress:
        yield Bars(progress)


class Bars:
    """One bar for each stage of each job."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._rows: dict[tuple[str, str], TaskID] = {}

    def stage(self, label: str, stage: str, fraction: float) -> None:
        """See Display."""
        row = self._rows.get((label, stage))
        if row is None:
            row = self._rows[label, stage] = self._progress.add_task(_titled(f"{stage:<12}", label), total=1.0)
        self._progress.update(row, completed=fraction)

    def say(self, sentence: str) -> None:
        """See Display."""
        self._progress.console.print(Text(sentence))


class Lines:
    """A line when a stage has come a quarter further."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str], int] = {}

    def stage(self, label: str, stage: str, fraction: float) -> None:
        """See Display."""
        quarter = int(fraction / _LINE_EVERY)
        if quarter > self._said.get((label, stage), 0):
            self._said[label, stage] = quarter
            self.say(_titled(f"{stage} {quarter * _LINE_EVERY:.0%}", label))

    def say(self, sentence: str) -> None:
        """See Display."""
        print(sentence, file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Text from elsewhere, such as a file name, without what could move the cursor or break the line."""
    return "".join(character if character.isprintable() else " " for character in text)


def _titled(text: str, label: str) -> str:
    return f"{text} {printable(label)}" if label else text
