"""The files a user takes away, read back by parsers that are not ours."""

import html
import json
from typing import Any

import pytest
import srt
import webvtt
from hypothesis import given

from contracts.captioning import FORMATS
from contracts.parameters import Parameters
from contracts.transcript import Segment, Turn, Word
from services.exporter import formats
from services.exporter.cues import cues
from services.exporter.engine import Exported, export
from services.exporter.result import Receipt, StageLine
from tests.unit.transcripts import bare, segment, spoken, transcripts

RECEIPT = Receipt(
    job_id="j1",
    run=1,
    filename="talk.mp4",
    parameters=Parameters(),
    models={"transcriber": "base"},
    language_source="detected",
    stages=[StageLine(stage="extractor", engine="pyav", seconds=1.5, attempts=1, cached=False, skipped=False)],
)
DIALOGUE = [segment(spoken("How are you? Fine, and you? Never better.", start=3599.0))]
TURNS = [
    Turn(start=3599.0, end=3599.9, speaker="Speaker 1"),
    Turn(start=3599.9, end=3600.8, speaker="Speaker 2"),
    Turn(start=3600.7, end=3602.0, speaker="Speaker 1"),
]


def exported(segments: list[Segment], turns: list[Turn], language: str | None = "en") -> Exported:
    return export(segments=segments, turns=turns, language=language, duration_s=3602.0, warnings=[], receipt=RECEIPT)


def test_srt_names_a_speaker_where_another_begins() -> None:
    assert exported(DIALOGUE, TURNS).files["srt"].decode() == (
        "1\n00:59:59,000 --> 00:59:59,900\nSpeaker 1: How are you?\n\n"
        "2\n00:59:59,900 --> 01:00:00,800\nSpeaker 2: Fine, and you?\n\n"
        "3\n01:00:00,800 --> 01:00:01,800\nSpeaker 1: Never better.\n"
    )


def test_vtt_gives_every_caption_a_voice() -> None:
    assert exported(DIALOGUE, TURNS).files["vtt"].decode() == (
        "WEBVTT\n\n"
        "00:59:59.000 --> 00:59:59.900\n<v Speaker 1>How are you?\n\n"
        "00:59:59.900 --> 01:00:00.800\n<v Speaker 2>Fine, and you?\n\n"
        "01:00:00.800 --> 01:00:01.800\n<v Speaker 1>Never better.\n"
    )


def test_txt_has_a_paragraph_for_each_turn_and_after_each_long_pause() -> None:
    said = [segment(spoken("How are you? Fine. …5 What now?"))]
    turns = [Turn(start=0, end=0.9, speaker="Speaker 1"), Turn(start=0.9, end=9, speaker="Speaker 2")]

    assert exported(said, turns).files["txt"].decode() == (
        "Speaker 1: How are you?\n\nSpeaker 2: Fine.\n\nSpeaker 2: What now?\n"
    )


def test_json_is_in_the_shape_whisper_tools_use() -> None:
    result = json.loads(exported(DIALOGUE, TURNS).files["json"])

    assert result["language"] == "en"
    assert result["duration"] == 3602.0
    assert result["speakers"] == ["Speaker 1", "Speaker 2"]
    assert result["turns"][1] == {"start": 3599.9, "end": 3600.8, "speaker": "Speaker 2"}
    assert [part["id"] for part in result["segments"]] == [0, 1, 2]
    assert result["segments"][1]["text"] == " Fine, and you?"
    assert result["segments"][1]["speaker"] == "Speaker 2"
    assert result["segments"][1]["words"][0] == {
        "word": " Fine,",
        "start": 3599.9,
        "end": 3600.2,
        "probability": 0.9,
        "speaker": "Speaker 2",
    }
    assert result["receipt"]["models"] == {"transcriber": "base"}
    assert result["warnings"] == []


def test_without_speakers_nothing_is_labelled() -> None:
    files = exported([segment(spoken("Good evening."))], []).files

    assert b"Speaker" not in b"".join(files[name] for name in FORMATS)
    assert files["txt"] == b"Good evening.\n"


def test_a_recording_without_speech_makes_valid_empty_files() -> None:
    made = exported([], [], language=None)

    assert made.files["srt"] == b""
    assert made.files["vtt"] == b"WEBVTT\n"
    assert made.files["txt"].startswith(b"(no speech")
    assert json.loads(made.files["json"])["segments"] == []
    assert (made.words, made.speakers) == (0, 0)


def test_equal_input_makes_equal_bytes() -> None:
    assert exported(DIALOGUE, TURNS).files == exported(list(DIALOGUE), list(TURNS)).files


def test_markup_in_speech_is_no_markup_in_vtt() -> None:
    said = [Word(word=" a<b>&c-->d", start=0, end=1, probability=0.5, speaker="R&D <x>")]

    text = formats.vtt(cues([segment(said)])).decode()

    assert "<v R&amp;D &lt;x&gt;>a&lt;b&gt;&amp;c--&gt;d\n" in text


@pytest.mark.parametrize("seconds", [0.0, 59.9996, 3599.9999, 36000.0])
def test_times_never_show_a_sixtieth_second(seconds: float) -> None:
    made = cues([segment([Word(word=" x", start=seconds, end=seconds + 1, probability=0.5)])])

    assert ":60" not in formats.vtt(made).decode()
    assert ":60" not in formats.srt(made).decode()


@given(transcripts(speakers=True))
def test_another_parser_reads_the_srt_as_it_was_meant(segments: list[Segment]) -> None:
    meant = cues(segments)

    read = list(srt.parse(formats.srt(meant).decode()))

    assert [cue.content for cue in read] == ["\n".join(cue.labelled) for cue in meant]
    assert [cue.index for cue in read] == list(range(1, len(meant) + 1))
    assert [milliseconds(cue.start.total_seconds()) for cue in read] == [milliseconds(cue.start) for cue in meant]
    assert [milliseconds(cue.end.total_seconds()) for cue in read] == [milliseconds(cue.end) for cue in meant]


@given(transcripts(speakers=True))
def test_another_parser_reads_the_vtt_as_it_was_meant(segments: list[Segment]) -> None:
    meant = cues(segments)

    read: Any = webvtt.from_string(formats.vtt(meant).decode())

    assert [cue.voice for cue in read] == [cue.speaker for cue in meant]
    assert [bare(html.unescape(cue.text)) for cue in read] == [bare("".join(cue.lines)) for cue in meant]
    assert [stamp(cue.start) for cue in read] == [milliseconds(cue.start) for cue in meant]
    assert [stamp(cue.end) for cue in read] == [milliseconds(cue.end) for cue in meant]


@given(transcripts())
def test_every_word_is_in_the_text_once(segments: list[Segment]) -> None:
    words = "".join(word.word for part in segments for word in part.words)

    text = formats.txt(segments).decode()

    assert bare(text) == bare(words) or (not bare(words) and text.startswith("(no speech"))


def milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def stamp(clock: str) -> int:
    hours, minutes, seconds = clock.split(":")
    return milliseconds(int(hours) * 3600 + int(minutes) * 60 + float(seconds))


def test_times_that_somebody_writes_into_the_words_begin_no_caption() -> None:
    said = spoken("Look: 00:00:05,000 --> 00:00:06,000 evil, and a --> b.")
    made = formats.srt(cues([segment(said)]))
    (only,) = list(srt.parse(made.decode()))
    assert "00:00:05,000 -> 00:00:06,000" in " ".join(only.content.split())
    assert "a --> b." in only.content
