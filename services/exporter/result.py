"""What `result.json` holds: the shape whisper tools use, plus who spoke when and how it came about."""

import msgspec

from contracts.parameters import Parameters
from contracts.transcript import Segment, Turn


class StageLine(msgspec.Struct, frozen=True, kw_only=True):
    """One stage in the receipt; of several messages of a stage, the sums."""

    stage: str
    engine: str
    seconds: float
    attempts: int
    cached: bool
    skipped: bool


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """How the result was made."""

    job_id: str
    run: int
    filename: str
    parameters: Parameters
    models: dict[str, str]
    language_source: str
    stages: list[StageLine]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The whole result. Times are seconds; `turns` is the diarization itself, overlaps kept."""

    language: str | None
    duration: float
    segments: list[Segment]
    speakers: list[str]
    turns: list[Turn]
    warnings: list[str]
    receipt: Receipt
