"""From a recording to subtitles, with the real models."""

import json
import re
import time
import wave
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.captions import words_of_result, words_of_srt, words_of_vtt
from contracts import subjects
from tests.e2e.conftest import Stack
from tests.media import Sound, record

pytestmark = [pytest.mark.models, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def called(stack: Stack, call: Path) -> dict[str, Any]:
    """The telephone call, submitted and done."""
    answer = stack.submit(call, name='the "call"\n☎️.wav')
    assert answer.status_code == 202, answer.text
    accepted: dict[str, Any] = answer.json()
    job = stack.ended(accepted)
    assert job["status"] == "completed", job
    return accepted | {"job": job}


def test_the_call_has_two_speakers_and_what_they_say(stack: Stack, called: dict[str, Any]) -> None:
    result = called["job"]["result"]
    text = "".join(segment["text"] for segment in result["segments"]).lower()
    assert result["language"] == "en"
    assert result["speakers"] == ["Speaker 1", "Speaker 2"]
    assert {word["speaker"] for segment in result["segments"] for word in segment["words"]} == {
        "Speaker 1",
        "Speaker 2",
    }
    assert "new jersey" in text
    assert "chicago" in text
    assert [stage["stage"] for stage in result["receipt"]["stages"]] == [
        "extractor", "planner", "transcriber", "diarizer"
    ]  # fmt: skip


def test_every_word_is_in_every_caption_format_exactly_once(stack: Stack, called: dict[str, Any]) -> None:
    said = words_of_result(called["job"]["result"])
    assert words_of_srt(stack.get(called, "/download/srt").text) == said
    assert words_of_vtt(stack.get(called, "/download/vtt").text) == said
    text = stack.get(called, "/download/txt").text
    assert re.sub(r"(?m)^Speaker \d+: ", "", text).split() == said
    assert stack.get(called, "/download/json").json()["segments"] == called["job"]["result"]["segments"]


def test_the_log_tells_the_story_in_order_and_once(stack: Stack, called: dict[str, Any]) -> None:
    entries = [entry for entry in stack.log() if subjects.parse(entry.subject).job_id == called["job_id"]]
    names = [subjects.parse(entry.subject).fact for entry in entries]
    chunks = json.loads(entries[names.index("planned")].body)["chunks"]
    assert Counter(names) == {
        "accepted": 1, "started": 1, "extracted": 1, "planned": 1, "diarized": 1, "completed": 1,
        "chunk-requested": chunks, "chunk-transcribed": chunks,
    }  # fmt: skip
    assert names[:3] == ["accepted", "started", "extracted"]
    assert names[-1] == "completed"
    assert names.index("planned") < names.index("chunk-requested") < names.index("chunk-transcribed")
    assert all(json.loads(entry.body)["job_id"] == called["job_id"] for entry in entries)
    assert called["access_token"].encode() not in b"".join(entry.body for entry in entries)


def test_the_same_file_again_is_found_stage_by_stage(stack: Stack, call: Path, called: dict[str, Any]) -> None:
    accepted = stack.submit(call).json()
    assert accepted["cached"] is True
    job = stack.ended(accepted)
    assert (job["status"], job["cached"]) == ("completed", True)
    assert stack.get(accepted, "/download/vtt").content == stack.get(called, "/download/vtt").content
    assert all(stage["cached"] for stage in job["result"]["receipt"]["stages"])


def test_another_number_of_speakers_does_only_the_diarization_again(
    stack: Stack, call: Path, called: dict[str, Any]
) -> None:
    job = stack.ended(stack.submit(call, num_speakers="1").json())
    cached = {stage["stage"]: stage["cached"] for stage in job["result"]["receipt"]["stages"]}
    assert job["result"]["speakers"] == ["Speaker 1"]
    assert cached == {"extractor": True, "planner": True, "transcriber": True, "diarizer": False}


def test_no_diarization_names_nobody(stack: Stack, call: Path, called: dict[str, Any]) -> None:
    job = stack.ended(stack.submit(call, diarize="false").json())
    assert job["result"]["speakers"] == []
    assert "<v" not in stack.get(called, "/download/srt").text
    skipped = {stage["stage"] for stage in job["result"]["receipt"]["stages"] if stage["skipped"]}
    assert skipped == {"diarizer"}


@pytest.mark.parametrize(
    ("name", "code"), [("letter.mp4", "not_media"), ("silent-film.mp4", "no_audio"), ("half.mp4", "undecodable")]
)
def test_bad_input_fails_with_its_own_code_and_leaves_nothing_behind(
    stack: Stack, tmp_path: Path, name: str, code: str
) -> None:
    # given a file that no subtitles can be made of
    path = tmp_path / name
    if name == "letter.mp4":
        path.write_text("Dear Sir or Madam,\n" * 300)
    elif name == "silent-film.mp4":
        record(path, [], picture_s=2.0)
    else:
        whole = record(tmp_path / "whole.mp4", [Sound(seconds=20)]).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    before = stack.files()
    # when it is submitted
    accepted = stack.submit(path).json()
    job = stack.ended(accepted)
    # then it fails with a code and a sentence, and nothing of it is kept
    assert (job["status"], job["error_code"]) == ("failed", code)
    assert job["error_message"].endswith(".")
    _until(lambda: stack.files() == before)


def test_an_empty_file_is_refused_at_the_door(stack: Stack, tmp_path: Path) -> None:
    before = stack.files()
    (tmp_path / "empty.wav").touch()
    answer = stack.submit(tmp_path / "empty.wav")
    assert (answer.status_code, answer.json()["code"]) == (400, "empty_file")
    assert stack.files() == before


def _odd(path: Path, call: Path) -> Path:
    """One odd recording, named for what is odd about it."""
    match path.name:
        case "blink.wav":
            return record(path, [Sound(seconds=0.2, codec="pcm_s16le", rate=16_000)])
        case "telephone.wav":
            return record(path, [Sound(seconds=3, codec="pcm_mulaw", rate=8_000)])
        case "surround.mkv":
            return record(path, [Sound(seconds=3, codec="ac3", layout="5.1")], form="matroska")
        case "two-tracks.mkv":
            return record(path, [Sound(seconds=3), Sound(seconds=3, hertz=880, default=True)], form="matroska")
        case "variable.mp4":
            return record(path, [Sound(seconds=3)], picture_s=3.0, variable_rate=True)
        case "faststart-half.mp4":
            whole = record(path, [Sound(seconds=30)], options={"movflags": "faststart"}).read_bytes()
            path.write_bytes(whole[: len(whole) // 2])
            return path
    raise AssertionError(path)


@pytest.mark.parametrize(
    "name", ["blink.wav", "telephone.wav", "surround.mkv", "two-tracks.mkv", "variable.mp4", "faststart-half.mp4"]
)
def test_odd_input_works(stack: Stack, tmp_path: Path, call: Path, name: str) -> None:
    path = _odd(tmp_path / name, call)
    job = stack.ended(stack.submit(path).json())
    assert job["status"] == "completed", job
    assert ("truncated" in job["warnings"]) == (name == "faststart-half.mp4")


def test_an_hour_of_silence_completes_without_captions_and_says_so(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "silence.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.zeros(3600 * 16_000, dtype=np.int16).tobytes())
    accepted = stack.submit(path).json()
    job = stack.ended(accepted)
    assert job["status"] == "completed"
    assert job["warnings"] == ["no_speech"]
    assert job["result"]["segments"] == []
    assert stack.get(accepted, "/download/srt").content == b""
    assert stack.get(accepted, "/download/vtt").text.strip() == "WEBVTT"


def test_three_jobs_at_once_all_finish_and_none_goes_back(stack: Stack, tmp_path: Path, call: Path) -> None:
    with wave.open(str(call), "rb") as file:
        rate, sound = file.getframerate(), file.readframes(file.getnframes())
    paths = []
    for n in range(3):
        path = tmp_path / f"part-{n}.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(sound[: len(sound) - rate * 2 * (n + 1)])
        paths.append(path)

    def followed(path: Path) -> list[float]:
        accepted = stack.submit(path).json()
        seen: list[float] = []
        while True:
            job = stack.get(accepted, "").json()
            seen.append(job["progress"])
            if job["status"] != "pending" and job["status"] != "processing":
                assert job["status"] == "completed", job
                return seen
            time.sleep(0.1)

    with ThreadPoolExecutor(3) as pool:
        for seen in pool.map(followed, paths):
            assert seen == sorted(seen)
            assert seen[-1] == 100.0


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
