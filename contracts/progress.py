"""The state of a job as a function of its facts: the one fold behind the API, the websocket, the projection and the
command line.

`fold` accepts facts in log order; a fact that came before is without effect, and progress never falls within a run.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from contracts import facts, failures
from contracts.artifacts import ArtifactRef
from contracts.parameters import Parameters
from contracts.transcript import MediaFacts


class Status(StrEnum):
    """Where a job is in its life."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether the run is over."""
        return self in (Status.COMPLETED, Status.FAILED, Status.CANCELLED)


class Stage(StrEnum):
    """Stage names for users."""

    QUEUED = "queued"
    FETCHING = "fetching"
    EXTRACTING = "extracting"
    TRANSCRIBING = "transcribing"
    DIARIZING = "diarizing"
    GENERATING = "generating"
    COMPLETE = "complete"


WORK = (Stage.FETCHING, Stage.EXTRACTING, Stage.TRANSCRIBING, Stage.DIARIZING, Stage.GENERATING)
"""The stages that take time, each with a bar of its own; not every job has all (`JobView.stages`)."""

_WEIGHT = {
    Stage.FETCHING: 10.0,
    Stage.EXTRACTING: 5.0,
    Stage.TRANSCRIBING: 55.0,
    Stage.DIARIZING: 35.0,
    Stage.GENERATING: 5.0,
}
DIARIZATION_FAILED = "diarization_failed"
NO_SPEECH = "no_speech"
"""Warnings that a job itself may carry, beside those of its media; sentences in `failures.WARNINGS`."""
PLANNED_SHARE = 0.1
"""Share of transcription that planning is taken to be."""

SENTENCES = {
    Stage.QUEUED: "Waiting for a free place",
    Stage.FETCHING: "Fetching the recording",
    Stage.EXTRACTING: "Reading the sound",
    Stage.TRANSCRIBING: "Writing down what is said",
    Stage.DIARIZING: "Finding out who speaks",
    Stage.GENERATING: "Making the subtitles",
    Stage.COMPLETE: "Done",
}


class LiveProgress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A stage's word on how far it is, between its facts; lossy by design."""

    job_id: str
    run: int
    stage: Stage
    fraction: float
    message: str = ""
    queue_position: int | None = None
    starts_in_s: float | None = None
    """Seconds until a job in the queue is likely to start."""


