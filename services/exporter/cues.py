"""Captions: what stands on the screen together, and for how long.

The limits are those of a preset (`contracts/captioning.py`), broken where a reader would break. Words come first: where
they leave no room for a limit, it gives way, and no word is ever left out.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import zip_longest

import msgspec

from contracts.captioning import STANDARD, Preset
from contracts.transcript import Segment, Word

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


def cues(segments: Sequence[Segment], preset: Preset = STANDARD) -> list[Cue]:
    """Captions in order, none overlapping the next; every word is in exactly one, and none has two speakers."""
    made: list[Cue] = []
    first = 0
    for run in _runs(segments, preset):
        speaker = run.words[0].speaker
        name = "" if made and made[-1].speaker == speaker else label(speaker)
        indent = _indent(name, preset)
        for begin, end in run.split(indent):
            if lines := run.lines(begin, end, 0):
                start, until = _times(run.words[begin:end], made[-1].end if made else 0.0, preset)
                labelled = run.lines(begin, end, indent)
                labelled[0] = name + labelled[0]
                span = (first + begin, first + end)
                made.append(Cue(start=start, end=until, lines=lines, labelled=labelled, speaker=speaker, words=span))
                name, indent = "", 0
        first += len(run.words)
    return [_lingering(cue, following, preset) for cue, following in zip_longest(made, made[1:])]


def label(speaker: str | None) -> str:
    """What is put before the words of a speaker where the format has no other way."""
    return f"{speaker}: " if speaker else ""


def text_of(words: Sequence[Word]) -> str:
    """Words as they are read: joined as Whisper spaced them, line ends made spaces."""
    return " ".join("".join(word.word for word in words).split())


def width(text: str) -> int:
    """Columns that a text takes; East Asian wide characters take two."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


