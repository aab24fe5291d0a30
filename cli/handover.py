"""Recordings become jobs: a file is sent first; one recording is submitted alone, several as one batch.

Until its job is written down here, what was sent of a recording is remembered: a command that was killed in between and
is called again gets the same job, because the key of a submit follows from the uploads that it names.
"""

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from cli.bars import Display
from cli.begun import Begun, Recording, begun
from cli.client import BATCH_MAX, Accepted, Api, Refused, Source, Unreachable, sent_name
from cli.errors import CliError
from cli.sending import Patience, Unreadable, is_busy, send
from cli.tokens import SubmittedJob, TokenFile, server_name
from contracts import addresses
from contracts.addresses import Address
from contracts.parameters import Parameters

Given = Path | Address
OnAccepted = Callable[[int, Accepted], None]
"""Hears which recording has which job, once that is sure."""
OnFailed = Callable[[int, CliError], None]
"""Hears which recording has none, and why."""

_STALE = ("upload_used", "upload_not_found", "upload_unfinished", "idempotency_key_reused")
"""What was sent is of no use: it has a job that nobody here knows of, or the server forgot it."""
_NOT_THERE = 404
_TOO_MANY = "too_many_uploads"
_ITEM = re.compile(r"items\[(\d+)\]")
_ITEM_FIRST = re.compile(rf"^{_ITEM.pattern}: ")


async def hand_over(
    api: Api,
    recordings: Sequence[Given],
    asked: Parameters,
    shown: Display,
    on_accepted: OnAccepted,
    on_failed: OnFailed,
) -> None:
    """Send and submit recordings. Raises CliError where no further one can be handed over, whatever it is."""
    labels = [name_of(recording).name if len(recordings) > 1 else "" for recording in recordings]
    left = list(range(len(recordings)))
    while left:
        with ExitStack() as held:
            group = _Group(api, recordings, asked, shown, labels, on_failed, held)
            left = await group.send(left)
            for n, accepted in (await group.submit()).items():
                keep_token(api, accepted, sent_name(name_of(recordings[n])))
                on_accepted(n, accepted)
                group.forget(n)


async def hand_over_one(
    api: Api,
    recording: Path,
    asked: Parameters,
    shown: Display,
    on_accepted: Callable[[Accepted], None] = lambda accepted: None,
) -> Accepted:
    """As `hand_over`, of one file. Raises CliError with the server's own sentence."""
    jobs: dict[int, Accepted] = {}
    failed: dict[int, CliError] = {}

    def accepted(n: int, job: Accepted) -> None:
        jobs[n] = job
        on_accepted(job)

    await hand_over(api, [recording], asked, shown, accepted, failed.__setitem__)
    if failed:
        raise failed[0]
    return jobs[0]


async def until_there(api: Api, accepted: Accepted) -> None:
    """Wait for a job of a batch that was accepted: it is known a moment later. Raises CliError where it stays away."""
    patience = Patience(lambda _: None)
    while True:
        try:
            await api.job(accepted.job_id, accepted.access_token)
        except Unreachable as error:
            await patience.rest(error)
        except Refused as error:
            if error.status != _NOT_THERE:
                raise
            await patience.rest(error)
        else:
            return


def name_of(recording: Given) -> Path:
    """What a recording is called here; one at an address is as if it lay in the current folder."""
    return recording if isinstance(recording, Path) else Path(addresses.filename(recording))


def keep_token(api: Api, accepted: Accepted, filename: str) -> None:
    """So that the user need not know it."""
    TokenFile().add(
        SubmittedJob(
            job_id=accepted.job_id,
            token=accepted.access_token,
            server=server_name(api.server),
            filename=filename,
            submitted_at=datetime.now(UTC),
        )
    )


class _Group:
    """Recordings that are submitted together."""

    def __init__(
        self,
        api: Api,
        recordings: Sequence[Given],
        asked: Parameters,
        shown: Display,
        labels: Sequence[str],
        on_failed: OnFailed,
        held: ExitStack,
    ) -> None:
        self._api = api
        self._recordings = recordings
        self._asked = asked
        self._shown = shown
        self._labels = labels
        self._on_failed = on_failed
        self._held = held
        self._begun: dict[int, tuple[Recording, Begun]] = {}
        self._sources: dict[int, Source] = {}
        self._sent_again: set[int] = set()

    async def send(self, wanted: Sequence[int]) -> list[int]:
        """Send as many as go into one submit. Returns those that are left for the next."""
        for at, n in enumerate(wanted):
            if len(self._sources) == BATCH_MAX:
                return list(wanted[at:])
            try:
                self._sources[n] = await self._source(n)
            except Unreachable:
                raise
            except CliError as error:
                if isinstance(error, Refused) and error.code == _TOO_MANY:
                    if not self._sources:
                        raise
                    return list(wanted[at:])
                self._on_failed(n, error)
        return []

    async def submit(self) -> dict[int, Accepted]:
        """Make jobs of what was sent. What the server refuses is left out, and is a failure of its own."""
        patience = Patience(self._shown.say)
        while self._sources:
            order = list(self._sources)
            try:
                return dict(zip(order, await self._submitted(list(self._sources.values())), strict=True))
            except Unreachable as error:
                await patience.pause(error)
            except Refused as error:
                n = _refused(error, order)
                if is_busy(error):
                    await patience.pause(error)
                elif n is None:
                    raise
                else:
                    await self._leave_out(n, error)
        return {}

    def forget(self, n: int) -> None:
        """There is a job of it, which is written down."""
        if n in self._begun:
            self._begun[n][1].forget()

    async def _leave_out(self, n: int, error: Refused) -> None:
        if error.code not in _STALE or n not in self._begun or n in self._sent_again:
            sentence = _ITEM_FIRST.sub("", str(error))  # the number is not one that the user gave
            self._on_failed(n, error if sentence == str(error) else CliError(sentence))
            del self._sources[n]
            return
        self._sent_again.add(n)
        self._begun[n][1].anew()
        self._sources[n] = await self._source(n)

    async def _submitted(self, sources: list[Source]) -> list[Accepted]:
        if len(sources) == 1:
            return [await self._api.submit(sources[0], self._asked, _key(sources, self._asked))]
        return await self._api.submit_batch(sources, self._asked, _key(sources, self._asked))

    async def _source(self, n: int) -> Source:
        given = self._recordings[n]
        if not isinstance(given, Path):
            return Source(source_url=given.url)
        if n not in self._begun:
            try:
                recording = Recording.at(given)
            except OSError as error:
                raise Unreadable(f"{given} cannot be read: {error.strerror}.") from error
            self._begun[n] = recording, self._held.enter_context(begun(self._api.server, recording))
        recording, kept = self._begun[n]

        def on_sent(sent: int) -> None:
            self._shown.stage(self._labels[n], "uploading", sent / recording.size)

        return await send(self._api, recording, kept, on_sent, self._shown.say)


def _refused(error: Refused, order: Sequence[int]) -> int | None:
    """Which recording is meant; None where it is all of them."""
    item = _ITEM.match(error.field)
    if item is not None and int(item[1]) < len(order):
        return order[int(item[1])]
    return order[0] if len(order) == 1 else None


def _key(sources: Sequence[Source], asked: Parameters) -> str:
    """The same for the same uploads, and known to nobody else: it has their tokens in it. Of addresses alone, new."""
    said = msgspec.json.encode((sources, asked))
    if not any(source.upload_token for source in sources):
        said += secrets.token_bytes(16)
    return base64.urlsafe_b64encode(hashlib.sha256(said).digest()).decode()
