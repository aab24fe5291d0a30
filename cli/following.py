"""Follows a job over the websocket until it ends, through lost connections and restarted servers."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Literal

import msgspec
from websockets.asyncio.client import connect
from websockets.client import backoff
from websockets.exceptions import ConnectionClosed, WebSocketException

from cli.bars import Display
from cli.client import Api, Job, Unreachable
from cli.errors import CliError
from contracts.facts import Caption
from contracts.progress import Stage, Status

_COME_BACK_S = 1.0
_RECONNECT_MAX_S = 10.0

OnCaption = Callable[[Caption], None]


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    pass


class _Snapshot(_Message, frozen=True, kw_only=True, tag="snapshot"):
    seq: int
    job: Job


class _Fact(_Message, frozen=True, kw_only=True, tag="fact"):
    seq: int
    fact: str
    data: msgspec.Raw


class _Progress(_Message, frozen=True, kw_only=True, tag="progress"):
    status: Status
    progress_message: str
    stages: dict[Stage, float]
    queue_position: int | None = None


class _Error(_Message, frozen=True, kw_only=True, tag="error"):
    code: str
    message: str


class _Pong(_Message, frozen=True, kw_only=True, tag="pong"):
    pass


class _Chunk(msgspec.Struct, frozen=True):
    captions: list[Caption] = []


_decoder = msgspec.json.Decoder(_Snapshot | _Fact | _Progress | _Error | _Pong)


async def follow(
    api: Api, job_id: str, token: str, shown: Display, *, label: str = "", on_caption: OnCaption | None = None
) -> Job:
    """Show a job until it ends, and return it as it ended. `on_caption` hears every caption once, the first included.

    A lost connection is taken up again where it broke, for as long as it takes. Raises CliError where the server does
    not know the job, or cannot be reached to begin with.
    """
    await api.job(job_id, token)
    following = _Following(job_id, token, shown, label, on_caption)
    address = f"{api.server.replace('http', 'ws', 1)}/ws"
    proxy: Literal[True] | None = True if api.uses_proxy else None
    try:
        async for connection in connect(
            address, proxy=proxy, reconnect_delays=partial(backoff, 1.0, 1.0, _RECONNECT_MAX_S)
        ):
            try:
                await connection.send(following.subscription())
                async for text in connection:
                    if following.ended(text):
                        job = await api.job(job_id, token)
                        if job.status.terminal:
                            following.show(job)
                            return job
            except (ConnectionClosed, Unreachable, _Again):
                pass
            shown.say("The connection was lost; coming back.")
            await asyncio.sleep(_COME_BACK_S)
    except WebSocketException as error:
        raise CliError(f"{address} does not answer as a Subtide server does ({error}).") from error
    raise AssertionError("the connection is made again for ever")


class _Again(Exception):
    """The server cannot answer just now."""


class _Following:
    """What has been seen of a job, so that nothing is shown twice."""

    def __init__(self, job_id: str, token: str, shown: Display, label: str, on_caption: OnCaption | None) -> None:
        self._job_id = job_id
        self._token = token
        self._shown = shown
        self._label = label
        self._on_caption = on_caption
        self._seq = 0
        self._queue_position: int | None = None

    def subscription(self) -> str:
        """What asks the server for everything not seen yet."""
        return msgspec.json.encode(
            {"type": "subscribe", "job_id": self._job_id, "token": self._token, "since": self._seq}
        ).decode()

    def ended(self, text: str | bytes) -> bool:
        """Take in a message. True where the job may have ended; a run that failed may have been retried since."""
        message = _decoder.decode(text)
        match message:
            case _Snapshot():
                self.show(message.job)
                return message.job.status.terminal
            case _Fact():
                if message.seq > self._seq:
                    self._seq = message.seq
                    self._captions(message)
            case _Progress():
                self.show(message)
                return message.status.terminal
            case _Error(code="job_not_found"):
                raise CliError(message.message)
            case _Error():
                raise _Again
        return False

    def show(self, job: Job | _Progress) -> None:
        """Bars of all stages, and the place in the queue where it has changed."""
        if job.status is Status.PENDING:
            if job.queue_position not in (None, self._queue_position):
                self._queue_position = job.queue_position
                self._shown.say(job.progress_message)
            return
        for stage, fraction in job.stages.items():
            self._shown.stage(self._label, stage, fraction)

    def _captions(self, fact: _Fact) -> None:
        if fact.fact == "chunk_transcribed" and self._on_caption is not None:
            for caption in msgspec.json.decode(fact.data, type=_Chunk).captions:
                self._on_caption(caption)
