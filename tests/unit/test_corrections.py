"""What an owner may correct of a transcript, and what it is then."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.transcript import Segment, Transcript, Turn, Word
from services.gateway.corrections import (
    CHANGES_MAX,
    NAME_MAX,
    TEXT_MAX,
    Corrected,
    Correction,
    WordChange,
    checked,
    corrected,
)
from services.gateway.problems import Problem
from tests.unit.transcripts import bare, segment, spoken, transcripts

BASE = Transcript(
    segments=[
        msgspec.structs.replace(segment(spoken("Helo there, Bob.", speaker="Speaker 1"), 0), speaker="Speaker 1"),
        msgspec.structs.replace(segment(spoken("Hi!", start=2.0, speaker="Speaker 2"), 1), speaker="Speaker 2"),
    ],
    speakers=["Speaker 1", "Speaker 2"],
    turns=[Turn(start=0.0, end=1.0, speaker="Speaker 1"), Turn(start=2.0, end=3.0, speaker="Speaker 2")],
)


def correct(
    base: Transcript = BASE, speakers: dict[str, str] | None = None, restore: int | None = None, **words: str
) -> Corrected:
    """Words are named by their number, as in `w0="Hello"`."""
    changes = [WordChange(word=int(name[1:]), text=text) for name, text in words.items()]
    return corrected(base, checked(Correction(based_on=0, speakers=speakers or {}, words=changes, restore=restore)))


def text(transcript: Transcript) -> list[str]:
    return [one.text for one in transcript.segments]


def refused(**asked: Any) -> tuple[int, str, str | None, str]:
    with pytest.raises(Problem) as raised:
        correct(**asked)
    document = raised.value.document
    return document.status, document.code, document.field, document.detail


def test_a_corrected_word_keeps_its_time_its_space_and_its_speaker() -> None:
    made = correct(w0="Hello")
    assert text(made.transcript) == [" Hello there, Bob.", " Hi!"]
    assert made.transcript.segments[0].words[0] == Word(
        word=" Hello", start=0.0, end=0.3, probability=1.0, speaker="Speaker 1"
    )
    assert (made.words, made.speakers) == (1, 0)
    assert made.transcript.segments[0].words[1:] == BASE.segments[0].words[1:]


def test_several_words_in_the_place_of_one_share_its_time() -> None:
    words = correct(w2="my dear Bob.").transcript.segments[0].words
    assert [one.word for one in words] == [" Helo", " there,", " my", " dear", " Bob."]
    assert (words[2].start, words[-1].end) == (0.6, 0.9)
    assert all(one.end == following.start for one, following in pairwise(words))


def test_no_text_removes_a_word_and_a_segment_of_which_nothing_is_left() -> None:
    assert text(correct(w1="").transcript) == [" Helo Bob.", " Hi!"]
    made = correct(w0="", w1="", w2=" ").transcript
    assert (text(made), [one.id for one in made.segments]) == ([" Hi!"], [0])
    assert text(correct(w0="", w1="", w2="", w3="").transcript) == []


def test_a_segment_begins_and_ends_with_the_words_that_are_left() -> None:
    first = correct(w0="").transcript.segments[0]
    assert (first.start, first.end) == (0.3, 0.9)


def test_a_speaker_is_renamed_everywhere_at_once() -> None:
    made = correct(speakers={"Speaker 1": " Ana  Lu "})
    assert made.transcript.speakers == ["Ana Lu", "Speaker 2"]
    assert [one.speaker for one in made.transcript.turns] == ["Ana Lu", "Speaker 2"]
    assert {one.speaker for one in made.transcript.segments[0].words} == {"Ana Lu"}
    assert made.transcript.segments[0].speaker == "Ana Lu"
    assert made.transcript.segments[1] == BASE.segments[1]
    assert (made.words, made.speakers) == (0, 1)


def test_names_can_be_swapped_and_two_speakers_become_one() -> None:
    swapped = correct(speakers={"Speaker 1": "Speaker 2", "Speaker 2": "Speaker 1"}).transcript
    assert [one.speaker for one in swapped.segments] == ["Speaker 2", "Speaker 1"]
    assert correct(speakers={"Speaker 2": "Speaker 1"}).transcript.speakers == ["Speaker 1"]


def test_a_segment_that_was_not_taken_apart_is_one_word() -> None:
    base = Transcript(segments=[Segment(id=0, start=0.0, end=1.0, text="helo"), BASE.segments[1]])
    made = correct(base, w0="hello", w1="Ho!").transcript
    assert text(made) == ["hello", " Ho!"]
    assert correct(base, w1="Ho!").transcript.segments[0] == base.segments[0]


def test_what_there_is_not_is_named() -> None:
    status, code, field, detail = refused(speakers={"Nobody": "Ana"})
    assert (status, code, field) == (422, "unknown_speaker", "speakers")
    assert "Nobody" in detail
    status, code, field, detail = refused(w4="x")
    assert (status, code, field) == (422, "unknown_word", "words")
    assert "word 4" in detail
    assert "has 4" in detail
    twice = [WordChange(word=1, text="a"), WordChange(word=1, text="b")]
    with pytest.raises(Problem, match="Word 1 is changed twice"):
        corrected(BASE, Correction(based_on=0, words=twice))


def test_what_changes_nothing_is_said() -> None:
    assert refused()[:2] == (422, "nothing_changed")
    assert refused(w0=" Helo ", speakers={"Speaker 1": "Speaker 1"})[:2] == (422, "nothing_changed")


def test_texts_and_names_may_be_so_long_and_no_longer() -> None:
    assert correct(w0="x" * TEXT_MAX, speakers={"Speaker 1": "y" * NAME_MAX}).words == 1
    status, code, field, detail = refused(w0="x" * (TEXT_MAX + 1))
    assert (status, code, field) == (400, "text_too_long", "words")
    assert "201" in detail
    assert "200" in detail
    status, code, field, detail = refused(speakers={"Speaker 1": "y" * (NAME_MAX + 1)})
    assert (status, code, field) == (400, "text_too_long", "speakers")
    assert "81" in detail
    assert "80" in detail
    assert refused(speakers={"Speaker 1": ""})[:3] == (400, "invalid_parameter", "speakers")
    assert refused(speakers={"Speaker 1": " \u2003"})[:3] == (422, "blank_name", "speakers")


def test_so_many_changes_are_taken_and_no_more() -> None:
    many = [WordChange(word=n, text="x") for n in range(CHANGES_MAX)]
    assert checked(Correction(based_on=0, words=many))
    with pytest.raises(Problem, match="10,001 changes, and at most 10,000"):
        checked(Correction(based_on=0, words=many, speakers={"Speaker 1": "Ana"}))


@pytest.mark.parametrize("character", ["\0", "\n", "\t", "\x1b", "\x7f", "\x9f", "\ud800"])
def test_control_characters_have_no_place_in_words_and_names(character: str) -> None:
    assert refused(w0=f"a{character}b")[:3] == (400, "invalid_text", "words")
    assert f"U+{ord(character):04X}" in refused(speakers={"Speaker 1": f"a{character}"})[3]


def test_a_version_is_brought_back_or_corrected_and_not_both() -> None:
    assert refused(restore=0, w0="x")[:3] == (422, "conflicting_parameters", "restore")
    assert refused(restore=0, speakers={"Speaker 1": "x"})[:3] == (422, "conflicting_parameters", "restore")


@given(transcripts(speakers=True), st.data())
def test_whatever_is_corrected_the_rest_stays_and_times_stay_in_order(
    segments: list[Segment], data: st.DataObject
) -> None:
    base = Transcript(segments=segments)
    words = [word for one in segments for word in one.words]
    texts = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20)
    asked = data.draw(st.dictionaries(st.integers(0, max(0, len(words) - 1)), texts, max_size=8)) if words else {}
    correction = Correction(based_on=0, words=[WordChange(word=n, text=one) for n, one in asked.items()])
    if all(one.split() == words[n].word.split() for n, one in asked.items()):
        with pytest.raises(Problem, match="nothing would change"):
            corrected(base, correction)
        return
    made = corrected(base, checked(correction)).transcript
    wanted = "".join(asked.get(n, word.word) for n, word in enumerate(words))
    assert bare("".join(one.text for one in made.segments)) == bare(wanted)
    for one in made.segments:
        assert one.text == "".join(word.word for word in one.words)
        assert all(word.start <= max(word.start, word.end) for word in one.words)
    assert [one.id for one in made.segments] == list(range(len(made.segments)))
    assert msgspec.json.decode(msgspec.json.encode(made), type=Transcript) == made
