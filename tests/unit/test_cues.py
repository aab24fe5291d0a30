"""What stands on the screen together, and for how long."""

from itertools import pairwise

from hypothesis import given

from contracts.captioning import STANDARD
from contracts.transcript import Segment, Word
from services.exporter.cues import cues, width
from tests.unit.transcripts import bare, segment, spoken, transcripts

LINE_WIDTH, MIN_S, MAX_S = STANDARD.line_width, STANDARD.min_s, STANDARD.max_s


def shown(segments: list[Segment]) -> list[list[str]]:
    return [cue.lines for cue in cues(segments)]


@given(transcripts(speakers=True))
def test_every_word_is_in_exactly_one_caption(segments: list[Segment]) -> None:
    words = [word for part in segments for word in part.words]

    made = cues(segments)

    assert bare("".join("".join(cue.lines) for cue in made)) == bare("".join(word.word for word in words))
    for cue in made:
        first, end = cue.words
        assert bare("".join(cue.lines)) == bare("".join(word.word for word in words[first:end]))
        assert {word.speaker for word in words[first:end]} == {cue.speaker}
    captioned = [n for cue in made for n in range(*cue.words)]
    assert captioned == sorted(set(captioned))
    assert all(not words[n].word.strip() for n in set(range(len(words))) - set(captioned))


@given(transcripts(speakers=True))
def test_captions_follow_one_another_and_each_is_seen(segments: list[Segment]) -> None:
    made = cues(segments)

    assert all(cue.end > cue.start for cue in made)
    assert all(cue.end <= following.start for cue, following in pairwise(made))
    assert all(cue.end - cue.start <= MAX_S + 0.001 for cue in made)


@given(transcripts(speakers=True))
def test_a_caption_has_two_lines_that_fit_unless_a_word_alone_does_not(segments: list[Segment]) -> None:
    for cue in cues(segments):
        for lines in (cue.lines, cue.labelled):
            assert 1 <= len(lines) <= 2
            assert max(map(width, lines)) <= LINE_WIDTH or cue.words[1] - cue.words[0] == 1 or " " not in lines[0]


def test_no_words_no_captions() -> None:
    assert cues([]) == []
    assert cues([Segment(id=0, start=0, end=1, text="")]) == []


def test_a_long_sentence_is_broken_after_punctuation() -> None:
    said = spoken(
        "Because the river had risen again during the night, nobody could cross it, and the few who tried were "
        "turned back by the guards at the bridge."
    )

    made = shown([segment(said)])

    assert [lines[-1].split()[-1] for lines in made][:-1] == ["it,"]


def test_a_line_ends_where_a_reader_would_pause() -> None:
    made = shown([segment(spoken("I came home so late that night, and nobody was there."))])

    assert made == [["I came home so late that night,", "and nobody was there."]]


def test_a_pause_ends_a_caption() -> None:
    assert shown([segment(spoken("Well …1.0 maybe."))]) == [["Well"], ["maybe."]]


def test_a_caption_never_has_two_speakers() -> None:
    said = [*spoken("Yes.", speaker="A"), *spoken("No.", start=0.3, speaker="B")]

    assert [(cue.speaker, cue.labelled) for cue in cues([segment(said)])] == [("A", ["A: Yes."]), ("B", ["B: No."])]


def test_a_name_stands_where_the_speaker_changes_and_the_line_has_room_for_it() -> None:
    said = [*spoken("It is not that far from here to there, and then some more of it.", speaker="Speaker 12")]

    made = cues([segment(said), segment(spoken("I see.", start=9, speaker="Speaker 12"), 1)])

    assert made[0].labelled[0].startswith("Speaker 12: It is")
    assert max(map(width, made[0].labelled)) <= LINE_WIDTH
    assert made[-1].labelled == ["I see."]


def test_a_short_caption_stays_as_long_as_it_takes_to_read_where_there_is_room() -> None:
    made = cues([segment(spoken("Yes. …3.0 Incomprehensibilities everywhere!", word_s=0.2))])

    assert made[0].end - made[0].start == MIN_S
    assert made[1].end - made[1].start > 1.9


def test_a_short_caption_makes_way_for_the_next() -> None:
    said = [*spoken("Yes.", speaker="A"), *spoken("No, not at all.", start=0.4, speaker="B")]

    made = cues([segment(said)])

    assert (made[0].end, made[1].start) == (0.4, 0.4)


def test_a_word_that_lasts_a_minute_stays_seven_seconds() -> None:
    made = cues([segment([Word(word=" Hm.", start=1, end=61, probability=0.1)])])

    assert (made[0].start, made[0].end) == (1, 1 + MAX_S)


def test_a_language_without_spaces_gets_none_and_wide_characters_take_two_columns() -> None:
    said = [
        Word(word=character, start=n * 0.1, end=n * 0.1 + 0.1, probability=0.9)
        for n, character in enumerate(
            "今日は天気がとてもいいですから、みんなで公園へ行って、お弁当を食べましょう。そうしましょう。"
        )
    ]

    made = cues([segment(said)])

    assert "".join("".join(cue.lines) for cue in made) == "".join(word.word for word in said)
    assert all(width(line) <= LINE_WIDTH for cue in made for line in cue.lines)


def test_a_word_wider_than_the_screen_stays_whole() -> None:
    address = "https://example.org/" + "a" * 60

    assert [address] in shown([segment(spoken(f"Look at {address} please."))])


def test_words_at_one_instant_still_come_one_caption_after_another() -> None:
    said = [Word(word=" again", start=5.0, end=5.0, probability=0.1) for _ in range(60)]

    made = cues([segment(said)])

    assert sum(len(line.split()) for cue in made for line in cue.lines) == 60
    assert all(cue.end <= following.start for cue, following in pairwise(made))
