"""Words, segments and turns, in the shape whisper tools use. All times are seconds from the start of the recording."""

import msgspec


class Word(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One spoken word. `word` keeps the space Whisper puts before it, so that joining words gives the text."""

    word: str
    start: float
    end: float
    probability: float
    speaker: str | None = None


class Segment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run of words that Whisper decoded together; after the join, of one speaker."""

    id: int
    start: float
    end: float
    text: str
    speaker: str | None = None
    words: list[Word] = []


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch in which one speaker talks; turns of two speakers may overlap."""

    start: float
    end: float
    speaker: str


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """What was said, and by whom: what a person may correct of a result."""

    segments: list[Segment]
    speakers: list[str] = []
    turns: list[Turn] = []


class Region(msgspec.Struct, frozen=True, array_like=True):
    """A stretch of speech found by the voice activity detector."""

    start: float
    end: float


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """One unit of transcription, cut in silence: `regions` are the speech inside `start`..`end`."""

    n: int
    start: float
    end: float
    regions: list[Region]


class MediaTrack(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One stream of the container."""

    index: int
    kind: str
    codec: str
    language: str | None = None
    default: bool = False
    sample_rate: int | None = None
    channels: int | None = None
    width: int | None = None
    height: int | None = None


class MediaFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the extractor learned of a recording. `duration_s` is that of the audio actually decoded."""

    duration_s: float
    container: str
    tracks: list[MediaTrack]
    audio_track: int
    warnings: list[str] = []
