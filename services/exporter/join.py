"""Who said each word: turns of the diarization laid over the words of the transcript.

Whisper's word times are good at a word's end and poor at the start of a word after a pause, and the diarization's
turn boundaries are a few tenths of a second off; so a change of speaker is moved to the nearest natural boundary.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import groupby

import msgspec

from contracts.transcript import Segment, Turn, Word

_SPOKEN_S = 0.6
"""A word is judged by its last so many seconds: a longer one has swallowed the pause before it."""
_INSTANT_S = 0.02
"""What a word without duration is taken to last."""
_ALIKE = 0.9
"""Turns that cover a word to this share of the best cover it alike."""
_FALLS_SILENT_S = 0.3
"""A turn that ends so soon after a word is about to be over."""
_NEAR_S = 1.0
"""How far from any turn a word may be and still be given to the nearest."""
_SNAP_WORDS = 2
_SNAP_S = 0.8
"""A change of speaker is moved by at most so many words, and so many seconds."""
_PAUSE_S = 0.3
_SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！")


def join(segments: Sequence[Segment], turns: Sequence[Turn]) -> list[Segment]:
    """The same words in the same order, each once, each with its speaker; a segment has one speaker.

    Without turns nobody is named.
    """
    words = [word for segment in segments for word in segment.words]
    speakers = _speakers(words, turns)
    joined: list[Segment] = []
    first = 0
    for segment in segments:
        labelled = list(zip(segment.words, speakers[first : first + len(segment.words)], strict=True))
        first += len(segment.words)
        for speaker, run in groupby(labelled, key=lambda pair: pair[1]):
            said = [msgspec.structs.replace(word, speaker=speaker) for word, _ in run]
            joined.append(
                Segment(
                    id=len(joined),
                    start=said[0].start,
                    end=max(said[0].start, *(word.end for word in said)),
                    text="".join(word.word for word in said),
                    speaker=speaker,
                    words=said,
                )
            )
    return joined


def _speakers(words: Sequence[Word], turns: Sequence[Turn]) -> list[str | None]:
    if not turns:
        return [None] * len(words)
    index = _TurnIndex(turns)
    speakers: list[str | None] = []
    for n, word in enumerate(words):
        current = speakers[-1] if speakers else None
        speakers.append(index.speaker_of(word, current, may_change=_is_boundary(words, n)))
    _snap_to_sentences(words, speakers)
    _smooth(words, speakers)
    return speakers


class _TurnIndex:
    """Turns sorted by start, with the longest turn so far, so that a word looks at few of them."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._turns = sorted(turns, key=lambda turn: turn.start)
        self._starts = [turn.start for turn in self._turns]
        self._longest_s = max(turn.end - turn.start for turn in self._turns)

    def speaker_of(self, word: Word, current: str | None, *, may_change: bool) -> str | None:
        """Whoever covers the word best; of those who cover it alike, whoever has the floor and is not just ending."""
        end = max(word.end, word.start)
        start = min(max(word.start, end - _SPOKEN_S), end - _INSTANT_S)
        near = self._near(start - _NEAR_S, end + _NEAR_S)
        covered: dict[str, float] = {}
        lasts: dict[str, float] = {}
        for turn in near:
            overlap_s = min(turn.end, end) - max(turn.start, start)
            if overlap_s > 0:
                covered[turn.speaker] = covered.get(turn.speaker, 0.0) + overlap_s
                lasts[turn.speaker] = max(lasts.get(turn.speaker, 0.0), turn.end)
        if covered:
            alike = [who for who in covered if covered[who] >= _ALIKE * max(covered.values())]
            if current in alike and not (may_change and lasts[current] - end < _FALLS_SILENT_S):
                return current
            going_on = [who for who in alike if may_change and lasts[who] - end >= _FALLS_SILENT_S]
            return max(going_on or alike, key=lambda who: (who == current, covered[who]))
        if near:
            return min(near, key=lambda turn: max(turn.start - end, start - turn.end)).speaker
        return current if current is not None else self._turns[0].speaker

    def _near(self, start: float, end: float) -> list[Turn]:
        first = bisect_left(self._starts, start - self._longest_s)
        last = bisect_left(self._starts, end)
        return [turn for turn in self._turns[first:last] if turn.end > start]


def _snap_to_sentences(words: Sequence[Word], speakers: list[str | None]) -> None:
    """Move a change of speaker that splits a sentence to the sentence's nearest edge."""
    for change in range(1, len(words)):
        if speakers[change] == speakers[change - 1] or _is_boundary(words, change):
            continue
        for distance in range(1, _SNAP_WORDS + 1):
            earlier, later = change - distance, change + distance
            if (
                earlier >= 0
                and _is_boundary(words, earlier)
                and words[change].start - words[earlier].start <= _SNAP_S
                and _same(speakers, earlier, change)
            ):
                speakers[earlier:change] = [speakers[change]] * distance
                break
            if (
                later <= len(words)
                and _is_boundary(words, later)
                and words[later - 1].end - words[change].start <= _SNAP_S
                and _same(speakers, change, later)
            ):
                speakers[change:later] = [speakers[change - 1]] * distance
                break


def _smooth(words: Sequence[Word], speakers: list[str | None]) -> None:
    """A single word between two runs of one other speaker, in the middle of a sentence, is theirs."""
    for n in range(1, len(words) - 1):
        if (
            speakers[n - 1] == speakers[n + 1] != speakers[n]
            and not _is_boundary(words, n)
            and not _is_boundary(words, n + 1)
        ):
            speakers[n] = speakers[n - 1]


def _is_boundary(words: Sequence[Word], n: int) -> bool:
    """Whether a speaker may well change before word `n`: a sentence ends there, or somebody pauses."""
    if not 0 < n < len(words):
        return True
    return words[n - 1].word.rstrip().endswith(_SENTENCE_ENDS) or words[n].start - words[n - 1].end >= _PAUSE_S


def _same(speakers: Sequence[str | None], first: int, end: int) -> bool:
    return len(set(speakers[first:end])) == 1
