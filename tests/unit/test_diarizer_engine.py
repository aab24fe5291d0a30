"""The real pipeline on the telephone call that ships inside pyannote.audio, and on sounds without a voice."""

import importlib.util
import itertools
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chassis.models import models_dir
from contracts.failures import FailureCode, Permanent
from contracts.transcript import Turn
from services.diarizer.engine import SAMPLE_RATE, Diarizer, Setting

NO_BOUNDS = {"num_speakers": None, "min_speakers": None, "max_speakers": None}


@pytest.fixture(scope="module")
def diarizer() -> Diarizer:
    return Diarizer(models_dir(), device="cpu", threads=1)


@pytest.fixture(scope="module")
def call() -> Path:
    package = importlib.util.find_spec("pyannote.audio")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "sample" / "sample.wav"


def diarized(diarizer: Diarizer, wav: Path, **bounds: int) -> list[Turn]:
    return diarizer.diarize(wav, **(NO_BOUNDS | bounds), report=lambda fraction, sentence: None)


@pytest.fixture(scope="module")
def turns(diarizer: Diarizer, call: Path) -> list[Turn]:
    """Those of the call."""
    return diarized(diarizer, call)


def speakers(turns: list[Turn]) -> list[str]:
    return sorted({turn.speaker for turn in turns})


def written(path: Path, sound: "np.ndarray[Any, Any]", *, rate: int = SAMPLE_RATE) -> Path:
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(sound.astype("<i2").tobytes())
    return path


def pcm(path: Path) -> "np.ndarray[Any, Any]":
    with wave.open(str(path), "rb") as audio:
        return np.frombuffer(audio.readframes(audio.getnframes()), dtype="<i2")


def speaker_at(turns: list[Turn], second: float) -> str:
    (turn,) = [turn for turn in turns if turn.start <= second < turn.end]
    return turn.speaker


@pytest.mark.models
def test_a_call_has_its_two_speakers_each_where_they_talk(turns: list[Turn]) -> None:
    assert speakers(turns) == ["Speaker 1", "Speaker 2"]
    one, other = speaker_at(turns, 12.5), speaker_at(turns, 16.5)
    assert one != other
    assert [speaker_at(turns, second) for second in (9.0, 20.0, 29.0)] == [one] * 3
    assert [speaker_at(turns, second) for second in (24.0, 26.0)] == [other] * 2


@pytest.mark.models
def test_turns_are_in_order_inside_the_recording_and_speakers_are_numbered_as_they_first_speak(
    diarizer: Diarizer, call: Path, tmp_path: Path
) -> None:
    cut = written(tmp_path / "cut.wav", pcm(call)[: 17 * SAMPLE_RATE])

    turns = diarized(diarizer, cut)

    assert turns == sorted(turns, key=lambda turn: (turn.start, turn.end))
    assert turns[0].start >= 0.0
    assert max(turn.end for turn in turns) <= 17.0
    assert list(dict.fromkeys(turn.speaker for turn in turns)) == ["Speaker 1", "Speaker 2"]


@pytest.mark.models
def test_two_voices_at_once_are_two_turns_that_overlap(turns: list[Turn]) -> None:
    assert any(
        first.speaker != second.speaker and second.start < first.end for first, second in itertools.pairwise(turns)
    )


@pytest.mark.models
@pytest.mark.parametrize(
    ("bounds", "found"),
    [
        ({"num_speakers": 2}, 2),
        ({"num_speakers": 1}, 1),
        ({"num_speakers": 3}, 3),
        ({"max_speakers": 1}, 1),
        ({"min_speakers": 3}, 3),
        ({"min_speakers": 1, "max_speakers": 5}, 2),
    ],
)
def test_the_number_of_speakers_asked_for_is_found(
    diarizer: Diarizer, call: Path, bounds: dict[str, int], found: int
) -> None:
    assert len(speakers(diarized(diarizer, call, **bounds))) == found


@pytest.mark.models
@pytest.mark.parametrize("bounds", [{"num_speakers": 50}, {"min_speakers": 20, "max_speakers": 30}])
def test_more_speakers_than_there_can_be_is_no_error(diarizer: Diarizer, call: Path, bounds: dict[str, int]) -> None:
    assert diarized(diarizer, call, **bounds)


@pytest.mark.models
@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.2, 1.0, 60.0])
@pytest.mark.parametrize("bounds", [{}, {"num_speakers": 2}])
def test_silence_has_no_speakers(diarizer: Diarizer, tmp_path: Path, seconds: float, bounds: dict[str, int]) -> None:
    silence = written(tmp_path / "silence.wav", np.zeros(int(seconds * SAMPLE_RATE)))

    assert diarized(diarizer, silence, **bounds) == []


@pytest.mark.models
def test_the_noise_of_an_empty_room_is_nobody(diarizer: Diarizer, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 1e-3, 12 * SAMPLE_RATE)
    assert diarized(diarizer, written(tmp_path / "room.wav", noise)) == []


