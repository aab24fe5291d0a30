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
    ARTIFACT_MISSING = "artifact_missing"
    ADDRESS_FORBIDDEN = "address_forbidden"
    ADDRESS_UNREACHABLE = "address_unreachable"
    ADDRESS_REFUSED = "address_refused"
    ADDRESS_TOO_LARGE = "address_too_large"
    ADDRESS_TIMED_OUT = "address_timed_out"
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
        "Ask the operator to install it, then retry.",
        True,
    ),
    FailureCode.MODEL_UNKNOWN: Failure(
        "The server does not know the model this job asks for.", "Choose another.", False
    ),
    FailureCode.SOURCE_MISSING: Failure("The uploaded file is no longer stored.", "Upload it again.", False),
    FailureCode.ARTIFACT_MISSING: Failure(
        "A file that was made on the way is no longer stored.", "Retry: it will be made anew.", True
    ),
    FailureCode.ADDRESS_FORBIDDEN: Failure(
        "The address leads where this server does not fetch from.",
        "Give one that anybody in the internet can open, or upload the recording.",
        False,
    ),
    FailureCode.ADDRESS_UNREACHABLE: Failure(
        "The recording could not be fetched.", "Check that the address opens in a browser, then retry.", True
    ),
    FailureCode.ADDRESS_REFUSED: Failure(
        "What is at the address is not given out as a file.",
        "Give the address of the recording itself, which opens without signing in.",
        True,
    ),
    FailureCode.ADDRESS_TOO_LARGE: Failure(
        "The recording at the address is larger than this server accepts.", "Cut it into shorter files.", False
    ),
    FailureCode.ADDRESS_TIMED_OUT: Failure(
        "Fetching the recording took longer than it may.", "Retry, or upload the recording.", True
    ),
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

    def __init__(self, code: FailureCode, detail: str = "", *, told: str = "") -> None:
        """`detail` is for the log and the operator; `told` is a sentence for the user: the limit, and the value."""
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.told = told

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
        self.told = ""
