"""Where in a recording somebody speaks: Silero VAD over a WAV of any length, a block at a time."""

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from faster_whisper.vad import VadOptions, get_speech_timestamps

from contracts.transcript import Region

SAMPLE_RATE = 16_000

_BLOCK_S = 600
_MAX_REGION_S = 30.0
_MIN_SILENCE_MS = 160
_OPTIONS = VadOptions(max_speech_duration_s=_MAX_REGION_S, min_silence_duration_ms=_MIN_SILENCE_MS)
"""What faster-whisper's batched pipeline asks of the VAD."""

Samples = np.ndarray[Any, np.dtype[np.float32]]


def read(wav: Path, first: int, count: int) -> Samples:
    """Samples of a 16 kHz mono s16 WAV as floats in -1..1."""
    with wave.open(str(wav), "rb") as file:
        file.setpos(min(first, file.getnframes()))
        return as_floats(file.readframes(count))


def as_floats(pcm: bytes) -> Samples:
    """s16 little-endian to floats in -1..1."""
    return np.frombuffer(pcm, dtype="<i2").astype(np.float32) / 32768.0


def speech_regions(wav: Path, report: Callable[[float], None]) -> list[Region]:
    """Regions of speech, at most 30 s each, in order, in seconds.

    A block ends in silence: what the VAD heard last in it is heard again at the start of the next.
    """
    with wave.open(str(wav), "rb") as file:
        total = file.getnframes()
    regions: list[Region] = []
    first = 0
    while first < total:
        samples = read(wav, first, _BLOCK_S * SAMPLE_RATE)
        found = get_speech_timestamps(samples, _OPTIONS)
        following = first + len(samples)
        if following < total and len(found) > 1:
            following = first + int(found.pop()["start"])
        regions.extend(
            Region((first + span["start"]) / SAMPLE_RATE, (first + span["end"]) / SAMPLE_RATE) for span in found
        )
        first = following
        report(first / total)
    return regions
