import pytest

from contracts.transcript import Region
from services.transcriber.language import Heard, decide, samples, switches


def heard(seconds: float, **probabilities: float) -> Heard:
    return Heard(seconds=seconds, probabilities=probabilities)


def test_several_places_are_heard_and_not_only_the_beginning() -> None:
    regions = [Region(n * 20.0, n * 20.0 + 15.0) for n in range(60)]

    pieces = samples(regions)

    assert len(pieces) == 5
    assert pieces[0][0].start > 60.0
    assert pieces[-1][0].start > 1000.0
    assert all(sum(part.end - part.start for part in piece) == pytest.approx(10.0) for piece in pieces)


def test_a_piece_is_made_of_neighbouring_regions() -> None:
    pieces = samples([Region(0.0, 4.0), Region(6.0, 13.0)])

    assert pieces == [[Region(0.0, 4.0), Region(6.0, 12.0)]]


def test_a_short_recording_is_heard_all_the_same() -> None:
    assert samples([Region(0.5, 1.0)]) == [[Region(0.5, 1.0)]]
    assert samples([]) == []


def test_an_opening_in_another_language_is_outvoted() -> None:
    votes = [heard(10.0, en=0.99, es=0.01), heard(10.0, en=0.1, es=0.9), heard(10.0, en=0.02, es=0.98)]

    verdict = decide(votes, None)

    assert (verdict.language, verdict.source) == ("es", "detected")
    assert verdict.probability == pytest.approx(0.63)


def test_longer_pieces_have_more_say() -> None:
    assert decide([heard(1.0, en=1.0), heard(10.0, de=1.0)], None).language == "de"


@pytest.mark.parametrize(
    ("votes", "language", "source"),
    [
        ([heard(10.0, es=0.95, pt=0.05)], "es", "hint"),
        ([heard(10.0, es=0.45, gl=0.55)], "es", "hint"),
        ([heard(10.0, es=0.05, en=0.95)], "en", "detected"),
        ([heard(2.0, es=0.01, cy=0.99)], "es", "hint"),
    ],
    ids=["agreed", "not clearly another", "clearly another", "too little heard"],
)
def test_a_hint_stands_unless_another_language_is_clear(votes: list[Heard], language: str, source: str) -> None:
    verdict = decide(votes, "es")

    assert (verdict.language, verdict.source) == (language, source)


def test_a_language_the_model_does_not_name_can_still_be_the_hint() -> None:
    assert decide([heard(10.0, en=0.5, de=0.5)], "eo").probability == 0.0


def test_regions_that_are_unclear_are_taken_for_the_language_before() -> None:
    row = [heard(0.4, ja=0.9), heard(5.0, en=0.9), heard(0.5, cy=0.9), heard(6.0, de=0.5), heard(6.0, de=0.9)]

    assert switches(row, "fr") == ["en", "en", "en", "en", "de"]


def test_where_no_region_is_clear_the_language_of_the_job_is_taken() -> None:
    assert switches([heard(0.4, ja=0.9), heard(9.0, en=0.3)], "fr") == ["fr", "fr"]
    assert switches([], "fr") == []
