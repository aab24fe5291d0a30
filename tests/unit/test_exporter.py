import io
import itertools
import json
import re

import pytest
import srt
from hypothesis import given
from hypothesis import strategies as st

from contracts.parameters import Parameters
from contracts.transcript import Segment, Turn, Word
from services.exporter.cues import LINE_WIDTH, MAX_S, Cue, cues, text_of, width
from services.exporter.engine import FORMATS, export
from services.exporter.formats import vtt
from services.exporter.join import join
from services.exporter.result import Receipt

TEXTS = st.one_of(
    st.sampled_from([" yes", " no.", " I", " well,", " really?", "你好", "世界。", " -->", " <b>&amp;", " x\ny", " ☎️"]),
    st.text(min_size=1, max_size=60).map(lambda text: f" {text}"),
)


@st.composite
def transcripts(draw: st.DrawFn) -> list[Segment]:
    """Segments as the transcriber gives them: words in order, some without length, some after a pause."""
    segments, at = [], 0.0
    for number in range(draw(st.integers(0, 6))):
        words = []
        for _ in range(draw(st.integers(1, 25))):
            at += draw(st.sampled_from([0.0, 0.0, 0.02, 0.3, 2.5]))
            end = at + draw(st.sampled_from([0.0, 0.1, 0.25, 0.6, 9.0]))
            words.append(Word(word=draw(TEXTS), start=round(at, 3), end=round(end, 3), probability=0.5))
            at = end
        segments.append(
            Segment(id=number, start=words[0].start, end=at, text="".join(w.word for w in words), words=words)
        )
    return segments


@st.composite
def diarizations(draw: st.DrawFn) -> list[Turn]:
    """Turns of up to three speakers, overlapping as they like."""
    turns = []
    for _ in range(draw(st.integers(0, 8))):
        start = draw(st.floats(0, 60))
        turns.append(
            Turn(start=start, end=start + draw(st.floats(0.01, 20)), speaker=f"Speaker {draw(st.integers(1, 3))}")
        )
    return turns


def said(*texts: str, start: float = 0.0, each_s: float = 0.3) -> list[Segment]:
    """One segment of evenly spoken words."""
    words = [
        Word(word=text, start=round(start + n * each_s, 3), end=round(start + (n + 1) * each_s, 3), probability=1.0)
        for n, text in enumerate(texts)
    ]
    return [Segment(id=0, start=words[0].start, end=words[-1].end, text="".join(texts), words=words)]


def words_of(segments: list[Segment]) -> list[str]:
    return [word.word for segment in segments for word in segment.words]


def by_speaker(segments: list[Segment]) -> list[tuple[str | None, str]]:
    return [(segment.speaker, segment.text.strip()) for segment in segments]


@given(transcripts(), diarizations())
def test_the_join_keeps_every_word_once_and_in_order(segments: list[Segment], turns: list[Turn]) -> None:
    joined = join(segments, turns)
    assert words_of(joined) == words_of(segments)
    for segment in joined:
        assert {word.speaker for word in segment.words} == {segment.speaker}
        assert "".join(word.word for word in segment.words) == segment.text
        assert (segment.speaker is None) == (not turns)


@given(transcripts(), diarizations())
def test_captions_show_every_word_once_never_two_speakers_and_never_overlap(
    segments: list[Segment], turns: list[Turn]
) -> None:
    joined = join(segments, turns)
    words = [word for segment in joined for word in segment.words]
    made = cues(joined)
    shown: list[int] = [n for cue in made for n in range(*cue.words)]
    invisible = [n for n in range(len(words)) if n not in set(shown)]
    assert shown == sorted(set(shown))
    assert all(not words[n].word.split() for n in invisible)
    for cue in made:
        assert "".join(" ".join(cue.lines).split()) == "".join(text_of(words[slice(*cue.words)]).split())
        assert {words[n].speaker for n in range(*cue.words)} == {cue.speaker}
        assert 1 <= len(cue.lines) <= 2
        assert cue.end > cue.start
    for cue, following in itertools.pairwise(made):
        assert cue.end <= following.start + 1e-9


@given(transcripts())
def test_a_caption_is_no_wider_and_no_longer_than_it_may_be_unless_one_word_is(segments: list[Segment]) -> None:
    words = [word for segment in segments for word in segment.words]
    for cue in cues(segments):
        if cue.words[1] - cue.words[0] > 1:
            assert all(width(line) <= LINE_WIDTH for line in cue.lines)
            assert words[cue.words[1] - 1].end - words[cue.words[0]].start <= MAX_S


def test_the_first_word_of_a_turn_is_not_given_to_the_previous_speaker() -> None:
    # given a first word whose time begins in the pause before it, in the other's turn
    segments = said(" How", " are", " you?", " Fine,", " thanks.")
    turns = [Turn(start=0.0, end=1.1, speaker="Speaker 1"), Turn(start=1.15, end=1.6, speaker="Speaker 2")]
    assert by_speaker(join(segments, turns)) == [("Speaker 1", "How are you?"), ("Speaker 2", "Fine, thanks.")]