@pytest.mark.models
@pytest.mark.parametrize("seconds", [0.01, 0.2, 0.3, 1.0, 2.0])
def test_a_moment_of_speech_is_no_error(diarizer: Diarizer, call: Path, tmp_path: Path, seconds: float) -> None:
    moment = written(tmp_path / "moment.wav", pcm(call)[11 * SAMPLE_RATE :][: int(seconds * SAMPLE_RATE)])

    turns = diarized(diarizer, moment, num_speakers=2)

    assert len(speakers(turns)) <= 1
    assert all(0.0 <= turn.start < turn.end <= seconds for turn in turns)


@pytest.mark.models
def test_noise_has_no_speakers(diarizer: Diarizer, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0.0, 3000.0, 12 * SAMPLE_RATE)

    assert diarized(diarizer, written(tmp_path / "noise.wav", noise)) == []


@pytest.mark.models
def test_the_same_recording_is_diarized_the_same_way_twice(diarizer: Diarizer, call: Path, turns: list[Turn]) -> None:
    assert diarized(diarizer, call) == turns


@pytest.mark.models
def test_progress_never_goes_back_and_ends_at_one_with_what_was_found(diarizer: Diarizer, call: Path) -> None:
    heard: list[tuple[float, str]] = []

    diarizer.diarize(call, **NO_BOUNDS, report=lambda fraction, sentence: heard.append((fraction, sentence)))

    fractions = [fraction for fraction, _ in heard]
    assert fractions == sorted(fractions)
    assert len(set(fractions)) > 4
    assert fractions[0] >= 0.0
    assert heard[-1] == (1.0, "2 speakers found")
    assert all(type(fraction) is float and sentence for fraction, sentence in heard)


@pytest.mark.models
def test_what_is_printed_by_libraries_stays_off_standard_output(
    diarizer: Diarizer, call: Path, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    diarized(diarizer, call, num_speakers=50)

    assert capsys.readouterr().out == ""
    assert not recwarn.list


@pytest.mark.models
def test_the_identity_tells_every_setting(diarizer: Diarizer) -> None:
    assert diarizer.identity() == diarizer.name
    assert str(Setting()) in diarizer.name
    assert str(Setting(threshold=0.5)) != str(Setting()) != str(Setting(min_cluster_size=12))


def test_a_sound_of_another_form_is_refused(diarizer_without_models: Diarizer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="8000 Hz"):
        diarized(diarizer_without_models, written(tmp_path / "call.wav", np.zeros(8000), rate=8000))


@pytest.fixture
def diarizer_without_models() -> Diarizer:
    """For what is decided before any model is asked."""
    return Diarizer.__new__(Diarizer)


@pytest.mark.parametrize(
    "absent",
    [
        "segmentation-3.0/pytorch_model.bin",
        "campplus/camplusplus.py",
        "campplus/campplus_cn_en_common.pt",
    ],
)
def test_a_missing_model_is_named(tmp_path: Path, absent: str) -> None:
    for present in (
        "segmentation-3.0/pytorch_model.bin",
        "campplus/camplusplus.py",
        "campplus/campplus_cn_en_common.pt",
    ):
        if present != absent:
            (tmp_path / present).parent.mkdir(exist_ok=True)
            (tmp_path / present).touch()

    with pytest.raises(Permanent, match=absent) as failure:
        Diarizer(tmp_path, device="cpu", threads=1)

    assert failure.value.code is FailureCode.MODEL_MISSING


def test_a_published_pipeline_without_its_configuration_is_named(tmp_path: Path) -> None:
    (tmp_path / "speaker-diarization-community-1").mkdir()

    with pytest.raises(Permanent, match=r"config\.yaml") as failure:
        Diarizer(tmp_path, device="cpu", threads=1)

    assert failure.value.code is FailureCode.MODEL_MISSING


def in_a_fresh_interpreter(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


BROKEN_EXTENSION = """
import sys, importlib.abc
class Broken(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torchaudio._extension":
            raise OSError("libcudart.so.13: cannot open shared object file")
sys.meta_path.insert(0, Broken())
"""
WORKING_EXTENSION = """
import sys, types
real = types.ModuleType("torchaudio._extension")
real._IS_TORCHAUDIO_EXT_AVAILABLE = False
real.fail_if_no_align = lambda function: function
sys.modules["torchaudio._extension"] = real
"""
CHECK = """
from services.diarizer.torchaudio_extension import ensure_importable
print(ensure_importable(), ensure_importable())
import torch
from torchaudio.compliance import kaldi
print(tuple(kaldi.fbank(torch.zeros(1, 16000), num_mel_bins=80).shape))
"""


def test_torchaudio_works_where_its_extension_does_not_load() -> None:
    assert in_a_fresh_interpreter(BROKEN_EXTENSION + CHECK) == "False False\n(98, 80)"


def test_an_extension_that_loads_is_left_alone() -> None:
    said = in_a_fresh_interpreter(WORKING_EXTENSION + CHECK + "print(sys.modules['torchaudio._extension'] is real)")

    assert said == "False False\n(98, 80)\nTrue"


def test_the_engine_module_is_light_until_a_diarizer_is_made() -> None:
    assert in_a_fresh_interpreter("import services.diarizer.engine, sys; print('torch' in sys.modules)") == "False"
