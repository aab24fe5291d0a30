"""Captions: what stands on the screen together, and for how long.

The limits are those of common subtitling guides (BBC Subtitle Guidelines; Netflix Timed Text Style Guide): two lines
of 42 characters, at most 7 seconds, broken where a reader would break.
"""

import unicodedata
from collections.abc import Sequence

import msgspec

from contracts.transcript import Segment, Word

LINE_WIDTH = 42
MAX_LINES = 2
MAX_S = 7.0
MIN_S = 1.0
PAUSE_S = 0.8
"""Silence of this length ends a caption."""

_TICK_S = 0.001
_STRONG = (".", "?", "!", "…", "。", "？", "！")
_WEAK = (",", ";", ":", "—", "–", "、", "，", "；", "：")


class Cue(msgspec.Struct, frozen=True, kw_only=True):
    """One caption. `words` are the indices, in the transcript, of the words it shows."""

    start: float
    end: float
    lines: list[str]
    speaker: str | None
    words: tuple[int, int]


def cues(segments: Sequence[Segment]) -> list[Cue]:
    """Captions in order, none overlapping the next; every word is in exactly one, and none has two speakers."""
    made: list[Cue] = []
    first = 0
    for run in _runs(segments):
        for words in _split(run):
            lines = _lines(words)
            if lines:
                start = max(words[0].start, made[-1].end if made else 0.0)
                end = max(max(word.end for word in words), start + _TICK_S)
                made.append(
                    Cue(start=start, end=end, lines=lines, speaker=words[0].speaker, words=(first, first + len(words)))
                )
            first += len(words)
    return _timed(made)


def text_of(words: Sequence[Word]) -> str:
    """Words as they are read: joined as Whisper spaced them, line ends made spaces."""
    return " ".join("".join(word.word for word in words).split())


def width(text: str) -> int:
    """Columns that a text takes; East Asian wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _runs(segments: Sequence[Segment]) -> list[list[Word]]:
    """Words of one speaker without a pause: captions never reach over the end of a run."""
    runs: list[list[Word]] = []
    for segment in segments:
        for word in segment.words:
            last = runs[-1][-1] if runs else None
            if last is None or last.speaker != word.speaker or word.start - last.end > PAUSE_S:
                runs.append([])
            runs[-1].append(word)
    return runs


def _split(run: Sequence[Word]) -> list[Sequence[Word]]:
    parts: list[Sequence[Word]] = []
    first = 0
    while first < len(run):
        end = first + 1
        while end < len(run) and _fits(run[first : end + 1]):
            end += 1
        end = _best_break(run, first, end) if end < len(run) else _sentence_break(run, first)
        parts.append(run[first:end])
        first = end
    return parts


def _fits(words: Sequence[Word]) -> bool:
    if words[-1].end - words[0].start > MAX_S:
        return False
    return width(text_of(words)) <= LINE_WIDTH or _two_lines(words) is not None


def _best_break(run: Sequence[Word], first: int, end: int) -> int:
    """Where to end a caption that could hold the words `first` to `end`: late, and after punctuation or a pause."""

    def worth(cut: int) -> float:
        filled = (cut - first) / (end - first)
        after = run[cut - 1].word.rstrip()
        mark = 1.0 if after.endswith(_STRONG) else 0.5 if after.endswith(_WEAK) else 0.0
        pause = min(0.4, max(0.0, run[cut].start - run[cut - 1].end))
        return filled + mark + pause

    return max(range(first + max(1, (end - first) // 3), end + 1), key=worth)


def _sentence_break(run: Sequence[Word], first: int) -> int:
    """The rest fits in one caption; two sentences that each fill a line are still better apart."""
    for cut in range(first + 1, len(run)):
        if (
            run[cut - 1].word.rstrip().endswith(_STRONG)
            and width(text_of(run[first:cut])) >= LINE_WIDTH // 2
            and width(text_of(run[cut:])) >= LINE_WIDTH // 2
        ):
            return cut
    return len(run)


def _lines(words: Sequence[Word]) -> list[str]:
    text = text_of(words)
    if not text:
        return []
    if width(text) <= LINE_WIDTH:
        return [text]
    return _two_lines(words) or [text]


def _two_lines(words: Sequence[Word]) -> list[str] | None:
    """The most balanced two lines, after punctuation by preference; None where no cut fits the width."""
    best: tuple[float, list[str]] | None = None
    for cut in range(1, len(words)):
        lines = [text_of(words[:cut]), text_of(words[cut:])]
        if not all(lines) or max(width(line) for line in lines) > LINE_WIDTH:
            continue
        cost = abs(width(lines[0]) - width(lines[1])) - (8 if lines[0].endswith(_STRONG + _WEAK) else 0)
        if best is None or cost < best[0]:
            best = (cost, lines)
    return best[1] if best else None


def _timed(made: list[Cue]) -> list[Cue]:
    """Captions too short to read stay longer where the next leaves room."""
    timed = []
    for cue, following in zip(made, [*made[1:], None], strict=True):
        wanted = max(cue.end, cue.start + MIN_S)
        room = following.start if following is not None else wanted
        timed.append(msgspec.structs.replace(cue, end=round(max(min(wanted, room), cue.start + _TICK_S), 3)))
    return timed