class _Run:
    """Words of one speaker without a pause; captions never reach over its end.

    Every word is measured once: `text` and `width` of a range of words are what `text_of` makes of them.
    """

    def __init__(self, words: Sequence[Word], preset: Preset) -> None:
        self.words = words
        self._preset = preset
        self._at = [0]
        pieces: list[str] = []
        spaced = True
        for word in words:
            read = " ".join(word.word.split())
            before = "" if spaced or not word.word[:1].isspace() else " "
            after = " " if read and word.word[-1:].isspace() else ""
            piece = before + read + after
            spaced = piece.endswith(" ") if piece else spaced
            pieces.append(piece)
            self._at.append(self._at[-1] + len(piece))
        self._text = "".join(pieces)
        if self._text.isascii():
            self._columns: Sequence[int] = range(len(self._text) + 1)
        else:
            columns = [0]
            for character in self._text:
                columns.append(columns[-1] + _columns(character))
            self._columns = columns
        self._breakable = [False, *(_breakable(words[n - 1].word, words[n].word) for n in range(1, len(words)))]
        self._rests = [0.0, *(_rest(word.word) for word in words)]

    def split(self, indent: int) -> Iterator[tuple[int, int]]:
        """The ranges of words of the captions; the first has `indent` columns less."""
        first, count = 0, len(self.words)
        while first < count:
            end, fold = first + 1, None
            while end < count:
                if self._may_fold(first, end, indent):
                    fold = end
                if not self._fits(first, end + 1, indent, fold):
                    break
                end += 1
            end = self._best_break(first, end) if end < count else self._sentence_break(first)
            yield first, end
            first, indent = end, 0

    def lines(self, first: int, end: int, indent: int) -> list[str]:
        """As many lines as it takes; none where the words are blank. A word wider than a line stays whole."""
        text = self.text(first, end)
        if not text:
            return []
        if indent + self.width(first, end) <= self._preset.line_width:
            return [text]
        cut = self._line_break(first, end, indent)
        return [text] if cut is None else [self.text(first, cut), self.text(cut, end)]

    def text(self, first: int, end: int) -> str:
        start, stop = self._span(first, end)
        return self._text[start:stop]

    def width(self, first: int, end: int) -> int:
        start, stop = self._span(first, end)
        return self._columns[stop] - self._columns[start]

    def _span(self, first: int, end: int) -> tuple[int, int]:
        """Where the text of some words lies, without the spaces around it: there is never more than one in a row."""
        start, stop = self._at[first], self._at[end]
        if start < stop and self._text[start] == " ":
            start += 1
        if start < stop and self._text[stop - 1] == " ":
            stop -= 1
        return start, stop

    def _may_fold(self, first: int, cut: int, indent: int) -> bool:
        """Whether a second line may begin at word `cut`, as far as the first line goes."""
        if self._preset.lines == 1 or not self._breakable[cut]:
            return False
        return 0 < self.width(first, cut) <= self._preset.line_width - indent

    def _fits(self, first: int, end: int, indent: int, fold: int | None) -> bool:
        """`fold` is the latest word that a second line may begin with: no other leaves it more room."""
        if self.words[end - 1].end - self.words[first].start > self._preset.max_s:
            return False
        if indent + self.width(first, end) <= self._preset.line_width:
            return True
        return fold is not None and self.width(fold, end) <= self._preset.line_width

    def _best_break(self, first: int, end: int) -> int:
        """Where to end a caption that could hold the words `first` to `end`.

        Late, after punctuation or a pause, and not so that the last caption of the run is a stub.
        """

        def worth(cut: int) -> float:
            filled = (cut - first) / (end - first)
            pause = min(0.4, max(0.0, self.words[cut].start - self.words[cut - 1].end))
            ahead = self.width(cut, min(cut + _AHEAD, len(self.words)))
            stranded = max(0.0, 1.0 - 2 * ahead / self._preset.line_width)
            return filled + self._rests[cut] + pause - stranded

        later = range(first + max(1, (end - first) // 3), end + 1)
        cuts = [cut for cut in later if self._breakable[cut]] or list(later)
        if self._preset.lines == 1:  # a third of one line is over before it is read
            start = self.words[first].start
            cuts = [cut for cut in cuts if self.words[cut].start - start >= self._preset.min_s] or cuts
        return max(cuts, key=worth)

    def _sentence_break(self, first: int) -> int:
        """The rest fits in one caption; two sentences that each fill half a line are still better apart."""
        end = len(self.words)
        for cut in range(first + 1, end):
            rests = self._breakable[cut] and self._rests[cut] == 1.0
            if rests and min(self.width(first, cut), self.width(cut, end)) >= self._preset.line_width // 2:
                return cut
        return end

    def _line_break(self, first: int, end: int, indent: int) -> int | None:
        """The cut of the most balanced two lines, after punctuation by preference; None where none fits the width."""
        if self._preset.lines == 1:
            return None
        best: tuple[float, int] | None = None
        for cut in range(first + 1, end):
            if not self._breakable[cut]:
                continue
            upper, lower = self.width(first, cut), self.width(cut, end)
            if not upper or not lower or max(indent + upper, lower) > self._preset.line_width:
                continue
            upper += indent
            cost = abs(upper - lower) - (20 * self._rests[cut] if min(cut - first, end - cut) >= _FEW else 0)
            if best is None or cost < best[0]:
                best = (cost, cut)
        return best[1] if best else None


def _runs(segments: Sequence[Segment], preset: Preset) -> Iterator[_Run]:
    run: list[Word] = []
    for segment in segments:
        for word in segment.words:
            if run and (run[-1].speaker != word.speaker or word.start - run[-1].end > preset.pause_s):
                yield _Run(run, preset)
                run = []
            run.append(word)
    if run:
        yield _Run(run, preset)


def _indent(name: str, preset: Preset) -> int:
    """Columns that a name takes from the first line; one that would take most of it may stand out beyond instead."""
    columns = width(name)
    return columns if columns <= preset.line_width // 2 else 0


def _rest(word: str) -> float:
    """How well a reader may pause after a word."""
    read = word.strip().rstrip(_CLOSING)
    if read.endswith(_STRONG):
        return 1.0
    if read.endswith(_WEAK):
        return 0.5
    return -0.2 if width(read) <= _LITTLE else 0.0


def _breakable(before: str, after: str) -> bool:
    """Whether a line may end between two words: at a space, or beside a wide character, where none is written."""
    return before[-1:].isspace() or after[:1].isspace() or width(before[-1:]) == 2 or width(after[:1]) == 2


def _times(words: Sequence[Word], earliest: float, preset: Preset) -> tuple[float, float]:
    """When the words are heard, not before `earliest` and for some time; milliseconds."""
    start = max(words[0].start, earliest)
    end = max(start + _TICK_S, min(start + preset.max_s, max(word.end for word in words)))
    return round(start, 3), round(end, 3)


def _lingering(cue: Cue, following: Cue | None, preset: Preset) -> Cue:
    """A caption too short to read stays longer where the next leaves room, and a gap too short to be one is closed.

    For the least gap a caption gives up no more than half of the time that its words last.
    """
    reading_s = sum(width(line) for line in cue.lines) / preset.read_per_s
    wanted = cue.start + min(preset.max_s, max(preset.min_s, reading_s))
    if following is None:
        return msgspec.structs.replace(cue, end=round(max(cue.end, wanted), 3))
    latest = following.start - preset.gap_s
    end = max(cue.end, min(wanted, latest))
    if following.start - end < preset.chain_s:
        end = max(end, min(latest, cue.start + preset.max_s))
    if end > latest:
        end = max(latest, (cue.start + cue.end) / 2, cue.start + _TICK_S)
    return msgspec.structs.replace(cue, end=round(end, 3))
