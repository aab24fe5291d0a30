"""Every way a job can fail: a stable code, the sentence a user reads, and what an engine may raise.

An engine raises `Retryable`, `Permanent` or `Cancelled`, nothing else; only the chassis turns them into an
outcome of the message.
"""

from enum import StrEnum

import msgspec


class FailureCode(StrEnum):
    """Stable codes of failed jobs; they are part of the API and never renamed."""

    EMPTY_FILE = "empty_file"
    NOT_MEDIA = "not_media"
    NO_AUDIO = "no_audio"
    UNDECODABLE = "undecodable"
    MEDIA_LIMIT = "media_limit"
    DECODER_CRASHED = "decoder_crashed"
    MODEL_MISSING = "model_missing"
    MODEL_UNKNOWN = "model_unknown"
    SOURCE_MISSING = "source_missing"
    STORE_FULL = "store_full"
    TIMED_OUT = "timed_out"
    WORKER_LOST = "worker_lost"
    INTERNAL = "internal"


class Failure(msgspec.Struct, frozen=True):
    """What a person is told about a code."""

    sentence: str
    hint: str
    retry_can_help: bool


FAILURES: dict[FailureCode, Failure] = {
    FailureCode.EMPTY_FILE: Failure(
        "The file is empty.", "Check that the recording was saved or copied completely.", False
    ),
    FailureCode.NOT_MEDIA: Failure(
        "This file is not a recording we can read.",
        "Send an audio or video file, for example MP4 or MP3.",
        False,
    ),
    FailureCode.NO_AUDIO: Failure(
        "The file has no sound track.", "Check that the video was recorded or exported with sound.", False
    ),
    FailureCode.UNDECODABLE: Failure(
        "None of the sound in this file could be decoded.",
        "Export the recording again and send the new file.",
        False,
    ),
    FailureCode.MEDIA_LIMIT: Failure(
        "The recording is beyond what this server accepts.", "Cut it into shorter or simpler files.", False
    ),
    FailureCode.DECODER_CRASHED: Failure(
        "The file made our decoder stop.", "Export the recording to another format and send that.", False
    ),
    FailureCode.MODEL_MISSING: Failure(
        "The server has not installed the model this job needs.",
        "Ask the operator to run `subtide models pull`, then retry.",
        True,
    ),
    FailureCode.MODEL_UNKNOWN: Failure(
        "The server does not know the model this job asks for.", "Choose another.", False
    ),
    FailureCode.SOURCE_MISSING: Failure("The uploaded file is no longer stored.", "Upload it again.", False),
    FailureCode.STORE_FULL: Failure("The server ran out of storage space.", "Retry in a while.", True),
    FailureCode.TIMED_OUT: Failure("A step took longer than it may.", "Retry, or send a shorter recording.", True),
    FailureCode.WORKER_LOST: Failure("The workers on this job stopped several times.", "Retry in a while.", True),
    FailureCode.INTERNAL: Failure(
        "Something went wrong on our side.", "Retry; if it fails again, tell us the reference.", True
    ),
}


WARNINGS: dict[str, str] = {
    "truncated": "The file ends too early: what was there has been transcribed.",
    "corrupt_packets": "Parts of the file are damaged and were left out.",
    "no_speech": "Nobody speaks in this recording, so there are no captions.",
    "diarization_failed": "The speakers could not be found, so the captions do not say who speaks.",
}
"""What a person is told of a result that is less than was asked for, by the code in `warnings`."""


class EngineError(Exception):
    """Base of everything an engine may raise; the docstring of each child says what the chassis does with it."""

    def __init__(self, code: FailureCode, detail: str = "") -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}" if self.detail else str(self.code)


class Retryable(EngineError):
    """May succeed on another try: the message is handed back with a delay until the tries are spent."""


class Permanent(EngineError):
    """Will fail on every try: the job fails at once."""


class Cancelled(EngineError):
    """The job no longer wants the result: the message is dropped."""

    def __init__(self, detail: str = "") -> None:
        Exception.__init__(self, detail)
        self.code = FailureCode.INTERNAL
        self.detail = detail
