"""Captions: what stands on the screen together, and for how long.

The limits are those of common subtitling guides (BBC Subtitle Guidelines; Netflix Timed Text Style Guide): two lines
of 42 characters, at most 7 seconds, 17 characters a second, broken where a reader would break.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import zip_longest

import msgspec

from contracts.transcript import Segment, Word

LINE_WIDTH = 42
MAX_S = 7.0
MIN_S = 1.0
READ_PER_S = 17.0
"""Columns that a viewer reads in a second."""
PAUSE_S = 0.8
"""Silence of this length ends a caption."""

_TICK_S = 0.001
_STRONG = (".", "?", "!", "…", "。", "？", "！")
_WEAK = (",", ";", ":", "—", "–", "、", "，", "；", "：")
_CLOSING = "\"'”’»)]}」』"
_AHEAD = 10
_LITTLE = 3
"""Words up to this long are mostly articles and conjunctions, which belong to what follows."""
_FEW = 3
"""A line of fewer words is worth no break, whatever mark it ends with."""


class Cue(msgspec.Struct, frozen=True, kw_only=True):
    """One caption, seconds. `words` is the range, in the transcript, of the words it shows."""

    start: float
    end: float
    lines: list[str]
    labelled: list[str]
    """The lines for a format that cannot say who speaks: where the speaker changes, the name comes first."""
    speaker: str | None
    words: tuple[int, int]


def cues(segments: Sequence[Segment]) -> list[Cue]:
    """Captions in order, none overlapping the next; every word is in exactly one, and none has two speakers."""
    made: list[Cue] = []
    first = 0
    for run in _runs(segments):
        speaker = run[0].speaker
        name = "" if made and made[-1].speaker == speaker else label(speaker)
        for words in _split(run, indent=width(name)):
            if lines := _lines(words, 0):
                start, end = _times(words, made[-1].end if made else 0.0)
                labelled = _lines(words, width(name))
                labelled[0] = name + labelled[0]
                span = (first, first + len(words))
                made.append(Cue(start=start, end=end, lines=lines, labelled=labelled, speaker=speaker, words=span))
                name = ""
            first += len(words)
    return [_lingering(cue, following) for cue, following in zip_longest(made, made[1:])]


def label(speaker: str | None) -> str:
    """What is put before the words of a speaker where the format has no other way."""
    return f"{speaker}: " if speaker else ""


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


def _split(run: Sequence[Word], indent: int) -> Iterator[Sequence[Word]]:
    first = 0
    while first < len(run):
        end = first + 1
        while end < len(run) and _fits(run[first : end + 1], indent):
            end += 1
        end = _best_break(run, first, end) if end < len(run) else _sentence_break(run, first)
        yield run[first:end]
        first, indent = end, 0


def _fits(words: Sequence[Word], indent: int) -> bool:
    if words[-1].end - words[0].start > MAX_S:
        return False
    return indent + width(text_of(words)) <= LINE_WIDTH or _two_lines(words, indent) is not None


def _best_break(run: Sequence[Word], first: int, end: int) -> int:
    """Where to end a caption that could hold the words `first` to `end`.

    Late, after punctuation or a pause, and not so that the last caption of the run is a stub.
    """

    def worth(cut: int) -> float:
        filled = (cut - first) / (end - first)
        pause = min(0.4, max(0.0, run[cut].start - run[cut - 1].end))
        stranded = max(0.0, 1.0 - 2 * width(text_of(run[cut : cut + _AHEAD])) / LINE_WIDTH)
        return filled + _rest(run[cut - 1].word) + pause - stranded

    cuts = range(first + max(1, (end - first) // 3), end + 1)
    return max([cut for cut in cuts if _breakable(run, cut)] or cuts, key=worth)


def _rest(word: str) -> float:
    """How well a reader may pause after a word."""
    read = word.strip().rstrip(_CLOSING)
    if read.endswith(_STRONG):
        return 1.0
    if read.endswith(_WEAK):
        return 0.5
    return -0.2 if width(read) <= _LITTLE else 0.0


def _sentence_break(run: Sequence[Word], first: int) -> int:
    """The rest fits in one caption; two sentences that each fill half a line are still better apart."""
    for cut in range(first + 1, len(run)):
        sides = (run[first:cut], run[cut:])
        rests = _breakable(run, cut) and _rest(run[cut - 1].word) == 1.0
        if rests and all(width(text_of(side)) >= LINE_WIDTH // 2 for side in sides):
            return cut
    return len(run)


def _lines(words: Sequence[Word], indent: int) -> list[str]:
    """One line or two; none where the words are blank. A word wider than a line stays whole."""
    text = text_of(words)
    if not text:
        return []
    if indent + width(text) <= LINE_WIDTH:
        return [text]
    return _two_lines(words, indent) or [text]


def _two_lines(words: Sequence[Word], indent: int) -> list[str] | None:
    """The most balanced two lines, after punctuation by preference; None where no cut fits the width."""
    best: tuple[float, list[str]] | None = None
    for cut in range(1, len(words)):
        lines = [text_of(words[:cut]), text_of(words[cut:])]
        widths = (indent + width(lines[0]), width(lines[1]))
        if not _breakable(words, cut) or not all(lines) or max(widths) > LINE_WIDTH:
            continue
        cost = abs(widths[0] - widths[1]) - (
            20 * _rest(words[cut - 1].word) if min(cut, len(words) - cut) >= _FEW else 0
        )
        if best is None or cost < best[0]:
            best = (cost, lines)
    return best[1] if best else None


def _breakable(words: Sequence[Word], cut: int) -> bool:
    """Whether a line may end before word `cut`: at a space, or beside a wide character, where none is written."""
    before, after = words[cut - 1].word, words[cut].word
    return before[-1:].isspace() or after[:1].isspace() or width(before[-1:]) == 2 or width(after[:1]) == 2


def _times(words: Sequence[Word], earliest: float) -> tuple[float, float]:
    """When the words are heard, not before `earliest` and for some time; milliseconds."""
    start = max(words[0].start, earliest)
    end = max(start + _TICK_S, min(start + MAX_S, max(word.end for word in words)))
    return round(start, 3), round(end, 3)


def _lingering(cue: Cue, following: Cue | None) -> Cue:
    """A caption too short to read stays longer where the next leaves room."""
    reading_s = sum(width(line) for line in cue.lines) / READ_PER_S
    wanted = cue.start + min(MAX_S, max(MIN_S, reading_s))
    room = wanted if following is None else following.start
    return msgspec.structs.replace(cue, end=round(max(cue.end, min(wanted, room)), 3))