def test_the_last_word_of_a_sentence_stays_with_its_sentence() -> None:
    segments = said(" I", " live", " in", " Texas.", " Really?", " Where?")
    turns = [Turn(start=0.0, end=0.85, speaker="Speaker 1"), Turn(start=0.85, end=2.0, speaker="Speaker 2")]
    assert by_speaker(join(segments, turns)) == [("Speaker 1", "I live in Texas."), ("Speaker 2", "Really? Where?")]


def test_whoever_has_the_floor_keeps_it_where_two_speak_at_once() -> None:
    segments = said(" so", " I", " went", " home")
    turns = [Turn(start=0.0, end=2.0, speaker="Speaker 1"), Turn(start=0.6, end=2.0, speaker="Speaker 2")]
    assert by_speaker(join(segments, turns)) == [("Speaker 1", "so I went home")]


def test_a_short_answer_of_its_own_is_kept() -> None:
    segments = said(" It", " works.", " Yes.", " So", " we", " go", " on.")
    turns = [
        Turn(start=0.0, end=0.6, speaker="A"),
        Turn(start=0.6, end=0.9, speaker="B"),
        Turn(start=0.9, end=3, speaker="A"),
    ]
    assert by_speaker(join(segments, turns)) == [("A", "It works."), ("B", "Yes."), ("A", "So we go on.")]


def test_a_line_ends_where_a_reader_would_pause() -> None:
    made = cues(said(*re.findall(r" \S+", " I came home so late that night, and nobody was there.")))
    assert [cue.lines for cue in made] == [["I came home so late that night,", "and nobody was there."]]


def test_a_short_caption_stays_as_long_as_there_is_room() -> None:
    alone = cues(said(" Yes.", each_s=0.2))
    assert [(cue.start, cue.end) for cue in alone] == [(0.0, 1.0)]


def exported(segments: list[Segment], turns: list[Turn]) -> dict[str, bytes]:
    receipt = Receipt(
        job_id="j", run=1, filename="f", parameters=Parameters(), models={}, language_source="detected", stages=[]
    )
    return export(segments=segments, turns=turns, language="en", duration_s=9.0, warnings=[], receipt=receipt).files


@given(transcripts(), diarizations())
def test_equal_inputs_make_equal_bytes_in_every_format(segments: list[Segment], turns: list[Turn]) -> None:
    files = exported(segments, turns)
    assert set(files) == set(FORMATS)
    assert files == exported(segments, turns)
    assert json.loads(files["json"])["duration"] == 9.0


def test_another_parser_reads_our_srt() -> None:
    segments = said(" Hello", " there.") + said(" Oh,", " hello!", start=5.0)
    turns = [Turn(start=0, end=1, speaker="Speaker 1"), Turn(start=5, end=6, speaker="Speaker 2")]
    parsed = list(srt.parse(exported(segments, turns)["srt"].decode()))
    assert [(caption.index, caption.content) for caption in parsed] == [
        (1, "Speaker 1: Hello there."), (2, "Speaker 2: Oh, hello!")
    ]  # fmt: skip
    assert parsed[1].start.total_seconds() == 5.0


@given(transcripts())
def test_nothing_said_can_end_a_webvtt_cue_or_open_a_tag(segments: list[Segment]) -> None:
    body = vtt(cues(segments)).decode()
    for block in body.split("\n\n")[1:]:
        time, *lines = block.strip("\n").split("\n")
        assert " --> " in time
        assert all("-->" not in line and "<" not in line for line in lines)


def test_a_speaker_stands_in_a_voice_span() -> None:
    cue = Cue(
        start=3661.5, end=3662.25, lines=["a & b"], labelled=["Speaker 1: a & b"], speaker="Speaker 1", words=(0, 3)
    )
    assert vtt([cue]) == b"WEBVTT\n\n01:01:01.500 --> 01:01:02.250\n<v Speaker 1>a &amp; b\n"


def test_nothing_said_makes_valid_files() -> None:
    files = exported([], [])
    assert (files["srt"], files["vtt"]) == (b"", b"WEBVTT\n")
    assert json.loads(files["json"])["segments"] == []
    assert io.BytesIO(files["txt"]).read().startswith(b"(no speech")


@pytest.mark.parametrize("seconds", [0.0, 59.9996, 3599.9999, 36000.0])
def test_times_never_show_a_sixtieth_second(seconds: float) -> None:
    cue = Cue(start=seconds, end=seconds + 1, lines=["x"], labelled=["x"], speaker=None, words=(0, 1))
    body = vtt([cue]).decode()
    assert ":60" not in body
