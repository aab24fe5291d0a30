"""A file to the server by tus, which goes on where it broke off, whoever was killed: the line, the server or ourselves.

Patience is counted from the last byte that arrived, not from the beginning.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from cli.begun import Begun, Recording
from cli.client import Absent, Api, Refused, Source, Unreachable, sent_name
from cli.errors import CliError

PATIENCE_S = 600.0
"""Without a byte."""
_PAUSE_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
_BLOCK_BYTES = 1 << 20
_FORGOTTEN = (404, 410)
_LATER = (408, 409, 423, 425)
_NO_PLACE = ("queue_full", "too_many_uploads")
"""Codes of a 429 that a moment's wait does not help: a job must end first, or somebody do something."""

OnSent = Callable[[int], None]
Say = Callable[[str], None]


def is_busy(error: Refused) -> bool:
    """Whether it was too much in too short a time, so that it helps to wait."""
    return error.status == 429 and error.code not in _NO_PLACE


class Unreadable(CliError):
    """The file is the trouble, not the server."""


class ChangedFile(Unreadable):
    """The file is not what it was when we began."""


class Patience:
    """Pauses that grow as long as nothing comes of it, and an end."""

    def __init__(self, say: Say, patience_s: float = PATIENCE_S) -> None:
        self._say = say
        self._patience_s = patience_s
        self._since: float | None = None
        self._tries = 0
        self._met = False
        """Whether the server has answered: one that was never there is not waited for."""

    def progressed(self) -> None:
        """Something has come of it."""
        self._met = True
        self._tries = 0
        self._since = None

    async def pause(self, error: CliError) -> None:
        """Wait before another try. Raises the error itself where trying again would not help, or has not for long."""
        if not self._may_pass(error):
            raise error
        await self.rest(error)

    async def rest(self, error: CliError) -> None:
        """Wait before another try, whatever went wrong. Raises the error itself where that has not helped for long."""
        now = time.monotonic()
        self._since = self._since or now
        if now - self._since > self._patience_s:
            raise error
        if self._tries == 1:
            self._say(f"{error} Trying again.")
        again_s = error.again_s or 0.0 if isinstance(error, Refused) else 0.0
        pause_s = max(_PAUSE_S[min(self._tries, len(_PAUSE_S) - 1)], min(again_s, self._patience_s))
        self._tries += 1
        await asyncio.sleep(pause_s)

    def _may_pass(self, error: CliError) -> bool:
        if isinstance(error, Refused):
            self._met = True
            return error.status in _LATER or is_busy(error)
        return isinstance(error, Unreachable) and (self._met or not isinstance(error, Absent))


async def send(api: Api, recording: Recording, kept: Begun, on_sent: OnSent, say: Say) -> Source:
    """Bring all of a file to the server. `on_sent` hears how many bytes are there or on their way.

    Raises CliError; called again, it goes on.
    """
    if not recording.size:
        raise Unreadable(f"{recording.path} is empty.")
    patience = Patience(say)
    most = -1
    while True:
        check_unchanged(recording)
        try:
            upload = kept.upload
            if upload is None:
                upload = await api.begin_upload(recording.size, sent_name(recording.path), kept.key)
                kept.is_called(upload)
            offset = await api.arrived(upload)
            if offset > most:
                most = offset
                patience.progressed()
            on_sent(offset)
            if offset < recording.size:
                length = recording.size - offset
                offset = await api.send(upload, offset, _blocks(recording, offset, on_sent), length)
            if offset == recording.size:
                check_unchanged(recording)
                return Source(upload_id=upload.upload_id, upload_token=upload.upload_token)
        except Refused as error:
            if kept.upload is None or error.status not in _FORGOTTEN:
                await patience.pause(error)
                continue
            kept.anew()
            await patience.rest(error)
        except Unreachable as error:
            await patience.pause(error)


def check_unchanged(recording: Recording) -> None:
    """Raises ChangedFile."""
    try:
        now = Recording.at(recording.path)
    except OSError as error:
        raise ChangedFile(f"{recording.path} cannot be read any more: {error.strerror}.") from error
    if now != recording:
        raise ChangedFile(f"{recording.path} changed while it was sent. Submit it once nobody writes to it any more.")


async def _blocks(recording: Recording, offset: int, on_sent: OnSent) -> AsyncIterator[bytes]:
    left = recording.size - offset
    try:
        with recording.path.open("rb") as file:
            file.seek(offset)
            while left:
                block = await asyncio.to_thread(file.read, min(_BLOCK_BYTES, left))
                if not block:
                    check_unchanged(recording)
                    raise ChangedFile(f"{recording.path} ended early.")
                yield block
                left -= len(block)
                on_sent(recording.size - left)
    except OSError as error:
        raise Unreadable(f"{recording.path} cannot be read: {error.strerror}.") from error
