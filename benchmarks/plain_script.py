"""The script anyone would write first: faster-whisper batched with words, then pyannote, one after the other.

What the pipeline is measured against, with the same models. `python -m benchmarks.plain_script FILE` prints JSON:
`{seconds: {load, transcribe, diarize}, language, segments, turns}`.
"""

import argparse
import json
import sys
import tempfile
import time
import wave
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from faster_whisper import BatchedInferencePipeline, WhisperModel, decode_audio

from contracts.transcript import Segment, Turn, Word

DEFAULT_MODELS = Path.home() / ".cache/subtide/models"
SAMPLE_RATE = 16_000


class PlainResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the script makes of a recording; every word carries the speaker of the turn it overlaps most."""

    seconds: dict[str, float]
    language: str
    segments: list[Segment]
    turns: list[Turn]

    @property
    def text(self) -> str:
        """All that was heard."""
        return "".join(segment.text for segment in self.segments).strip()


def load(models: Path, model: str = "base") -> tuple[Any, Any]:
    """The two models with the threads their libraries take by default."""
    from services.diarizer.engine import Diarizer

    whisper = WhisperModel(str(models / f"whisper-{model}"), device="cpu", compute_type="int8")
    return whisper, Diarizer(models, threads=0)


def run(path: Path, models: Path, whisper: Any | None = None, diarizer: Any | None = None) -> PlainResult:
    """Transcribes, then diarizes. Models given are used as they are; loading others counts as `seconds["load"]`."""
    began = time.perf_counter()
    if whisper is None or diarizer is None:
        whisper, diarizer = load(models)
    loaded = time.perf_counter()

    found, info = BatchedInferencePipeline(whisper).transcribe(str(path), word_timestamps=True, batch_size=8)
    segments = [_segment(segment) for segment in found]
    transcribed = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "audio.wav"
        _write_wav(path, wav)
        turns = diarizer.diarize(
            wav, num_speakers=None, min_speakers=None, max_speakers=None, report=lambda fraction, message: None
        )
    segments = [_with_speakers(segment, turns) for segment in segments]
    diarized = time.perf_counter()

    return PlainResult(
        seconds={"load": loaded - began, "transcribe": transcribed - loaded, "diarize": diarized - transcribed},
        language=info.language,
        segments=segments,
        turns=turns,
    )


def _segment(segment: Any) -> Segment:
    words = [
        Word(
            word=word.word,
            start=float(word.start),
            end=float(word.end),
            probability=round(float(word.probability), 4),
        )
        for word in segment.words
    ]
    return Segment(id=segment.id, start=float(segment.start), end=float(segment.end), text=segment.text, words=words)


def _with_speakers(segment: Segment, turns: list[Turn]) -> Segment:
    words = [msgspec.structs.replace(word, speaker=_speaker(word, turns)) for word in segment.words]
    return msgspec.structs.replace(segment, words=words)


def _speaker(word: Word, turns: list[Turn]) -> str | None:
    overlaps: dict[str, float] = {}
    for turn in turns:
        overlap = min(word.end, turn.end) - max(word.start, turn.start)
        if overlap > 0.0:
            overlaps[turn.speaker] = overlaps.get(turn.speaker, 0.0) + overlap
    return max(overlaps, key=lambda speaker: overlaps[speaker], default=None)


def _write_wav(path: Path, wav: Path) -> None:
    samples = decode_audio(str(path), sampling_rate=SAMPLE_RATE)
    with wave.open(str(wav), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes((np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2").tobytes())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--models", type=Path, default=DEFAULT_MODELS)
    asked = parser.parse_args()
    result = run(asked.file, asked.models)
    json.dump(msgspec.to_builtins(result), sys.stdout, ensure_ascii=False, indent=1)
    print()


if __name__ == "__main__":
    main()
