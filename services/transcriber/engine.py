"""Speech to words with faster-whisper: plans a recording, transcribes one chunk of it.

Decoding is greedy in nothing and random in nothing (beam search at temperature 0), so a chunk transcribed twice gives
the same words.
"""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from faster_whisper import BatchedInferencePipeline, WhisperModel
from faster_whisper.vad import SpeechTimestampsMap

from contracts.failures import FailureCode, Permanent
from contracts.transcript import Chunk, Region, Segment, Word
from services.transcriber.language import Language, decide, spread
from services.transcriber.plan import Planned, chunks_of, groups_of
from services.transcriber.speech import SAMPLE_RATE, Samples, as_floats, read, speech_regions

_BATCH = {"cpu": 4, "cuda": 16}
_COMPUTE_TYPE = {"cpu": "int8", "cuda": "float16"}
_PLACES = 5
"""Places of a recording where its language is listened for."""

Report = Callable[[float, str], None]


class Transcriber:
    """Holds one Whisper model at a time, the one last asked for.

    `models` holds a folder `whisper-<model>` each. Methods raise Permanent(MODEL_MISSING) where there is none.
    """

    def __init__(self, models: Path, device: str = "auto", threads: int = 0) -> None:
        if device == "auto":
            device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
        self._models = models
        self._device = device
        self._threads = threads
        self._loaded: tuple[str, WhisperModel] | None = None

    def identity(self, model: str) -> str:
        """What a result depends on besides the sound and the parameters. Loads the model."""
        self._model(model)
        return f"faster-whisper/{version('faster-whisper')} {model} {_COMPUTE_TYPE[self._device]}"

    def plan(
        self,
        model: str,
        wav: Path,
        *,
        language: str | None,
        force_language: bool,
        report: Report,
    ) -> Planned:
        """Speech regions, language and chunks of a 16 kHz mono s16 WAV of any length."""
        whisper = self._model(model)
        regions = speech_regions(wav, lambda fraction: report(0.8 * fraction, "Listening for speech"))
        if not regions:
            return Planned(
                chunks=[], language=language, language_probability=None, language_source="none", speech_s=0.0
            )
        if force_language and language is not None:
            decided = Language(language, 1.0, "forced")
        else:
            decided = decide(self._heard(whisper, wav, regions, report), language)
        return Planned(
            chunks=chunks_of(regions),
            language=decided.code,
            language_probability=decided.probability,
            language_source=decided.source,
            speech_s=round(sum(region.end - region.start for region in regions), 3),
        )

    def transcribe(
        self,
        model: str,
        pcm: bytes,
        chunk: Chunk,
        *,
        language: str | None,
        task: str,
        initial_prompt: str | None,
        hotwords: str | None,
        multilingual: bool,
        report: Report,
    ) -> list[Segment]:
        """The words of one chunk, on the recording's clock, in order, inside the chunk.

        `pcm` is s16 mono 16 kHz from `chunk.start` to `chunk.end`. A segment's text is its words joined.
        """
        samples = as_floats(pcm)
        spans = [_span(region, chunk.start, len(samples)) for region in chunk.regions]
        speech = np.concatenate([samples[first:end] for first, end in spans])
        # As in faster-whisper's own VAD path: silence is left out, the times are mapped back afterwards.
        pipeline = BatchedInferencePipeline(self._model(model))
        heard, _ = pipeline.transcribe(
            speech,
            language=language,
            task=task,
            initial_prompt=initial_prompt,
            hotwords=hotwords,
            multilingual=multilingual,
            word_timestamps=True,
            batch_size=_BATCH[self._device],
            clip_timestamps=_clips(chunk.regions, len(speech)),
        )
        clock = SpeechTimestampsMap([{"start": first, "end": end} for first, end in spans], SAMPLE_RATE, 3)
        segments: list[Segment] = []
        for found in heard:
            words = _words(found, clock, chunk)
            if words:
                segments.append(_segment(len(segments), words))
            report(found.end * SAMPLE_RATE / len(speech), "")
        return segments

    def _model(self, name: str) -> WhisperModel:
        if self._loaded is None or self._loaded[0] != name:
            folder = self._models / f"whisper-{name}"
            if not (folder / "model.bin").is_file():
                raise Permanent(
                    FailureCode.MODEL_MISSING, f"{folder} is missing: run `subtide models pull whisper-{name}`"
                )
            self._loaded = None  # let the old one go first: two may not fit
            model = WhisperModel(
                str(folder),
                device=self._device,
                compute_type=_COMPUTE_TYPE[self._device],
                cpu_threads=self._threads,
                local_files_only=True,
            )
            self._loaded = (name, model)
        return self._loaded[1]

    def _heard(self, whisper: WhisperModel, wav: Path, regions: list[Region], report: Report) -> list[dict[str, float]]:
        if not whisper.model.is_multilingual:
            return [{"en": 1.0}]
        groups = groups_of(regions)
        heard = []
        for n in spread(len(groups), _PLACES):
            sound = np.concatenate([_cut(wav, region) for region in groups[n]])
            _, _, probabilities = whisper.detect_language(audio=sound)
            heard.append(dict(probabilities))
            report(0.8 + 0.2 * len(heard) / _PLACES, "Listening for the language")
        return heard


def _cut(wav: Path, region: Region) -> Samples:
    first = round(region.start * SAMPLE_RATE)
    return read(wav, first, round(region.end * SAMPLE_RATE) - first)


def _span(region: Region, chunk_start: float, samples: int) -> tuple[int, int]:
    def at(seconds: float) -> int:
        return min(samples, max(0, round((seconds - chunk_start) * SAMPLE_RATE)))

    return at(region.start), at(region.end)


def _clips(regions: list[Region], samples: int) -> list[dict[str, float]]:
    """Each group of regions as a span of the joined speech, in seconds; half a sample on, against rounding down."""
    clips = []
    first = 0
    for group in groups_of(regions):
        length = sum(round(region.end * SAMPLE_RATE) - round(region.start * SAMPLE_RATE) for region in group)
        end = min(samples, first + length)
        clips.append({"start": (first + 0.5) / SAMPLE_RATE, "end": (end + 0.5) / SAMPLE_RATE})
        first = end
    return clips


def _words(found: Any, clock: SpeechTimestampsMap, chunk: Chunk) -> list[Word]:
    """The words of a segment on the recording's clock; text that could not be aligned is spread over its time."""
    spoken = [(word.word, word.start, word.end, word.probability) for word in found.words or []]
    if not spoken and found.text.strip():
        parts = found.text.split()
        step = (found.end - found.start) / len(parts)
        spoken = [
            (f" {part}", found.start + n * step, found.start + (n + 1) * step, 0.0) for n, part in enumerate(parts)
        ]
    words = []
    earliest = chunk.start
    for text, begins, ends, probability in spoken:
        middle = clock.get_chunk_index((begins + ends) / 2)
        start = min(max(chunk.start + clock.get_original_time(begins, middle), earliest), chunk.end)
        end = min(max(chunk.start + clock.get_original_time(ends, middle), start), chunk.end)
        words.append(
            Word(word=text, start=round(start, 3), end=round(end, 3), probability=round(float(probability), 4))
        )
        earliest = start
    return words


def _segment(number: int, words: list[Word]) -> Segment:
    return Segment(
        id=number,
        start=words[0].start,
        end=words[-1].end,
        text="".join(word.word for word in words),
        words=words,
    )
