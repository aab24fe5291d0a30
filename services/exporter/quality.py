"""Measures captions against their limits. What it says of a caption it reads from the caption itself, and never from
how it was made; so that a fault in the making shows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

from contracts.captioning import PRESETS, Preset, PresetName
from contracts.quality import BROKEN_MAX, Broken, Finding, PresetQuality, Quality, Rule
from contracts.transcript import Segment, Word
from services.exporter.cues import Cue, width

DOUBTFUL = 0.4
"""Below this a word is likely enough wrong to be looked at."""
_HALF_TICK_S = 0.0005
"""Times are rounded to milliseconds, so by so much they may miss a limit that they were made for."""


def report(
    segments: Sequence[Segment], captions: Mapping[PresetName, Sequence[Cue]], *, duration_s: float, warnings: list[str]
) -> Quality:
    """The report on a transcript and on its captions of each preset."""
    words = [word for segment in segments for word in segment.words]
    letters = [_letters(word.word) for word in words]
    said = [word for word, read in zip(words, letters, strict=True) if read]
    silence_s, silence_at = _longest_silence(said, duration_s)
    return Quality(
        words=len(said),
        mean_probability=round(sum(word.probability for word in said) / len(said), 4) if said else None,
        doubtful_words=sum(word.probability < DOUBTFUL for word in said),
        doubtful_below=DOUBTFUL,
        attributed=_attributed(said),
        longest_silence_s=silence_s,
        longest_silence_at=silence_at,
        warnings=warnings,
        presets=[_of_preset(name, PRESETS[name], letters, cues) for name, cues in captions.items()],
    )


def _of_preset(name: PresetName, preset: Preset, letters: Sequence[str], cues: Sequence[Cue]) -> PresetQuality:
    shown = _shown(letters, cues)
    measures = [
        (Rule.READING_SPEED, preset.read_per_s, _speeds(cues)),
        (Rule.LINE_WIDTH, preset.line_width, _each(cues, _widest)),
        (Rule.LINES, preset.lines, _each(cues, lambda cue: max(len(cue.lines), len(cue.labelled)))),
        (Rule.TOO_SHORT, preset.min_s, _each(cues, _lasts)),
        (Rule.TOO_LONG, preset.max_s, _each(cues, _lasts)),
        (Rule.GAP, preset.gap_s, _gaps(cues)),
    ]
    findings, broken = [], []
    for rule, limit, measured in measures:
        values = list(measured)
        least = rule in (Rule.TOO_SHORT, Rule.GAP)
        wrong = [
            Broken(caption=n + 1, start=cues[n].start, end=cues[n].end, rule=rule, value=value)
            for n, value in values
            if (limit - value if least else value - limit) > _HALF_TICK_S
        ]
        broken += wrong
        findings.append(
            Finding(
                rule=rule,
                limit=limit,
                worst=(min if least else max)((value for _, value in values), default=None),
                captions=len(wrong),
                share=round(len(wrong) / len(cues), 4) if cues else 0.0,
            )
        )
    broken.sort(key=lambda one: one.caption)
    apart = len({one.caption for one in broken})
    return PresetQuality(
        preset=name,
        limits=preset,
        captions=len(cues),
        words=shown,
        words_dropped=sum(1 for read in letters if read) - shown,
        within_limits=round(1 - apart / len(cues), 4) if cues else 1.0,
        findings=findings,
        broken=broken[:BROKEN_MAX],
    )


def _shown(letters: Sequence[str], cues: Sequence[Cue]) -> int:
    """How many words can be read in the lines of the caption that is to show them."""
    shown = set()
    for cue in cues:
        left = _letters("".join(cue.lines))
        for n in range(*cue.words):
            if letters[n] and left.startswith(letters[n]):
                left = left[len(letters[n]) :]
                shown.add(n)
    return len(shown)


def _letters(text: str) -> str:
    return "".join(text.split())


def _lasts(cue: Cue) -> float:
    return round(cue.end - cue.start, 3)


def _widest(cue: Cue) -> float:
    return max(width(line) for line in (*cue.lines, *cue.labelled))


def _each(cues: Sequence[Cue], measure: Callable[[Cue], float]) -> Iterator[tuple[int, float]]:
    return ((n, measure(cue)) for n, cue in enumerate(cues))


def _speeds(cues: Sequence[Cue]) -> Iterator[tuple[int, float]]:
    """Characters a second; to a tenth, which is more than the rounding of times makes of it."""
    for n, cue in enumerate(cues):
        yield n, round(sum(map(width, cue.lines)) / max(_lasts(cue), 0.001), 1)


def _gaps(cues: Sequence[Cue]) -> Iterator[tuple[int, float]]:
    """Seconds between a caption and the next; of the last there is none."""
    return ((n, round(following.start - cue.end, 3)) for n, (cue, following) in enumerate(pairwise(cues)))


def _attributed(said: Sequence[Word]) -> float | None:
    if not said:
        return None
    total_s = sum(word.end - word.start for word in said)
    if total_s <= 0:
        return round(sum(word.speaker is not None for word in said) / len(said), 4)
    return round(sum(word.end - word.start for word in said if word.speaker is not None) / total_s, 4)


def _longest_silence(said: Sequence[Word], duration_s: float) -> tuple[float, float]:
    """The longest stretch without a word, and where it begins."""
    longest_s, at, heard_to = 0.0, 0.0, 0.0
    for start, end in [*((word.start, word.end) for word in said), (duration_s, duration_s)]:
        if start - heard_to > longest_s:
            longest_s, at = start - heard_to, heard_to
        heard_to = max(heard_to, end)
    return round(longest_s, 3), round(at, 3)
