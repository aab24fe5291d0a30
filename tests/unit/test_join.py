"""Who said each word."""

from hypothesis import given

from contracts.transcript import Segment, Turn, Word
from services.exporter.join import join
from tests.unit.transcripts import segment, spoken, transcripts, turns


def turn(start: float, end: float, speaker: str) -> Turn:
    return Turn(start=start, end=end, speaker=speaker)


def told(segments: list[Segment]) -> list[tuple[str | None, str]]:
    return [(part.speaker, part.text.strip()) for part in segments]


@given(transcripts(), turns())
def test_every_word_comes_out_once_in_order_with_its_time(segments: list[Segment], turns: list[Turn]) -> None:
    joined = join(segments, turns)

    def plain(parts: list[Segment]) -> list[tuple[str, float, float, float]]:
        return [(word.word, word.start, word.end, word.probability) for part in parts for word in part.words]

    assert plain(joined) == plain(segments)
    assert [part.id for part in joined] == list(range(len(joined)))
    for part in joined:
        assert {word.speaker for word in part.words} == {part.speaker}
        assert part.text == "".join(word.word for word in part.words)
        assert (part.start, part.end) == (part.words[0].start, max(word.end for word in part.words))


@given(transcripts(), turns())
def test_every_word_has_a_speaker_where_there_are_turns(segments: list[Segment], turns: list[Turn]) -> None:
    known = {turn.speaker for turn in turns} or {None}

    assert all(part.speaker in known for part in join(segments, turns))


def test_without_turns_nobody_is_named() -> None:
    assert told(join([segment(spoken("Hello there."))], [])) == [(None, "Hello there.")]


def test_a_segment_is_split_where_the_speaker_changes() -> None:
    said = segment(spoken("How are you? Fine, thank you."))

    joined = join([said], [turn(0, 0.9, "A"), turn(0.9, 2, "B")])

    assert told(joined) == [("A", "How are you?"), ("B", "Fine, thank you.")]


def test_the_first_word_of_a_turn_is_not_given_to_the_speaker_before() -> None:
    said = segment(spoken("How are you? Fine, thank you."))

    joined = join([said], [turn(0, 1.15, "A"), turn(1.15, 2, "B")])

    assert told(joined) == [("A", "How are you?"), ("B", "Fine, thank you.")]


def test_the_last_word_of_a_turn_is_not_given_to_the_speaker_after() -> None:
    said = segment(spoken("How are you? Fine, thank you."))

    joined = join([said], [turn(0, 0.65, "A"), turn(0.65, 2, "B")])

    assert told(joined) == [("A", "How are you?"), ("B", "Fine, thank you.")]


def test_a_change_at_a_pause_stays_there() -> None:
    said = segment(spoken("so we thought that …0.6 perhaps not tomorrow then"))

    joined = join([said], [turn(0, 1.3, "A"), turn(1.7, 3, "B")])

    assert told(joined) == [("A", "so we thought that"), ("B", "perhaps not tomorrow then")]


def test_an_interruption_far_from_any_boundary_is_kept() -> None:
    said = segment(spoken("and then they went on to say no you are wrong about that"))

    joined = join([said], [turn(0, 1.8, "A"), turn(1.8, 4, "B")])

    assert told(joined) == [("A", "and then they went on to"), ("B", "say no you are wrong about that")]


def test_a_stray_word_inside_a_sentence_goes_with_its_neighbours() -> None:
    said = segment(spoken("we wanted to go there again this summer."))

    joined = join([said], [turn(0, 0.89, "A"), turn(0.89, 1.21, "B"), turn(1.21, 2.4, "A")])

    assert told(joined) == [("A", "we wanted to go there again this summer.")]


def test_a_short_answer_of_its_own_is_kept() -> None:
    said = segment(spoken("It works. Yes. So we go on."))
    answer = next(word for word in said.words if word.word.strip() == "Yes.")

    joined = join([said], [turn(0, answer.start, "A"), turn(answer.start, answer.end, "B"), turn(answer.end, 9, "A")])

    assert told(joined) == [("A", "It works."), ("B", "Yes."), ("A", "So we go on.")]


def test_where_turns_overlap_who_has_the_floor_keeps_it() -> None:
    said = segment(spoken("I was saying that this is how it goes."))

    joined = join([said], [turn(0, 5, "A"), turn(1, 2, "B")])

    assert told(joined) == [("A", "I was saying that this is how it goes.")]


def test_where_turns_overlap_a_new_sentence_is_of_the_one_who_goes_on() -> None:
    said = segment(spoken("Neither did I. Okay, then I thought it was a beep."))

    joined = join([said], [turn(0, 1.25, "A"), turn(0.85, 4, "B")])

    assert told(joined) == [("A", "Neither did I."), ("B", "Okay, then I thought it was a beep.")]


def test_a_word_that_swallowed_the_pause_before_it_is_judged_by_its_end() -> None:
    late = Word(word=" Hello.", start=1.0, end=6.0, probability=0.9)

    joined = join([segment([*spoken("Good bye."), late])], [turn(0, 3.9, "A"), turn(5.5, 6.5, "B")])

    assert told(joined) == [("A", "Good bye."), ("B", "Hello.")]


def test_words_outside_every_turn_are_of_the_nearest_or_of_who_spoke_last() -> None:
    near, far = spoken("Yes.", start=5.2), spoken("Anyway.", start=60)

    joined = join([segment(spoken("No.")), segment(near), segment(far)], [turn(0, 1, "A"), turn(5.6, 7, "B")])

    assert told(joined) == [("A", "No."), ("B", "Yes."), ("B", "Anyway.")]


def test_words_without_duration_find_their_turn() -> None:
    words = [Word(word=f" {text}.", start=at, end=at, probability=0.1) for text, at in (("one", 1.0), ("two", 3.0))]

    assert told(join([segment(words)], [turn(0, 2, "A"), turn(2, 4, "B")])) == [("A", "one."), ("B", "two.")]
