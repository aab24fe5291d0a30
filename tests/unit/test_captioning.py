"""The presets: each keeps its limits as far as the words allow, and none loses a word."""

import random
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given

from contracts.captioning import BROADCAST, CAPTION_FORMATS, PRESETS, SOCIAL, STANDARD, STREAMING, Preset, of_preset
from contracts.parameters import Parameters
from contracts.transcript import Segment, Turn, Word
from services.exporter.cues import Cue, cues, width
from services.exporter.engine import export
from tests.unit.test_formats import RECEIPT
from tests.unit.transcripts import SPEAKERS, bare, segment, spoken, transcripts

_TICK_S = 0.001
EVERY = pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)


def talk(seed: int, words: int = 600) -> list[Segment]:
    """People talk as they do: sentences, pauses, interruptions, and now and then a word that is very long."""
    chance, said, at, speaker = random.Random(seed), [], 0.0, SPEAKERS[0]
    for _ in range(words):
        letters = chance.choice([1, 2, 3, 4, 4, 5, 6, 7, 9, 12] * 20 + [50])
        mark = chance.choices([".", ",", "?", ""], [8, 8, 2, 82])[0]
        lasts_s = round(0.06 * letters * chance.uniform(0.5, 1.5), 3)
        said.append(Word(word=f" {'w' * letters}{mark}", start=at, end=at + lasts_s, probability=0.9, speaker=speaker))
        at = round(at + lasts_s + chance.choice([0.0, 0.0, 0.02, 0.1, *([0.3, 0.7, 1.2, 4.0] if mark else [])]), 3)
        if (mark in (".", "?") and chance.random() < 0.4) or chance.random() < 0.01:
            speaker = chance.choice(SPEAKERS)
    return [segment(said[n : n + 12], n // 12) for n in range(0, len(said), 12)]


def check(segments: list[Segment], preset: Preset) -> list[Cue]:
    """Everything that holds of captions whatever is said."""
    words = [word for part in segments for word in part.words]
    made = cues(segments, preset)
    assert bare("".join("".join(cue.lines) for cue in made)) == bare("".join(word.word for word in words))
    captioned = [n for cue in made for n in range(*cue.words)]
    assert captioned == sorted(set(captioned))
    assert all(not words[n].word.strip() for n in set(range(len(words))) - set(captioned))
    for cue in made:
        said = words[slice(*cue.words)]
        assert bare("".join(cue.lines)) == bare("".join(word.word for word in said))
        assert bare("".join(cue.labelled)).endswith(bare("".join(cue.lines)))
        assert {word.speaker for word in said} == {cue.speaker}
        assert 1 <= len(cue.lines) <= preset.lines
        alone = len(said) == 1 or " " not in cue.lines[0]
        assert max(map(width, cue.lines)) <= preset.line_width or alone
        assert 0 < cue.end - cue.start <= preset.max_s + _TICK_S
    for cue, following in pairwise(made):
        assert cue.end <= following.start
        room_s = following.start - cue.start - preset.gap_s
        assert cue.end - cue.start >= min(preset.min_s, room_s) - _TICK_S
    return made


@EVERY
@pytest.mark.parametrize("seed", range(5))
def test_captions_of_a_talk_keep_the_limits_and_every_word(preset: Preset, seed: int) -> None:
    check(talk(seed), preset)


@EVERY
def test_captions_of_anything_at_all_keep_the_limits_and_every_word(preset: Preset) -> None:
    @given(transcripts(speakers=True))
    def holds(segments: list[Segment]) -> None:
        check(segments, preset)

    holds()


@EVERY
def test_equal_words_make_equal_captions(preset: Preset) -> None:
    assert cues(talk(7), preset) == cues(talk(7), preset)


@EVERY
def test_a_line_may_be_as_wide_as_the_preset_says_and_no_wider(preset: Preset) -> None:
    fits = f"{'a' * (preset.line_width - 2)} b"
    wider = f"{'a' * (preset.line_width - 1)} b"

    assert [cue.lines for cue in cues([segment(spoken(fits, word_s=0.5))], preset)] == [[fits]]
    assert [line for cue in cues([segment(spoken(wider, word_s=0.5))], preset) for line in cue.lines] == wider.split()


@EVERY
def test_a_pause_as_long_as_the_preset_says_is_none_and_a_longer_one_ends_a_caption(preset: Preset) -> None:
    def told(pause_s: float) -> list[Word]:
        return [
            Word(word=" One", start=0.0, end=0.25, probability=0.9),
            Word(word=" two", start=0.25 + pause_s, end=0.5 + pause_s, probability=0.9),
        ]

    assert len(cues([segment(told(preset.pause_s - 0.001))], preset)) == 1
    assert len(cues([segment(told(preset.pause_s + 0.001))], preset)) == 2


@EVERY
def test_a_short_word_with_all_the_time_in_the_world_stays_the_least_time(preset: Preset) -> None:
    made = cues([segment(spoken("Yes. …9 No.", word_s=0.2))], preset)

    assert [round(cue.end - cue.start, 3) for cue in made] == [preset.min_s] * 2


def test_the_standard_is_what_captions_always_were() -> None:
    said = [segment(spoken("I came home so late that night, and nobody was there."))]

    assert cues(said) == cues(said, STANDARD)
    assert cues(said)[0].lines == ["I came home so late that night,", "and nobody was there."]


def test_for_a_phone_a_caption_is_one_short_line() -> None:
    said = [segment(spoken("I came home so late that night, and nobody was there."))]

    assert [cue.lines for cue in cues(said, SOCIAL)] == [
        ["I came home so late that"],
        ["night, and nobody was there."],
    ]


def test_captions_that_follow_at_once_are_kept_two_frames_apart() -> None:
    said = [*spoken("How are you doing?", speaker="A"), *spoken("Fine, thank you.", start=1.2, speaker="B")]

    made = cues([segment(said)], STREAMING)

    assert (made[0].end, made[1].start) == (1.116, 1.2)


def test_a_gap_takes_no_more_than_half_of_a_caption() -> None:
    said = [*spoken("Oh.", word_s=0.1, speaker="A"), *spoken("What?", start=0.1, speaker="B")]

    assert cues([segment(said)], STREAMING)[0].end == 0.05


@pytest.mark.parametrize(("pause_s", "shown_s"), [(0.4, 0.084), (0.499, 0.084), (0.5, 0.5), (2.0, 2.0)])
def test_a_gap_shorter_than_half_a_second_is_closed_for_streaming(pause_s: float, shown_s: float) -> None:
    said = [
        *spoken("This one is said slowly.", word_s=0.5, speaker="A"),
        *spoken("So is this one.", start=2.5 + pause_s, word_s=0.5, speaker="B"),
    ]

    made = cues([segment(said)], STREAMING)

    assert round(made[1].start - made[0].end, 3) == shown_s


def test_broadcasting_has_no_gap_under_a_second() -> None:
    for seed in range(5):
        gaps = [(cue, round(after.start - cue.end, 3)) for cue, after in pairwise(cues(talk(seed), BROADCAST))]
        assert all(gap == 0 or gap >= 1.0 or cue.end - cue.start > BROADCAST.max_s - _TICK_S for cue, gap in gaps)


def test_a_very_long_name_stands_out_and_leaves_the_words_together() -> None:
    name = "The Right Honourable Member for Somewhere"
    made = cues([segment(spoken("Order, order in the house.", speaker=name))])

    assert [cue.labelled for cue in made] == [[f"{name}: Order, order in the house."]]


@pytest.mark.parametrize("preset", PRESETS)
def test_the_captions_of_a_job_are_those_of_its_preset_and_all_others_are_there_too(preset: str) -> None:
    said = [segment(spoken("I came home so late that night, and nobody was there."))]
    chosen = msgspec.convert({"caption_preset": preset}, Parameters).caption_preset

    files = export(
        segments=said, turns=[Turn(start=0, end=9, speaker="A")], language="en", duration_s=9.0, warnings=[],
        receipt=RECEIPT, preset=chosen,
    ).files  # fmt: skip

    assert set(files) == {"srt", "vtt", "json", "txt", "quality"} | {
        of_preset(one, name) for one in PRESETS for name in CAPTION_FORMATS
    }
    assert all(files[name] == files[of_preset(preset, name)] for name in CAPTION_FORMATS)
    assert files["social.srt"] != files["standard.srt"]
