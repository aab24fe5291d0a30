"""Puts words heard in a window, where the silence was taken out, back on the clock of the recording.

Every word lies inside one region of speech, words never overlap and never run backwards, and the words of a segment
joined are its text.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from contracts.transcript import Region, Segment, Word

PAUSE_S = 1.0
"""A pause that ends a segment; the end of a sentence is the other."""

_SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！")
_CLOSING = "\"'”’»)]}」』"


def on_recording(words: Sequence[Word], regions: Sequence[Region]) -> list[Word]:
    """`words` have seconds from the start of the window that `regions` make up, put end to end."""
    starts = [0.0, *accumulate(region.end - region.start for region in regions)][:-1]
    placed: list[Word] = []
    earliest, index = regions[0].start, 0
    for word in words:
        # Both ends go by the middle: a word that hangs over a cut belongs to the side where most of it is.
        middle = (word.start + word.end) / 2
        index = max(index, bisect_right(starts, middle) - 1)
        region, offset = regions[index], regions[index].start - starts[index]
        start = _clamp(word.start + offset, max(region.start, earliest), region.end)
        end = _clamp(word.end + offset, start, region.end)
        placed.append(Word(word=word.word, start=round(start, 3), end=round(end, 3), probability=word.probability))
        earliest = end
    return placed


def unheard(words: Sequence[Word], regions: Sequence[Region]) -> list[Region]:
    """What is left of `regions` after the last of `words`."""
    after = words[-1].end if words else regions[0].start
    return [Region(max(region.start, after), region.end) for region in regions if region.end > after]


def segments(words: Sequence[Word]) -> Iterator[Segment]:
    """Cuts the words of a window into sentences; ids are left for the caller to give."""
    current: list[Word] = []
    for word in words:
        if current and (_ends_sentence(current[-1]) or word.start - current[-1].end >= PAUSE_S):
            yield _segment(current)
            current = []
        current.append(word)
    if current:
        yield _segment(current)


def whole_words(words: Sequence[Word]) -> list[Word]:
    """Joins pieces of words. faster-whisper splits the English translation of a language without spaces by tokens."""
    joined: list[Word] = []
    for word in words:
        if joined and not word.word.startswith(" "):
            last = joined[-1]
            joined[-1] = Word(
                word=last.word + word.word,
                start=last.start,
                end=max(last.end, word.end),
                probability=min(last.probability, word.probability),
            )
        else:
            joined.append(word)
    return joined


def _segment(words: list[Word]) -> Segment:
    text = "".join(word.word for word in words)
    return Segment(id=0, start=words[0].start, end=words[-1].end, text=text, words=words)


def _ends_sentence(word: Word) -> bool:
    return word.word.rstrip(_CLOSING).endswith(_SENTENCE_ENDS)


def _clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)
