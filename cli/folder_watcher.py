"""Watches one folder: what has settled is submitted, what was submitted is followed, what has ended is written.

Where the system says that something changed, we look at once; since network shares say nothing, we look from time to
time anyway.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import typer
from watchfiles import awatch

from cli import appearing, results
from cli.bars import printable
from cli.begun import Recording
from cli.client import Accepted, Api, Job, Refused
from cli.errors import CliError
from cli.following import follow
from cli.handover import hand_over_one
from cli.sending import ChangedFile, Unreadable
from cli.tokens import server_name
from cli.watched import FOLDER, Journal, Outcome, Watched
from contracts.parameters import Parameters
from contracts.progress import Status

RESCAN_S = 10.0
_FIRST_RESCAN_S = 0.5
"""The system takes a moment until it tells what changes."""
_AGAIN_S = (1.0, 2.0, 5.0, 10.0, 30.0)
_FOLLOWED_AT_ONCE = 20


class FolderWatcher:
    """One folder and one server."""

    def __init__(
        self,
        api: Api,
        folder: Path,
        into: Path,
        asked: Parameters,
        journal: Journal,
        patterns: Sequence[str],
        *,
        recursive: bool,
        settle_s: float,
    ) -> None:
        self._api = api
        self._folder = folder
        self._into = into
        self._asked = asked
        self._journal = journal
        self._patterns = patterns
        self._recursive = recursive
        self._settling = appearing.Settling(settle_s)
        self._server = server_name(api.server)
        self._changed = asyncio.Event()
        self._slots = asyncio.Semaphore(_FOLLOWED_AT_ONCE)
        self._following: dict[str, asyncio.Task[None]] = {}
        self._said: set[str] = set()
        self._failures = 0
        self._not_before_s = 0.0
        self._tries = 0
        self._rescan_s = _FIRST_RESCAN_S

    async def run(self, *, once: bool) -> int:
        """Watch until cancelled; with `once`, until all that is there has ended. Returns how many failed.

        Raises CliError where it cannot go on; with `once`, where the server cannot be reached, too.
        """
        _say(f"Watching {self._folder}")
        async with asyncio.TaskGroup() as tasks:
            noticing = tasks.create_task(self._notice())
            for one in self._journal.running():
                self._take_up(tasks, one)
            while True:
                waiting = await self._look(tasks, once=once)
                if once and not waiting and not self._following:
                    break
                await self._until_something(waiting)
            noticing.cancel()
        return self._failures

    async def _look(self, tasks: asyncio.TaskGroup, *, once: bool) -> bool:
        """Submit what can be. Returns whether anything is left to be submitted."""
        try:
            present = await asyncio.to_thread(appearing.found, self._folder, self._patterns, recursive=self._recursive)
        except OSError as error:
            unreadable = Unreadable(f"{self._folder} cannot be read: {error.strerror}.")
            if once:
                raise unreadable from error
            self._say_once(str(unreadable))
            return False
        new = [recording for recording in present if not self._journal.knows(recording)]
        for recording in self._settling.settled(new, time.monotonic()):
            if time.monotonic() < self._not_before_s:
                break
            try:
                await self._submit(tasks, recording)
            except CliError as error:
                if once and not isinstance(error, Refused | Unreadable | results.Unwritable):
                    raise
                self._later(error)
            else:
                self._tries = 0
        return any(recording.size and not self._journal.knows(recording) for recording in new)

    async def _submit(self, tasks: asyncio.TaskGroup, recording: Recording) -> None:
        def accepted(job: Accepted) -> None:
            one = self._journal.new(recording, self._server, job)
            self._journal.note(one)
            _say(f"submitted {one.relative} as job {job.job_id}")
            self._take_up(tasks, one)

        try:
            await hand_over_one(self._api, recording.path, self._asked, _Quiet(), accepted)
        except ChangedFile:
            return  # it has to settle again, or is gone
        except CliError as error:
            if not _is_final(error):
                raise
            self._fail(self._journal.new(recording, self._server), str(error))

    def _later(self, error: CliError) -> None:
        pause_s = _AGAIN_S[min(self._tries, len(_AGAIN_S) - 1)]
        if isinstance(error, Refused) and error.again_s is not None:
            pause_s = min(error.again_s, _AGAIN_S[-1])
        self._tries += 1
        self._not_before_s = time.monotonic() + pause_s
        self._say_once(f"{error} Trying again.")

    def _take_up(self, tasks: asyncio.TaskGroup, one: Watched) -> None:
        if one.server != self._server:
            _say(f"{one.relative} is at {one.server}; it is followed when that server is watched with.")
            return
        earlier = self._following.get(one.path)
        if earlier is not None:
            earlier.cancel()  # the recording changed: nobody wants what comes of the one before
        task = self._following[one.path] = tasks.create_task(self._follow(one))
        task.add_done_callback(lambda ended: self._ended(one, ended))

    def _ended(self, one: Watched, task: asyncio.Task[None]) -> None:
        if self._following.get(one.path) is task:
            del self._following[one.path]
        self._changed.set()

    async def _follow(self, one: Watched) -> None:
        async with self._slots:
            tries = 0
            while True:
                try:
                    await self._end(one)
                except CliError as error:
                    self._say_once(f"{one.relative}: {error} Trying again.")
                else:
                    return
                await asyncio.sleep(_AGAIN_S[min(tries, len(_AGAIN_S) - 1)])
                tries += 1

    async def _end(self, one: Watched) -> None:
        try:
            job = await follow(self._api, one.job_id, one.token, _Quiet())
            if job.status is Status.COMPLETED:
                await self._write(one, job)
                return
            sentence = job.failure
        except Refused as error:
            if not _is_final(error):
                raise
            sentence = str(error)
        self._fail(one, sentence)

    async def _write(self, one: Watched, job: Job) -> None:
        stem = self._into / one.stem
        results.make_folder(stem.parent)
        await results.write(self._api, one.job_id, one.token, stem)
        with suppress(OSError):
            results.error_file(stem).unlink(missing_ok=True)
        self._journal.note(msgspec.structs.replace(one, outcome=Outcome.WRITTEN))
        _say(f"written {one.stem}.srt .vtt .json .txt")
        for note in job.notes:
            _say(f"{one.relative}: {note}")

    def _fail(self, one: Watched, sentence: str) -> None:
        """The sentence stands where the subtitles would; the journal comes after it, so that it is never missing."""
        stem = self._into / one.stem
        results.make_folder(stem.parent)
        results.write_text(results.error_file(stem), f"{sentence}\n")
        self._journal.note(msgspec.structs.replace(one, outcome=Outcome.FAILED))
        self._failures += 1
        _say(f"failed {one.relative}: {sentence}")

    async def _until_something(self, waiting: bool) -> None:
        now = time.monotonic()
        wait_s = self._rescan_s
        self._rescan_s = min(2 * self._rescan_s, RESCAN_S)
        if waiting:
            wait_s = min(wait_s, max(self._settling.next_s(now) or 0.0, self._not_before_s - now, 0.05))
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._changed.wait()
        self._changed.clear()

    async def _notice(self) -> None:
        while True:
            try:
                async for _ in awatch(
                    self._folder,
                    watch_filter=lambda _, path: FOLDER not in Path(path).parts,
                    recursive=self._recursive,
                    ignore_permission_denied=True,
                ):
                    self._changed.set()
            except* (OSError, RuntimeError):  # the folder went away, the system has no watches left, a name is no text
                self._changed.set()
            await asyncio.sleep(RESCAN_S)

    def _say_once(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            _say(sentence)


def _is_final(error: CliError) -> bool:
    """Whether it is about this one recording, and will be the same however often it is tried."""
    if isinstance(error, Refused):
        return bool(error.code) and error.status < 500 and error.status != 429
    return isinstance(error, Unreadable)


class _Quiet:
    """No bars: a line an event is enough where nobody looks on."""

    def stage(self, label: str, stage: str, fraction: float) -> None:
        """See Display."""

    def say(self, sentence: str) -> None:
        """See Display."""


def _say(sentence: str) -> None:
    typer.echo(printable(sentence))
