"""The quality report says what is so, at each limit and past it, whoever made the captions."""

import msgspec
import pytest

from contracts.captioning import PRESETS, STANDARD, STREAMING, PresetName
from contracts.quality import BROKEN_MAX, Finding, PresetQuality, Quality, Rule
from contracts.transcript import Segment, Turn, Word
from services.exporter.cues import Cue, cues
from services.exporter.engine import export
from services.exporter.quality import DOUBTFUL, report
from tests.unit.test_captioning import talk
from tests.unit.test_formats import RECEIPT
from tests.unit.transcripts import segment, spoken


def caption(start: float, end: float, *lines: str, words: tuple[int, int] = (0, 0)) -> Cue:
    return Cue(start=start, end=end, lines=list(lines), labelled=list(lines), speaker=None, words=words)


def measured(made: list[Cue], segments: list[Segment] | None = None, name: PresetName = "standard") -> PresetQuality:
    (one,) = report(segments or [], {name: made}, duration_s=10.0, warnings=[]).presets
    return one


def finding(made: list[Cue], rule: Rule, name: PresetName = "standard") -> Finding:
    return next(one for one in measured(made, name=name).findings if one.rule is rule)


@pytest.mark.parametrize(
    ("rule", "kept", "broken", "worst"),
    [
        (Rule.READING_SPEED, [caption(0, 2, "a" * 34)], [caption(0, 2, "a" * 35)], 17.5),
        (Rule.LINE_WIDTH, [caption(0, 6, "a" * 42)], [caption(0, 6, "a" * 43)], 43),
        (Rule.LINE_WIDTH, [caption(0, 6, "字" * 21)], [caption(0, 6, "字" * 22)], 44),
        (Rule.LINES, [caption(0, 6, "a", "b")], [caption(0, 6, "a", "b", "c")], 3),
        (Rule.TOO_SHORT, [caption(0, 1, "a")], [caption(0, 0.999, "a")], 0.999),
        (Rule.TOO_LONG, [caption(0, 7, "a")], [caption(0, 7.001, "a")], 7.001),
    ],
)
def test_at_a_limit_a_caption_is_good_and_past_it_not(
    rule: Rule, kept: list[Cue], broken: list[Cue], worst: float
) -> None:
    assert (finding(kept, rule).captions, finding(kept, rule).share) == (0, 0.0)
    found = finding(broken, rule)
    assert (found.captions, found.share, found.worst) == (1, 1.0, worst)
    assert [(one.rule, one.caption) for one in measured(broken).broken] == [(rule, 1)]
    assert measured(broken).within_limits == 0.0


def test_a_gap_may_be_two_frames_and_no_shorter() -> None:
    apart, close = ([caption(0, 2, "a"), caption(start, 4, "b")] for start in (2.084, 2.083))

    assert finding(apart, Rule.GAP, "streaming").captions == 0
    assert (finding(close, Rule.GAP, "streaming").captions, finding(close, Rule.GAP).captions) == (1, 0)
    assert finding(close, Rule.GAP, "streaming").worst == 0.083


def test_captions_that_overlap_are_too_close_in_every_preset() -> None:
    assert finding([caption(0, 2, "a"), caption(1, 4, "b")], Rule.GAP).captions == 1


def test_a_name_before_the_words_counts_for_the_width() -> None:
    named = msgspec.structs.replace(caption(0, 6, "a" * 40), labelled=["B: " + "a" * 40])

    assert finding([named], Rule.LINE_WIDTH).worst == 43


def test_each_rule_says_its_limit() -> None:
    limits = {one.rule: one.limit for one in measured([], name="streaming").findings}

    assert limits == {
        Rule.READING_SPEED: STREAMING.read_per_s,
        Rule.LINE_WIDTH: STREAMING.line_width,
        Rule.LINES: STREAMING.lines,
        Rule.TOO_SHORT: STREAMING.min_s,
        Rule.TOO_LONG: STREAMING.max_s,
        Rule.GAP: STREAMING.gap_s,
    }


