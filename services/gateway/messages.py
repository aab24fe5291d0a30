"""The messages of the websocket `/ws`, told apart by `type`; JSON text both ways."""

from datetime import datetime
from typing import Annotated

import msgspec

from contracts.progress import JobView, Stage, Status
from services.gateway.access import TOKEN_LENGTH_MAX
from services.gateway.engine import Job
from services.gateway.problems import expired_sentence


class ClientMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=False):
    """What a client sends."""


class Subscribe(ClientMessage, frozen=True, kw_only=True, tag="subscribe"):
    """Watch a job. Subscribing again to the same job begins anew."""

    job_id: str
    token: Annotated[str, msgspec.Meta(max_length=TOKEN_LENGTH_MAX)]
    since: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """The last `seq` seen: the snapshot is as of then, and every fact after it follows. 0 replays the whole job."""


class Unsubscribe(ClientMessage, frozen=True, kw_only=True, tag="unsubscribe"):
    """Stop watching a job."""

    job_id: str


class Ping(ClientMessage, frozen=True, kw_only=True, tag="ping"):
    """Answered by `pong`."""


class ServerMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """What the server sends."""


class Snapshot(ServerMessage, frozen=True, kw_only=True, tag="snapshot"):
    """The job as of the stream sequence `seq`; the first message of a subscription."""

    job_id: str
    seq: int
    job: Job


class FactHappened(ServerMessage, frozen=True, kw_only=True, tag="fact"):
    """A fact of the job; each comes once, by rising `seq`. `data` is the fact without places in the store."""

    job_id: str
    seq: int
    run: int
    at: datetime
    fact: str
    """The name, e.g. `chunk_transcribed`, whose `data.captions` is the text."""
    data: msgspec.Raw


class Progress(ServerMessage, frozen=True, kw_only=True, tag="progress"):
    """How far the job is. Of several that a slow client has not read yet, only the last is sent."""

    job_id: str
    seq: int
    """The last fact that it takes into account."""
    run: int
    status: Status
    progress: float
    progress_stage: Stage
    progress_message: str
    stages: dict[Stage, float]
    queue_position: int | None = None
    starts_in_s: float | None = None
    estimated_remaining_seconds: float | None = None


class Error(ServerMessage, frozen=True, kw_only=True, tag="error"):
    """Something asked for was not done; the socket and its other subscriptions go on."""

    code: str
    message: str
    job_id: str | None = None


class Pong(ServerMessage, frozen=True, kw_only=True, tag="pong"):
    """The answer to `ping`."""


AnyClientMessage = Subscribe | Unsubscribe | Ping
AnyServerMessage = Snapshot | FactHappened | Progress | Error | Pong

_decoder: msgspec.json.Decoder[AnyClientMessage] = msgspec.json.Decoder(AnyClientMessage)


def decode(text: str | bytes) -> AnyClientMessage:
    """Raises msgspec.MsgspecError on anything that is no message."""
    return _decoder.decode(text)


def job_not_found(job_id: str) -> Error:
    """The same for a job that is not there and for a token that does not open it."""
    return Error(
        code="job_not_found", message="There is no such job, or this token does not open it.", job_id=job_id[:64]
    )


def job_expired(view: JobView) -> Error:
    """For those whose token opened the job when it was there."""
    return Error(code="expired", message=expired_sentence(view), job_id=view.job_id)
