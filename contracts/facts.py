"""The facts of a job: what has happened, in the past tense, as stored in the stream `JOBS`.

A fact grows by optional fields only; a breaking change is a new fact (docs/adr/0001). Bodies are plain JSON, told
apart by the field `fact`.
"""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from contracts.artifacts import ArtifactRef
from contracts.failures import FailureCode
from contracts.parameters import Parameters
from contracts.transcript import Chunk, MediaFacts

Word = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,128}$")]
"""What can be part of a subject: nothing in it can widen one."""
Number = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Moment = Annotated[datetime, Meta(tz=True)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
_YEARS = range(1970, 9999)


class StageReceipt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a stage came to its result; gathered into the receipt of the job."""

    engine: str
    seconds: float
    attempts: int = 1
    cached_at: datetime | None = None
    """When the artifact that was found was made; None where the stage worked."""
    skipped: bool = False


class Caption(msgspec.Struct, frozen=True, kw_only=True):
    """A line of live transcript, seconds from the start of the recording."""

    start: float
    end: float
    text: str


class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="fact"):
    """What every fact says: whose job, which run of it, and when it became true."""

    job_id: Word
    run: Number
    owner: Word
    at: Moment


class NumberedFact(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A fact that a run has several of."""

    n: Number


class JobAccepted(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="accepted"):
    """The gateway has the whole recording, or its address, and answers for the job. One of the two is there."""

    filename: str
    source: ArtifactRef | None = None
    source_url: str | None = None
    """Where the recording is to be fetched from. It may open what it leads to: nobody is shown it."""
    parameters: Parameters
    token_sha256: Sha256
    tier: int = 0
    """Lower starts earlier."""
    cached_at: datetime | None = None
    """When a job of the same file and parameters was completed, if its result is still stored."""
    retried_as: str | None = None
    """What stands for the `Idempotency-Key` of the retry that began the run; it cannot be had without the secret."""

    def __post_init__(self) -> None:
        _check_source(self.source, self.source_url)


class BatchItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One recording of a batch, and what the job made of it is to be called. There is a source or an address."""

    job_id: Word
    filename: str
    source: ArtifactRef | None = None
    source_url: str | None = None
    token_sha256: Sha256


class BatchAccepted(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="batch-accepted"):
    """The gateway answers for several jobs with the same parameters; `job_id` is the batch's own. The dispatcher makes
    an `accepted` of each item, so that of all of them the log has either every one or none.
    """

    items: list[BatchItem]
    parameters: Parameters
    token_sha256: Sha256
    tier: int = 0


class JobStarted(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="started"):
    """The dispatcher gave the job a place. As in `accepted`, there is a source or an address."""

    filename: str
    source: ArtifactRef | None = None
    source_url: str | None = None
    parameters: Parameters

    def __post_init__(self) -> None:
        _check_source(self.source, self.source_url)


class SourceFetched(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="fetched"):
    """The recording of a job that came with an address is there, as an upload would be."""

    filename: str
    """What its server calls it."""
    source: ArtifactRef
    parameters: Parameters
    receipt: StageReceipt


class AudioExtracted(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="extracted"):
    """The sound is there: 16 kHz mono s16 WAV."""

    audio: ArtifactRef
    peaks: ArtifactRef
    media: MediaFacts
    parameters: Parameters
    receipt: StageReceipt


class TranscriptionPlanned(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="planned"):
    """Which speech there is, in which language, in how many chunks."""

    plan: ArtifactRef
    chunks: int
    chunk_speech_s: list[float]
    """Seconds of speech in each chunk: the weight of the chunk in the job's progress."""
    language: str | None
    language_probability: float | None
    language_source: str
    speech_s: float
    receipt: StageReceipt


class ChunkRequested(NumberedFact, frozen=True, kw_only=True, omit_defaults=True, tag="chunk-requested"):
    """A chunk may be transcribed now."""

    chunk: Chunk
    chunks: int
    language: str | None
    audio: ArtifactRef
    plan: ArtifactRef
    parameters: Parameters


class ChunkTranscribed(NumberedFact, frozen=True, kw_only=True, omit_defaults=True, tag="chunk-transcribed"):
    """The words of one chunk are stored; `captions` carries the text for those who watch."""

    segments: ArtifactRef
    captions: list[Caption]
    receipt: StageReceipt


class SpeakersDiarized(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="diarized"):
    """Who spoke when; `turns` is None where the job did not ask, or where it `failed`."""

    turns: ArtifactRef | None
    speakers: int
    receipt: StageReceipt
    failed: FailureCode | None = None
    """Why nobody knows who spoke: the job goes on without speakers. `reference` finds the stack trace in the log."""
    reference: str = ""


class JobCompleted(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="completed"):
    """The subtitles are stored. `results` maps a format (srt, vtt, json, txt) to its artifact; captions of a preset
    are there as `captioning.of_preset` says, and the quality report as `quality`.
    """

    results: dict[str, ArtifactRef]
    language: str | None
    duration_s: float
    speakers: int
    words: int
    warnings: list[str] = []
    cached: bool = False
    """Whether every stage found its result stored."""
    cached_at: datetime | None = None
    receipt: StageReceipt


class JobFailed(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="failed"):
    """The run ended without subtitles. `reference` finds the stack trace in the log."""

    code: FailureCode
    stage: str
    reference: str
    attempts: int
    detail: str = ""
    told: str = ""
    """A sentence for the user beside that of the code: which limit, and the value that is past it."""


class JobCancelled(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="cancelled"):
    """The owner no longer wants the run."""


class JobExpired(Fact, frozen=True, kw_only=True, omit_defaults=True, tag="expired"):
    """The job has been kept as long as promised, or its owner had it deleted: what it stored is removed."""

    on_request: bool = False


class ShareMinted(NumberedFact, frozen=True, kw_only=True, omit_defaults=True, tag="share-minted"):
    """A read-only token exists for the job."""

    token_sha256: Sha256


class ShareRevoked(NumberedFact, frozen=True, kw_only=True, omit_defaults=True, tag="share-revoked"):
    """The read-only token of the same number is void."""


class TranscriptEdited(NumberedFact, frozen=True, kw_only=True, omit_defaults=True, tag="edited"):
    """The owner has corrected the transcript of a completed run; `n` is the number of the version, from 1 without gaps.

    Version 0 is what the machines made. Nothing is changed in place: an undo is a version, too.
    """

    based_on: int
    """The version that was corrected."""
    transcript: ArtifactRef
    """All of it as it is now (`transcript.Transcript`)."""
    words: int = 0
    """How many words were corrected, and `speakers` renamed."""
    speakers: int = 0
    restored: int | None = None
    """The version whose transcript it has, where an earlier one was brought back."""
    edited_as: str | None = None
    """What stands for the `Idempotency-Key` of the edit; it cannot be had without the secret."""
    asked: str | None = None
    """SHA-256 of what was asked with it."""


class VersionExported(NumberedFact, frozen=True, kw_only=True, omit_defaults=True, tag="exported"):
    """The subtitles of the version of the same number are stored, as in `completed`; or it `failed`, and the version
    before it stays.
    """

    results: dict[str, ArtifactRef]
    speakers: int
    words: int
    receipt: StageReceipt
    failed: FailureCode | None = None
    """Why there are none. `reference` finds the stack trace in the log."""
    reference: str = ""


AnyFact = (
    JobAccepted
    | BatchAccepted
    | JobStarted
    | SourceFetched
    | AudioExtracted
    | TranscriptionPlanned
    | ChunkRequested
    | ChunkTranscribed
    | SpeakersDiarized
    | JobCompleted
    | JobFailed
    | JobCancelled
    | JobExpired
    | ShareMinted
    | ShareRevoked
    | TranscriptEdited
    | VersionExported
)


def _check_source(source: ArtifactRef | None, source_url: str | None) -> None:
    """A job without either would wait for ever; one with both would have two recordings."""
    if (source is None) == (source_url is None):
        raise ValueError("a job has either a source or a source_url")


_decoder: msgspec.json.Decoder[AnyFact] = msgspec.json.Decoder(AnyFact)


def decode(body: bytes) -> AnyFact:
    """The fact in a message body. Raises msgspec.MsgspecError on anything else."""
    try:
        fact = _decoder.decode(body)
    except (RecursionError, UnicodeDecodeError) as error:  # which msgspec lets through
        raise msgspec.DecodeError(str(error)) from error
    if fact.at.year not in _YEARS:
        raise msgspec.ValidationError("the time is none that could be reckoned with")
    return fact


def encode(fact: Fact) -> bytes:
    """Plain JSON, fields in order, so that equal facts are equal bytes."""
    return msgspec.json.encode(fact, order="deterministic")


def ends_run(fact: Fact) -> bool:
    """Whether the fact is terminal: a run has exactly one such (`JobLog.append` holds that)."""
    return isinstance(fact, JobCompleted | JobFailed | JobCancelled)


def follows_end(fact: Fact) -> bool:
    """Whether the fact calls for work though its run has ended."""
    return isinstance(fact, JobExpired | TranscriptEdited)


def name(fact: Fact | type[Fact]) -> str:
    """The word for a fact in subjects, tables and metrics, e.g. `chunk-transcribed`."""
    tag = fact.__struct_config__.tag
    assert isinstance(tag, str)
    return tag