@pytest.mark.parametrize("name", PRESETS)
def test_of_captions_of_ours_no_word_is_missing(name: PresetName) -> None:
    said = talk(3)
    one = measured(cues(said, PRESETS[name]), said, name)

    assert (one.words, one.words_dropped) == (600, 0)
    assert {found.rule for found in one.findings if found.captions} <= {
        Rule.READING_SPEED, Rule.TOO_SHORT, Rule.LINE_WIDTH,
    }  # fmt: skip  # what is said too fast, or in one word too long, cannot be helped


def test_words_that_no_caption_shows_are_counted() -> None:
    said = [segment(spoken("One two three four five."))]
    (made,) = cues(said)

    def without(**changes: object) -> PresetQuality:
        return measured([msgspec.structs.replace(made, **changes)], said)

    assert (without().words, without().words_dropped) == (5, 0)
    assert without(lines=["One five."]).words_dropped == 3
    assert without(lines=["One two three four"]).words_dropped == 1
    assert without(words=(0, 4)).words_dropped == 1
    assert measured([], said).words_dropped == 5


def test_a_word_of_blanks_is_no_word() -> None:
    said = [segment([*spoken("One."), Word(word=" ", start=1, end=2, probability=0.1)])]
    told = report(said, {"standard": cues(said)}, duration_s=9.0, warnings=[])

    assert (told.words, told.doubtful_words, told.presets[0].words_dropped) == (1, 0, 0)


def test_only_so_many_are_named_and_all_are_counted() -> None:
    for count in (BROKEN_MAX, BROKEN_MAX + 1):
        one = measured([caption(n * 2, n * 2 + 0.5, "a") for n in range(count)])
        assert (len(one.broken), one.findings[3].captions) == (BROKEN_MAX, count)
        assert [broken.caption for broken in one.broken] == list(range(1, BROKEN_MAX + 1))


def test_words_are_doubtful_below_the_limit() -> None:
    said = [segment([Word(word=" a", start=n, end=n + 1, probability=p) for n, p in enumerate([DOUBTFUL, 0.39, 0.6])])]
    told = report(said, {}, duration_s=9.0, warnings=["clipped"])

    assert (told.words, told.doubtful_words, told.doubtful_below) == (3, 1, DOUBTFUL)
    assert (told.mean_probability, told.warnings) == (0.4633, ["clipped"])


def test_the_share_of_speech_with_a_speaker_is_by_time() -> None:
    said = [segment([*spoken("Hm.", word_s=3.0, speaker="A"), *spoken("So.", start=3.0, word_s=1.0)])]

    assert report(said, {}, duration_s=9.0, warnings=[]).attributed == 0.75


@pytest.mark.parametrize(
    ("duration_s", "longest"), [(4.0, (2.0, 2.0)), (7.0, (2.0, 2.0)), (7.5, (2.5, 5.0)), (0.0, (2.0, 2.0))]
)
def test_the_longest_silence_may_be_anywhere(duration_s: float, longest: tuple[float, float]) -> None:
    said = [segment(spoken("…1 One. …2 Two.", word_s=1.0))]
    told = report(said, {}, duration_s=duration_s, warnings=[])

    assert (told.longest_silence_s, told.longest_silence_at) == longest


def test_a_recording_without_speech_has_a_report() -> None:
    files = export(segments=[], turns=[], language=None, duration_s=9.0, warnings=["no_speech"], receipt=RECEIPT).files
    told = msgspec.json.decode(files["quality"], type=Quality)

    assert (told.words, told.mean_probability, told.attributed, told.longest_silence_s) == (0, None, None, 9.0)
    assert [one.preset for one in told.presets] == list(PRESETS)
    assert all((one.captions, one.within_limits, one.broken) == (0, 1.0, []) for one in told.presets)
    assert all(found.worst is None for one in told.presets for found in one.findings)


def test_the_report_is_of_the_captions_that_are_in_the_files() -> None:
    said = [segment(spoken("I came home so late that night, and nobody was there."))]
    turns = [Turn(start=0, end=9, speaker="A")]
    files = export(
        segments=said, turns=turns, language="en", duration_s=9.0, warnings=["clipped"], receipt=RECEIPT
    ).files
    told = msgspec.json.decode(files["quality"], type=Quality)

    assert {one.preset: one.captions for one in told.presets} == {
        name: files[f"{name}.srt"].count(b"-->") for name in PRESETS
    }
    assert (told.attributed, told.warnings, told.presets[0].limits) == (1.0, ["clipped"], STANDARD)
