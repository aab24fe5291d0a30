"""The quality report: how far the captions of each preset keep its limits, and what there is to know of the words."""

from enum import StrEnum
from typing import Final

import msgspec

from contracts.captioning import Preset, PresetName

QUALITY: Final = "quality"
"""What the report is called among the results of a job."""
BROKEN_MAX = 200
"""Captions of a preset that the report names; it counts all."""


class Rule(StrEnum):
    """What a caption can be too much of, or too little."""

    READING_SPEED = "reading_speed"
    LINE_WIDTH = "line_width"
    LINES = "lines"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    GAP = "gap"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One rule, and the captions that break it."""

    rule: Rule
    limit: float
    """In characters a second, columns, lines, or seconds."""
    worst: float | None
    """The value that is furthest on the wrong side, whether or not it breaks the rule; null without captions."""
    captions: int
    """How many break it."""
    share: float
    """Of all captions, 0 to 1."""


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """A caption that breaks a rule."""

    caption: int
    """Its number in the file, from 1."""
    start: float
    end: float
    rule: Rule
    value: float


class PresetQuality(msgspec.Struct, frozen=True, kw_only=True):
    """The captions of one preset."""

    preset: PresetName
    limits: Preset
    captions: int
    words: int
    """Words that the captions show."""
    words_dropped: int
    """Words of the transcript that no caption shows."""
    within_limits: float
    """Share of captions that break no rule, 0 to 1."""
    findings: list[Finding]
    broken: list[Broken]
    """The first of them, 200 at most, in order of time."""


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """Times are seconds of the recording."""

    words: int
    mean_probability: float | None
    """How sure the model was of a word, on average; null without words."""
    doubtful_words: int
    doubtful_below: float
    """A word less probable than this is doubtful."""
    attributed: float | None
    """Share of the time of speech that has a speaker, 0 to 1; null without words."""
    longest_silence_s: float
    """The longest stretch without a word, and where it begins."""
    longest_silence_at: float
    warnings: list[str]
    """As the job has them."""
    presets: list[PresetQuality]
