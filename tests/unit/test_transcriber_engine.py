"""The real model on the telephone call that ships inside pyannote.audio."""

import importlib.util
import wave
from pathlib import Path

import numpy as np
import pytest
from platformdirs import user_cache_path

from contracts.failures import FailureCode, Permanent
from contracts.transcript import Chunk, Region, Segment
from services.transcriber.engine import Transcriber
from services.transcriber.plan import SAMPLE_RATE, Planned

MODELS = user_cache_path("subtide") / "models"


@pytest.fixture(scope="module")
def transcriber() -> Transcriber:
    return Transcriber(MODELS, device="cpu", threads=1)


@pytest.fixture(scope="module")
def call() -> Path:
    package = importlib.util.find_spec("pyannote.audio")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "sample" / "sample.wav"


def written(path: Path, *sounds: np.ndarray) -> Path:
    """A 16 kHz mono s16 WAV of `sounds` one after the other."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes(np.concatenate(sounds).astype("<i2").tobytes())
    return path


def pcm(path: Path) -> np.ndarray:
    with wave.open(str(path), "rb") as audio:
        return np.frombuffer(audio.readframes(audio.getnframes()), dtype="<i2")


def words_of(transcriber: Transcriber, wav: Path, planned: Planned, **options: object) -> list[Segment]:
    sound = pcm(wav)
    found: list[Segment] = []
    for chunk in planned.chunks:
        part = sound[round(chunk.start * SAMPLE_RATE) : round(chunk.end * SAMPLE_RATE)].tobytes()
        segments = transcriber.transcribe("base", part, chunk, language=planned.language, **options)
        assert [segment.id for segment in segments] == list(range(len(segments)))
        clock = [t for segment in segments for word in segment.words for t in (word.start, word.end)]
        assert clock == sorted(clock)
        assert not clock or chunk.start <= clock[0] <= clock[-1] <= chunk.end
        assert all(segment.text == "".join(word.word for word in segment.words) for segment in segments)
        found += segments
    return found


def text(segments: list[Segment]) -> str:
    return "".join(segment.text for segment in segments)


@pytest.mark.models
def test_the_call_is_planned_and_written_down(transcriber: Transcriber, call: Path) -> None:
    reported: list[float] = []

    planned = transcriber.plan("base", call, report=lambda fraction, message: reported.append(fraction))
    heard = text(words_of(transcriber, call, planned))

    assert (planned.language, planned.language_source, len(planned.chunks)) == ("en", "detected", 1)
    assert 15.0 < planned.speech_s < 30.0
    assert reported == sorted(reported)
    assert "This is Diane in New Jersey" in heard
    assert "originally from Chicago also" in heard


@pytest.mark.models
def test_the_same_chunk_gives_the_same_words_each_time(transcriber: Transcriber, call: Path) -> None:
    planned = transcriber.plan("base", call)

    assert words_of(transcriber, call, planned) == words_of(transcriber, call, planned)


@pytest.mark.models
def test_speech_late_in_a_long_silence_is_found_at_its_place(
    transcriber: Transcriber, call: Path, tmp_path: Path
) -> None:
    silence = np.zeros(400 * SAMPLE_RATE)
    wav = written(tmp_path / "late.wav", silence, pcm(call), silence, pcm(call)[: 12 * SAMPLE_RATE])

    planned = transcriber.plan("base", wav)
    segments = words_of(transcriber, wav, planned)

    said = [segment.start for segment in segments if "know you were there" in segment.text]
    assert [chunk.start for chunk in planned.chunks] == pytest.approx([407.0, 837.0], abs=1.0)
    assert said == pytest.approx([408.9, 838.9], abs=0.5)


@pytest.mark.models
@pytest.mark.parametrize("seconds", [0.0, 0.2, 300.0])
def test_a_recording_without_speech_needs_no_language(transcriber: Transcriber, tmp_path: Path, seconds: float) -> None:
    planned = transcriber.plan("base", written(tmp_path / "silence.wav", np.zeros(int(seconds * SAMPLE_RATE))))

    assert planned == Planned(
        regions=[], chunks=[], language=None, language_probability=None, language_source="none", speech_s=0.0
    )


@pytest.mark.models
def test_a_forced_language_is_not_discussed_and_a_wrong_hint_is_overruled(transcriber: Transcriber, call: Path) -> None:
    forced = transcriber.plan("base", call, language="de", force_language=True)
    hinted = transcriber.plan("base", call, language="de")
    agreed = transcriber.plan("base", call, language="en")

    assert (forced.language, forced.language_probability, forced.language_source) == ("de", None, "forced")
    assert (hinted.language, hinted.language_source) == ("en", "detected")
    assert (agreed.language, agreed.language_source) == ("en", "hint")


@pytest.mark.models
def test_a_language_that_came_with_a_later_model_is_taken_for_its_neighbour(
    transcriber: Transcriber, call: Path
) -> None:
    assert transcriber.plan("base", call, language="yue", force_language=True).language == "zh"


@pytest.mark.models
def test_prompts_longer_than_the_model_can_hold_are_cut(transcriber: Transcriber, call: Path) -> None:
    planned = transcriber.plan("base", call)
    long = "Diane and Sheila talk about New Jersey. " * 100

    heard = text(words_of(transcriber, call, planned, initial_prompt=long, hotwords=long))

    assert "New Jersey" in heard


@pytest.mark.models
def test_sound_that_ends_before_its_chunk_does_not_break_it(transcriber: Transcriber, call: Path) -> None:
    chunk = Chunk(n=0, start=6.0, end=31.0, regions=[Region(6.0, 10.0), Region(11.0, 31.0), Region(31.0, 31.0)])
    sound = pcm(call)[6 * SAMPLE_RATE : 9 * SAMPLE_RATE].tobytes() + b"\x00"

    segments = transcriber.transcribe("base", sound, chunk, language="en")

    assert "Hello" in text(segments)
    assert transcriber.transcribe("base", b"", chunk, language="en") == []


@pytest.mark.parametrize(
    ("model", "code", "told"),
    [
        ("base.en", FailureCode.MODEL_MISSING, "`subtide models pull whisper-base.en` installs it."),
        ("huge", FailureCode.MODEL_UNKNOWN, "There is no model huge."),
    ],
)
def test_a_model_that_is_not_installed_is_named(tmp_path: Path, model: str, code: FailureCode, told: str) -> None:
    with pytest.raises(Permanent) as failure:
        Transcriber(tmp_path, device="cpu").identity(model)

    assert (failure.value.code, failure.value.told) == (code, told)


def test_a_broken_model_is_not_a_crash(tmp_path: Path) -> None:
    folder = tmp_path / "whisper-base"
    folder.mkdir()
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (folder / name).write_bytes(b"{}")

    with pytest.raises(Permanent) as failure:
        Transcriber(tmp_path, device="cpu").identity("base")

    assert failure.value.code is FailureCode.MODEL_MISSING
