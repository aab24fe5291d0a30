"""Hears: speech, languages and words, with faster-whisper. Runs in a child process; knows no NATS and no HTTP.

The words of a chunk depend on the chunk's own windows, the model and the parameters, and on nothing else: beam search
alone, without the random sampling that Whisper falls back on.
"""

import wave
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

import ctranslate2
import faster_whisper
import numpy as np
from faster_whisper.vad import get_vad_model
from numpy.typing import NDArray

from chassis.models import manifest
from contracts.failures import FailureCode, Permanent, Retryable
from contracts.transcript import Chunk, Region, Segment, Word
from services.transcriber import language as languages
from services.transcriber import plan as planning
from services.transcriber import timeline
from services.transcriber.plan import FRAME_SAMPLES, SAMPLE_RATE, Planned

Report = Callable[[float, str], None]
Samples = NDArray[np.float32]

BATCH_SIZE = 8
BEAM_SIZE = 5
MODELS_KEPT = 2
"""Models held in memory; jobs that ask for different ones take turns."""
RECIPE = 1
"""Raise it when a change here gives other words for the same input: results stored under the old one are not used."""

UNHEARD_S = 5.0
"""Whisper may stop early, most often where a loud voice gives way to a faint one. So much speech after the last word
of a window is not taken for a mistake of the detector, but heard again by itself.
"""

_MODEL_FILES = ("model.bin", "config.json", "tokenizer.json")
_REST_TRIES = 3
_BLOCK_FRAMES = 312  # ten seconds
_RUN_UP_FRAMES = 31
_CONTEXT_SAMPLES = 64
# Windows lie on quarters of a second: faster-whisper counts their offsets in whole frames of 10 ms, rounded down.
_GRID_SAMPLES = SAMPLE_RATE // 4
_PROMPT_TOKENS = 223
# When Whisper's own decoding takes a result for a loop, for a guess, and a guess for silence.
_REPETITIVE = 2.4
_UNLIKELY = -1.0
_NO_SPEECH = 0.6
_NO_REPEAT = 6
_UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "yue"})


