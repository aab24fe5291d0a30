"""The engines of the chaos are what the services expect, do as they are told, and stay out of production."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from contracts.failures import EngineError
from contracts.transcript import Chunk
from services.diarizer.engine import Diarizer
from services.extractor.engine import Extractor
from services.transcriber.engine import Transcriber
from tests.chaos import engines
from tests.chaos.cluster import ROOT
from tests.chaos.engines import FakeDiarizer, FakeExtractor, FakeTranscriber, Misdeed, Script


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(engines.FOLDER, str(tmp_path))
    monkeypatch.setenv(engines.WORK_S, "0")
    return tmp_path


def silent(fraction: float, message: str) -> None:
    """Nobody listens."""


def extracted(folder: Path, script: Script) -> Path:
    (folder / "upload").write_bytes(script.upload())
    FakeExtractor().extract([folder / "upload"], folder / "a.wav", folder / "a.json", report=silent)
    return folder / "a.wav"


@pytest.mark.parametrize(
    ("fake", "real", "methods"),
    [
        (FakeExtractor, Extractor, ["__init__", "identity", "extract"]),
        (FakeTranscriber, Transcriber, ["__init__", "identity", "plan", "transcribe"]),
        (FakeDiarizer, Diarizer, ["__init__", "identity", "diarize"]),
    ],
)
def test_an_engine_has_the_interface_of_the_real_one(fake: Any, real: Any, methods: list[str]) -> None:
    for method in methods:
        ours = [(one.name, one.kind) for one in inspect.signature(getattr(fake, method)).parameters.values()]
        theirs = [(one.name, one.kind) for one in inspect.signature(getattr(real, method)).parameters.values()]
        assert ours == theirs, method


def test_equal_inputs_give_equal_outputs_and_each_chunk_its_own(folder: Path) -> None:
    wav = extracted(folder, Script(salt="a", chunks=3))
    transcriber = FakeTranscriber(folder)
    planned = transcriber.plan("base", wav)
    pcm = wav.read_bytes()[44:]

    def words(chunk: Chunk) -> str:
        return transcriber.transcribe("base", pcm[:8000], chunk, language="en")[0].text

    assert len(planned.chunks) == 3
    assert len({words(chunk) for chunk in planned.chunks}) == 3
    assert words(planned.chunks[0]) == words(planned.chunks[0])


def test_a_misdeed_is_done_as_often_as_it_says(folder: Path) -> None:
    script = Script(salt="b", misdeeds=[Misdeed(step="extract", act="retryable", times=2)])
    for _ in range(2):
        with pytest.raises(EngineError):
            extracted(folder, script)
    extracted(folder, script)
    assert [note.ended for note in engines.notes(folder)] == [False, False, False, True]


def test_production_code_does_not_know_of_the_chaos() -> None:
    for place in ("contracts", "chassis", "services", "cli"):
        for path in (ROOT / place).rglob("*.py"):
            assert not re.search(r"^\s*(from|import) tests\b|tests\.chaos", path.read_text(), re.MULTILINE), path