class Share(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A read-only token of a job."""

    n: int
    token_sha256: str
    minted_at: datetime
    revoked: bool = False


class JobView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job as its facts tell it, up to the stream sequence `seq`."""

    job_id: str
    owner: str
    run: int
    seq: int
    filename: str
    source: ArtifactRef | None = None
    """None as long as what is at `source_url` was not fetched."""
    source_url: str | None = None
    parameters: Parameters
    token_sha256: str
    status: Status
    stage_fractions: dict[Stage, float]
    accepted_at: datetime
    tier: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    cached: bool = False
    cached_at: datetime | None = None
    media: MediaFacts | None = None
    language: str | None = None
    speakers: int | None = None
    words: int | None = None
    warnings: list[str] = []
    chunk_speech_s: list[float] | None = None
    chunks_done: list[int] = []
    queue_position: int | None = None
    starts_in_s: float | None = None
    stage_seconds: dict[Stage, float] = {}
    """Seconds of work in each stage that worked (found results do not count): what estimates are made from."""
    expired_at: datetime | None = None
    """Since when nothing of the job is stored any more."""
    deleted: bool = False
    """Whether its owner wanted it gone."""
    results: dict[str, ArtifactRef] = {}
    version: int = 0
    """The latest correction whose results these are; 0: as the machines made them."""
    peaks: ArtifactRef | None = None
    error_code: str | None = None
    error_message: str | None = None
    error_told: str | None = None
    """What was told beside the sentence of the code."""
    error_reference: str | None = None
    shares: list[Share] = []

    @property
    def stages(self) -> list[Stage]:
        """The stages that this job goes through; they do not change on its way, so progress never falls."""
        skipped = set()
        if self.source_url is None:
            skipped.add(Stage.FETCHING)
        if not self.parameters.diarize:
            skipped.add(Stage.DIARIZING)
        return [stage for stage in WORK if stage not in skipped]

    @property
    def progress(self) -> float:
        """Per cent of the whole job, 0 to 100."""
        if self.status is Status.COMPLETED:
            return 100.0
        done = sum(_WEIGHT[stage] * self.stage_fractions.get(stage, 0.0) for stage in self.stages)
        return round(100.0 * done / sum(_WEIGHT[stage] for stage in self.stages), 1)

    @property
    def progress_stage(self) -> Stage:
        """The one stage a user is told; of two that run beside each other, the one that is read first."""
        if self.status is Status.COMPLETED:
            return Stage.COMPLETE
        if self.started_at is None:
            return Stage.QUEUED
        for stage in self.stages:
            if self.stage_fractions.get(stage, 0.0) < 1.0:
                return stage
        return Stage.GENERATING

    @property
    def progress_message(self) -> str:
        """The sentence for the stage."""
        if self.status is Status.FAILED:
            return self.error_message or ""
        if self.status is Status.CANCELLED:
            return "Cancelled"
        stage = self.progress_stage
        if stage is Stage.QUEUED and self.queue_position:
            return f"{SENTENCES[stage]}: number {self.queue_position} in the queue"
        if stage is Stage.TRANSCRIBING and self.chunk_speech_s:
            return f"{SENTENCES[stage]}: part {len(self.chunks_done)} of {len(self.chunk_speech_s)}"
        return SENTENCES[stage]


def fold(view: JobView | None, fact: facts.AnyFact, seq: int) -> JobView | None:
    """The job after one more fact. None until it is accepted; a fact of an earlier run, or seen before, is no news."""
    if isinstance(fact, facts.JobAccepted):
        return _accepted(view, fact, seq)
    if view is None or seq <= view.seq:
        return view
    shared = _shared(view, fact)
    if shared is not None:
        return msgspec.structs.replace(view, shares=shared, seq=seq)
    if isinstance(fact, facts.JobExpired):
        return msgspec.structs.replace(view, seq=seq, expired_at=fact.at, deleted=fact.on_request)
    if fact.run == view.run and isinstance(fact, facts.VersionExported):
        return msgspec.structs.replace(view, seq=seq, **_corrected(view, fact))
    if fact.run != view.run or view.status.terminal or _known(view, fact):
        return msgspec.structs.replace(view, seq=seq)
    return msgspec.structs.replace(view, seq=seq, **_changes(view, fact))


def advance(view: JobView, live: LiveProgress) -> JobView:
    """The job after a word of live progress. It never takes back, and never says that a stage is complete."""
    if live.run != view.run or view.status.terminal:
        return view
    if live.stage is Stage.QUEUED:
        if view.started_at is not None:
            return view
        return msgspec.structs.replace(view, queue_position=live.queue_position, starts_in_s=live.starts_in_s)
    known = view.stage_fractions.get(live.stage, 0.0)
    fractions = view.stage_fractions | {live.stage: max(known, min(live.fraction, 0.99))}
    return msgspec.structs.replace(view, stage_fractions=fractions)


def _accepted(view: JobView | None, fact: facts.JobAccepted, seq: int) -> JobView:
    if view is not None and fact.run <= view.run:
        return view
    return JobView(
        job_id=fact.job_id,
        owner=fact.owner,
        run=fact.run,
        seq=seq,
        filename=fact.filename,
        source=fact.source,
        source_url=fact.source_url,
        parameters=fact.parameters,
        token_sha256=fact.token_sha256,
        status=Status.PENDING,
        stage_fractions={},
        accepted_at=view.accepted_at if view else fact.at,
        tier=fact.tier,
        shares=view.shares if view else [],
    )


def _known(view: JobView, fact: facts.AnyFact) -> bool:
    """Whether the fact was folded before: a fact that was published again to wake somebody has a new sequence."""
    match fact:
        case facts.SourceFetched():
            return view.stage_fractions.get(Stage.FETCHING) == 1.0
        case facts.AudioExtracted():
            return view.stage_fractions.get(Stage.EXTRACTING) == 1.0
        case facts.TranscriptionPlanned():
            return view.chunk_speech_s is not None
        case facts.ChunkTranscribed():
            return fact.n in view.chunks_done
        case facts.SpeakersDiarized():
            return view.stage_fractions.get(Stage.DIARIZING) == 1.0
        case _:
            return False


def _shared(view: JobView, fact: facts.AnyFact) -> list[Share] | None:
    if isinstance(fact, facts.ShareMinted):
        if any(share.n == fact.n for share in view.shares):
            return view.shares
        return [*view.shares, Share(n=fact.n, token_sha256=fact.token_sha256, minted_at=fact.at)]
    if isinstance(fact, facts.ShareRevoked):
        return [msgspec.structs.replace(share, revoked=True) if share.n == fact.n else share for share in view.shares]
    return None


def _corrected(view: JobView, fact: facts.VersionExported) -> dict[str, object]:
    """Versions may be exported in another order than they were made in: the latest counts."""
    if view.status is not Status.COMPLETED or fact.failed is not None or fact.n <= view.version:
        return {}
    return {"results": fact.results, "version": fact.n, "speakers": fact.speakers, "words": fact.words}


def _changes(view: JobView, fact: facts.AnyFact) -> dict[str, object]:
    done = view.stage_fractions
    match fact:
        case facts.JobStarted():
            return {
                "status": Status.PROCESSING,
                "started_at": fact.at,
                "queue_position": None,
                "starts_in_s": None,
            }
        case facts.SourceFetched():
            return {
                "filename": fact.filename,
                "source": fact.source,
                "stage_fractions": done | {Stage.FETCHING: 1.0},
                "stage_seconds": _worked(view, Stage.FETCHING, fact.receipt),
            }
        case facts.AudioExtracted():
            return {
                "media": fact.media,
                "peaks": fact.peaks,
                "warnings": _merged(view.warnings, fact.media.warnings),
                "stage_fractions": done | {Stage.EXTRACTING: 1.0},
                "stage_seconds": _worked(view, Stage.EXTRACTING, fact.receipt),
            }
        case facts.TranscriptionPlanned():
            planned = _transcribed(fact.chunk_speech_s, view.chunks_done)
            return {
                "language": fact.language,
                "chunk_speech_s": fact.chunk_speech_s,
                "stage_seconds": _worked(view, Stage.TRANSCRIBING, fact.receipt),
                "stage_fractions": done | {Stage.TRANSCRIBING: max(done.get(Stage.TRANSCRIBING, 0.0), planned)},
            }
        case facts.ChunkTranscribed():
            chunks = sorted({*view.chunks_done, fact.n})
            fraction = _transcribed(view.chunk_speech_s or [], chunks)
            return {
                "chunks_done": chunks,
                "stage_seconds": _worked(view, Stage.TRANSCRIBING, fact.receipt),
                "stage_fractions": done | {Stage.TRANSCRIBING: max(done.get(Stage.TRANSCRIBING, 0.0), fraction)},
            }
        case facts.SpeakersDiarized():
            return {
                "speakers": fact.speakers,
                "warnings": _merged(view.warnings, [DIARIZATION_FAILED] if fact.failed else []),
                "stage_fractions": done | {Stage.DIARIZING: 1.0},
                "stage_seconds": _worked(view, Stage.DIARIZING, fact.receipt),
            }
        case facts.JobCompleted():
            return {
                "status": Status.COMPLETED,
                "ended_at": fact.at,
                "language": fact.language,
                "speakers": fact.speakers,
                "words": fact.words,
                "results": fact.results,
                "warnings": _merged(view.warnings, fact.warnings),
                "cached": fact.cached,
                "cached_at": fact.cached_at,
                "stage_fractions": {stage: 1.0 for stage in WORK if stage is not Stage.FETCHING or view.source_url},
            }
        case facts.JobFailed():
            failure = failures.FAILURES[fact.code]
            return {
                "status": Status.FAILED,
                "ended_at": fact.at,
                "error_code": str(fact.code),
                "error_message": " ".join(part for part in (failure.sentence, fact.told, failure.hint) if part),
                "error_told": fact.told or None,
                "error_reference": fact.reference,
            }
        case facts.JobCancelled():
            return {
                "status": Status.CANCELLED,
                "ended_at": fact.at,
                "queue_position": None,
                "starts_in_s": None,
            }
        case _:
            return {}


def _transcribed(chunk_speech_s: list[float], chunks_done: list[int]) -> float:
    """Share of transcription done, by seconds of speech; planning counts, so that a first mark is seen early."""
    total = sum(chunk_speech_s)
    if not total:
        return 1.0 if len(chunks_done) == len(chunk_speech_s) else PLANNED_SHARE
    if len(chunks_done) >= len(chunk_speech_s):
        return 1.0
    done = sum(chunk_speech_s[n] for n in chunks_done if n < len(chunk_speech_s))
    return round(PLANNED_SHARE + (1.0 - PLANNED_SHARE) * done / total, 4)


def _worked(view: JobView, stage: Stage, receipt: facts.StageReceipt) -> dict[Stage, float]:
    if receipt.cached_at is not None or receipt.skipped:
        return view.stage_seconds
    return view.stage_seconds | {stage: round(view.stage_seconds.get(stage, 0.0) + receipt.seconds, 3)}


def _merged(first: list[str], second: list[str]) -> list[str]:
    return list(dict.fromkeys([*first, *second]))