class Transcriber:
    """One process's transcriber. Models are loaded at first use from `models/whisper-<name>/`."""

    def __init__(self, models: Path, device: str = "auto", threads: int = 1) -> None:
        if device == "auto":
            device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
        self._models = Path(models)
        self._device = device
        self._compute_type = "float16" if device == "cuda" else "int8"
        self._threads = threads
        self._loaded: OrderedDict[str, Any] = OrderedDict()

    def identity(self, model: str) -> str:
        """Everything but inputs and parameters that changes a result. Loads the model; raises Permanent without it."""
        self._whisper(model)
        weights = (self._folder(model) / "model.bin").stat().st_size
        return (
            f"faster-whisper/{faster_whisper.__version__} ctranslate2/{ctranslate2.__version__} {model}/{weights}"
            f" {self._compute_type} beam={BEAM_SIZE} batch={BATCH_SIZE} recipe={RECIPE}"
        )

    def plan(
        self,
        model: str,
        wav: Path,
        *,
        language: str | None = None,
        force_language: bool = False,
        multilingual: bool = False,
        report: Report = lambda fraction, message: None,
    ) -> Planned:
        """Plans a 16 kHz mono s16 WAV of any length; memory does not grow with its sound.

        `language` is a hint unless forced. In a `multilingual` job the language found is the one most spoken.
        """
        with wave.open(str(wav), "rb") as audio:
            regions = _regions(audio, report)
            chunks = planning.chunks(regions)
            if not regions:
                return Planned(
                    regions=[],
                    chunks=[],
                    language=None,
                    language_probability=None,
                    language_source="none",
                    speech_s=0.0,
                )
            whisper = self._whisper(model)
            hint = _known(whisper, language)
            if not whisper.model.is_multilingual:
                code, probability, source = "en", None, "forced"
            elif force_language and hint is not None:
                code, probability, source = hint, None, "forced"
            else:
                report(0.9, "Finding out the language")
                pieces = languages.samples(regions)
                heard = [_heard(whisper, np.concatenate([_read(audio, part) for part in piece])) for piece in pieces]
                verdict = languages.decide(heard, hint)
                code, probability, source = verdict.language, verdict.probability, verdict.source
        report(1.0, "Planned")
        return Planned(
            regions=regions,
            chunks=chunks,
            language=code,
            language_probability=probability,
            language_source=source,
            speech_s=planning.speech_s(regions),
        )

    def transcribe(
        self,
        model: str,
        pcm: bytes,
        chunk: Chunk,
        *,
        language: str | None,
        task: str = "transcribe",
        initial_prompt: str | None = None,
        hotwords: str | None = None,
        multilingual: bool = False,
        report: Report = lambda fraction, message: None,
    ) -> list[Segment]:
        """The words of a chunk; `pcm` is s16 mono 16 kHz of exactly `chunk.start`..`chunk.end`.

        A multilingual job's regions are decoded each in its own language. `task` is `transcribe` or `translate`.
        """
        whisper = self._whisper(model)
        sound = np.frombuffer(pcm[: len(pcm) // 2 * 2], dtype="<i2")

        def samples(regions: Iterable[Region]) -> Samples:
            parts = [sound[_at(region.start - chunk.start) : _at(region.end - chunk.start)] for region in regions]
            return np.concatenate(parts).astype(np.float32) / 32768.0

        regions = [region for region in chunk.regions if samples([region]).size]
        if multilingual and whisper.model.is_multilingual:
            heard = [_heard(whisper, samples([region])) for region in regions]
            spoken = languages.switches(heard, language or "en")
        else:
            spoken = [language or "en"] * len(regions)
        options = _prompts(whisper, initial_prompt, hotwords) | {"task": task}
        done_s, total_s = 0.0, planning.speech_s(regions)
        found: list[Segment] = []
        for code, run in groupby(zip(spoken, regions, strict=True), key=lambda pair: pair[0]):
            windows = planning.windows([region for _, region in run])
            decoded = _decode(whisper, [samples(window) for window in windows], code, options)
            for window, heard_words in zip(windows, decoded, strict=True):
                words = timeline.on_recording(heard_words, window)
                for _ in range(_REST_TRIES):
                    rest = timeline.unheard(words, window)
                    if not words or planning.speech_s(rest) < UNHEARD_S:
                        break
                    words += timeline.on_recording(next(_decode(whisper, [samples(rest)], code, options)), rest)
                if task == "translate" and code in _UNSPACED:
                    words = timeline.whole_words(words)
                found.extend(timeline.segments(words))
                done_s += planning.speech_s(window)
                report(min(1.0, done_s / total_s), "Writing down what is said")
        return [
            Segment(id=n, start=segment.start, end=segment.end, text=segment.text, words=segment.words)
            for n, segment in enumerate(found)
        ]

    def _folder(self, model: str) -> Path:
        return self._models / f"whisper-{model}"

    def _whisper(self, model: str) -> Any:
        if model in self._loaded:
            self._loaded.move_to_end(model)
            return self._loaded[model]
        folder = self._folder(model)
        for name in _MODEL_FILES:
            if not (folder / name).is_file():
                raise _not_installed(model, folder / name)
        while len(self._loaded) >= MODELS_KEPT:
            self._loaded.popitem(last=False)
        try:
            with _memory_failures():
                self._loaded[model] = faster_whisper.WhisperModel(
                    str(folder), device=self._device, compute_type=self._compute_type, cpu_threads=self._threads
                )
        except RuntimeError as error:
            raise Permanent(FailureCode.MODEL_MISSING, f"{folder} cannot be loaded: {error}") from error
        return self._loaded[model]


def _not_installed(model: str, path: Path) -> Permanent:
    try:
        name = manifest().model(model).name
    except Permanent as error:
        return Permanent(FailureCode.MODEL_UNKNOWN, error.detail, told=f"There is no model {model}.")
    return Permanent(
        FailureCode.MODEL_MISSING, f"{path} is not there", told=f"`subtide models pull {name}` installs it."
    )


def _regions(audio: wave.Wave_read, report: Report) -> list[Region]:
    """Speech regions of an open WAV, read in blocks.

    The detector forgets what it heard at every block, but for a second's run-up: carried through minutes of silence,
    its memory makes it deaf to a third of the speech after (silero v6, in faster-whisper 1.2.1).
    """
    shape = (audio.getnchannels(), audio.getsampwidth(), audio.getframerate())
    if shape != (1, 2, SAMPLE_RATE):
        raise ValueError(f"want mono s16 at {SAMPLE_RATE} Hz, got channels, bytes a sample, rate = {shape}")
    session = get_vad_model().session
    fresh = {name: np.zeros((1, 1, 128), dtype=np.float32) for name in ("h", "c")}
    past = np.zeros((0, FRAME_SAMPLES + _CONTEXT_SAMPLES), dtype=np.float32)
    context = np.zeros(_CONTEXT_SAMPLES, dtype=np.float32)
    probabilities: list[float] = []
    samples = 0
    while block := audio.readframes(_BLOCK_FRAMES * FRAME_SAMPLES):
        sound = _floats(block)
        samples += sound.size
        frames = np.pad(sound, (0, -sound.size % FRAME_SAMPLES)).reshape(-1, FRAME_SAMPLES)
        seen = np.hstack([np.vstack([context[None], frames[:-1, -_CONTEXT_SAMPLES:]]), frames])
        heard, _, _ = session.run(None, {"input": np.vstack([past, seen]), **fresh})
        probabilities.extend(heard.reshape(-1)[len(past) :].tolist())
        past, context = seen[-_RUN_UP_FRAMES:], frames[-1, -_CONTEXT_SAMPLES:]
        report(0.9 * samples / max(samples, audio.getnframes()), "Finding speech")
    return planning.speech_regions(probabilities, samples)


def _read(audio: wave.Wave_read, region: Region) -> Samples:
    audio.setpos(_at(region.start))
    return _floats(audio.readframes(_at(region.end) - _at(region.start)))


def _floats(pcm: bytes) -> Samples:
    return np.frombuffer(pcm[: len(pcm) // 2 * 2], dtype="<i2").astype(np.float32) / 32768.0


def _at(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def _known(whisper: Any, language: str | None) -> str | None:
    """`language`, or what comes closest in a model that has no token for it: Cantonese came with large-v3."""
    if language is None or whisper.hf_tokenizer.token_to_id(f"<|{language}|>") is not None:
        return language
    return "zh" if language == "yue" else None


def _heard(whisper: Any, sound: Samples) -> languages.Heard:
    """Language probabilities of the first ten seconds of `sound`.

    The encoder is given those alone, not filled up to 30 s: a sixth of the time, and the same answer.
    """
    sound = sound[: _at(languages.SAMPLE_S)]
    seconds = sound.size / SAMPLE_RATE
    sound = np.pad(sound, (0, max(0, SAMPLE_RATE - sound.size)))
    with _memory_failures():
        encoded = whisper.encode(whisper.feature_extractor(sound)[..., :-1])
        ranked = whisper.model.detect_language(encoded)[0]
    return languages.Heard(seconds=seconds, probabilities={token[2:-2]: probability for token, probability in ranked})


def _prompts(whisper: Any, initial_prompt: str | None, hotwords: str | None) -> dict[str, str | None]:
    """The two prompts, cut so that the model has room left for the words; it fails on longer ones (448 tokens in all).

    Of hot words the first are kept, of a prompt the last, as Whisper does.
    """
    first = _tokens(whisper, hotwords)[: _PROMPT_TOKENS // 2]
    last = _tokens(whisper, initial_prompt)[len(first) - _PROMPT_TOKENS :]
    return {"hotwords": _text(whisper, first), "initial_prompt": _text(whisper, last)}


def _tokens(whisper: Any, text: str | None) -> list[int]:
    return list(whisper.hf_tokenizer.encode(f" {text.strip()}", add_special_tokens=False).ids) if text else []


def _text(whisper: Any, tokens: list[int]) -> str | None:
    return whisper.hf_tokenizer.decode(tokens).strip("\ufffd ") or None


def _decode(
    whisper: Any, windows: Sequence[Samples], language: str, options: dict[str, str | None]
) -> Iterator[list[Word]]:
    """The words of each window, in seconds from its start.

    Applies two checks of Whisper that batched decoding lacks: a phrase over and over is decoded again with repetition
    forbidden, and an unlikely text over probable silence is dropped.
    """
    for window, (offset_s, heard) in zip(windows, _batched(whisper, windows, language, options), strict=True):
        if heard.compression_ratio > _REPETITIVE:
            again_s, again = next(_batched(whisper, [window], language, options, no_repeat_ngram_size=_NO_REPEAT))
            if again.compression_ratio <= _REPETITIVE and again.avg_logprob > _UNLIKELY:
                offset_s, heard = again_s, again
        if heard.no_speech_prob > _NO_SPEECH and heard.avg_logprob < _UNLIKELY:
            yield []
            continue
        yield [
            Word(
                word=word.word,
                start=float(word.start) - offset_s,
                end=float(word.end) - offset_s,
                probability=round(float(word.probability), 4),
            )
            for word in heard.words
        ]


def _batched(
    whisper: Any, windows: Sequence[Samples], language: str, options: dict[str, str | None], **more: Any
) -> Iterator[tuple[float, Any]]:
    """Where each window was laid, in seconds, and faster-whisper's one segment for it."""
    offsets = [0, *accumulate(-(-window.size // _GRID_SAMPLES) * _GRID_SAMPLES for window in windows)]
    sound = np.zeros(offsets.pop(), dtype=np.float32)
    for offset, window in zip(offsets, windows, strict=True):
        sound[offset : offset + window.size] = window
    clips = [
        # Half a sample more, since faster-whisper rounds down.
        {"start": offset / SAMPLE_RATE, "end": (offset + window.size + 0.5) / SAMPLE_RATE}
        for offset, window in zip(offsets, windows, strict=True)
    ]
    # A pipeline of its own for each call: it remembers the last word of a call that was not read to its end.
    segments, _ = faster_whisper.BatchedInferencePipeline(whisper).transcribe(
        sound,
        language=language,
        clip_timestamps=clips,
        beam_size=BEAM_SIZE,
        batch_size=BATCH_SIZE,
        word_timestamps=True,
        suppress_tokens=[-1, *_timestamps(whisper)],
        **options,
        **more,
    )
    with _memory_failures():
        for offset, segment in zip(offsets, segments, strict=True):
            yield offset / SAMPLE_RATE, segment


def _timestamps(whisper: Any) -> range:
    """Tokens for times, 0.00 to 30.00. Not asked for, they come now and then, and words after the last are lost."""
    first = whisper.hf_tokenizer.token_to_id("<|notimestamps|>") + 1
    return range(first, first + 1501)


@contextmanager
def _memory_failures() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if "out of memory" not in str(error):
            raise
        raise Retryable(FailureCode.WORKER_LOST, str(error)) from error
