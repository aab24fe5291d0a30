from hypothesis import given
from hypothesis import strategies as st

from contracts.transcript import Region, Word
from services.transcriber.timeline import on_recording, segments, unheard, whole_words

REGIONS = [Region(10.0, 14.0), Region(20.0, 22.0), Region(30.0, 35.0)]


def word(text: str, start: float, end: float) -> Word:
    return Word(word=text, start=start, end=end, probability=0.5)


def test_words_are_put_back_into_the_region_they_were_heard_in() -> None:
    placed = on_recording([word(" a", 0.5, 1.0), word(" b", 4.5, 5.0), word(" c", 6.0, 6.5)], REGIONS)

    assert [(w.start, w.end) for w in placed] == [(10.5, 11.0), (20.5, 21.0), (30.0, 30.5)]


def test_a_word_over_a_cut_stays_on_the_side_where_most_of_it_is() -> None:
    placed = on_recording([word(" a", 3.0, 4.2), word(" b", 5.9, 7.0)], REGIONS)

    assert [(w.start, w.end) for w in placed] == [(13.0, 14.0), (30.0, 31.0)]


@given(st.lists(st.tuples(st.floats(-1.0, 14.0), st.floats(-1.0, 14.0)), max_size=30))
def test_times_never_run_backwards_nor_leave_the_speech(times: list[tuple[float, float]]) -> None:
    placed = on_recording([word(f" {n}", *pair) for n, pair in enumerate(times)], REGIONS)

    assert [w.word for w in placed] == [f" {n}" for n in range(len(times))]
    clock = [time for w in placed for time in (w.start, w.end)]
    assert clock == sorted(clock)
    assert all(any(r.start <= w.start and w.end <= r.end for r in REGIONS) for w in placed)


def test_segments_end_with_a_sentence_or_a_long_pause_and_keep_every_word() -> None:
    words = [word(" Well,", 0, 1), word(' "yes."', 1, 2), word(" And", 2, 3), word(" then", 4, 5), word(" so", 5, 6)]

    found = list(segments(words))

    assert [segment.text for segment in found] == [' Well, "yes."', " And", " then so"]
    assert [w for segment in found for w in segment.words] == words
    assert (found[2].start, found[2].end) == (4, 6)
    assert list(segments([])) == []


def test_what_is_left_after_the_last_word_is_known() -> None:
    assert unheard([word(" a", 12.0, 13.0)], REGIONS) == [Region(13.0, 14.0), *REGIONS[1:]]
    assert unheard([word(" a", 34.0, 35.0)], REGIONS) == []
    assert unheard([], REGIONS) == REGIONS


def test_pieces_of_words_are_joined() -> None:
    joined = whole_words([word(" under", 0, 1), word("stand", 1, 2), word(" me", 2, 3), word(".", 3, 3)])

    assert [(w.word, w.start, w.end) for w in joined] == [(" understand", 0, 2), (" me.", 2, 3)]
