"""What an owner may correct of a transcript, and the transcript as it is then. Pure: knows neither log nor store.

Words are numbered over the whole transcript from 0, as they stand in the version that is corrected. A corrected word
keeps its time; several words in its place share it, and none leaves a gap. Nobody doubts what a person wrote.
"""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import msgspec

from contracts.transcript import Segment, Transcript, Word
from services.gateway.problems import Problem

CHANGES_MAX = 10_000
"""Changes of one correction."""
TEXT_MAX = 200
"""Characters in the place of one word."""
NAME_MAX = 80
"""Characters of a speaker's name."""
NUMBER_MAX = 2**31 - 1
_HIDDEN = ("Cc", "Cs")

Number = Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)]


class WordChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands in the place of a word: nothing, one word or several."""

    word: Number
    text: str


class Correction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """New names and words, or an earlier version brought back."""

    based_on: Number
    speakers: dict[str, str] = {}
    """Names as they are, and as they are to be. Two speakers with one name are one speaker from then on."""
    words: list[WordChange] = []
    restore: Number | None = None


class Corrected(msgspec.Struct, frozen=True, kw_only=True):
    """The transcript, and how much of it was changed."""

    transcript: Transcript
    words: int
    speakers: int


def checked(asked: Correction) -> Correction:
    """What was asked, if it may be asked of any transcript. Raises Problem naming the field and the limit."""
    if asked.restore is not None and (asked.speakers or asked.words):
        raise Problem(
            422, "conflicting_parameters", "Either restore a version, or change words and names.", field="restore"
        )
    count = len(asked.words) + len(asked.speakers)
    if count > CHANGES_MAX:
        raise Problem(
            400,
            "too_many_changes",
            f"These are {count:,} changes, and at most {CHANGES_MAX:,} are taken at once.",
            field="words",
        )
    for n, change in enumerate(asked.words):
        _check_text("words", f"words[{n}].text", change.text, TEXT_MAX)
    for name in asked.speakers.values():
        _check_text("speakers", "The name of a speaker", name, NAME_MAX)
        if not name:
            raise Problem(
                400,
                "invalid_parameter",
                f"The name of a speaker has 0 characters: it needs 1 to {NAME_MAX}.",
                field="speakers",
            )
    return asked


def corrected(base: Transcript, correction: Correction) -> Corrected:
    """The transcript after a correction. Raises Problem where it names what is not there, or changes nothing."""
    names = _names(base, correction.speakers)
    changes = _changes(base, correction.words)
    segments: list[Segment] = []
    first = 0
    for segment in base.segments:
        words = list(enumerate(_words(segment), first))
        first += len(words)
        kept = segment
        if any(n in changes for n, _ in words):
            said = [piece for n, word in words for piece in _pieces(word, changes.get(n))]
            if not said:
                continue
            kept = _of(segment, said)
        segments.append(_renamed(kept, names, len(segments)))
    transcript = Transcript(
        segments=segments,
        speakers=list(dict.fromkeys(names.get(speaker, speaker) for speaker in base.speakers)),
        turns=[msgspec.structs.replace(turn, speaker=names.get(turn.speaker, turn.speaker)) for turn in base.turns],
    )
    return differing(base, Corrected(transcript=transcript, words=len(changes), speakers=len(names)))


def differing(base: Transcript, made: Corrected) -> Corrected:
    """What was made of a transcript. Raises Problem where it is the same."""
    if made.transcript == base:
        raise Problem(422, "nothing_changed", "The transcript is so already: nothing would change.")
    return made


def _check_text(field: str, what: str, text: str, most: int) -> None:
    if len(text) > most:
        raise Problem(
            400,
            "text_too_long",
            f"{what} has {len(text):,} characters, and at most {most} are taken.",
            field=field,
        )
    hidden = next((one for one in text if unicodedata.category(one) in _HIDDEN), None)
    if hidden is not None:
        raise Problem(
            400, "invalid_text", f"{what} has the control character U+{ord(hidden):04X}, which has no place in it.",
            field=field,
        )  # fmt: skip


def _names(base: Transcript, asked: Mapping[str, str]) -> dict[str, str]:
    """The names that change."""
    names = {}
    for before, after in asked.items():
        if before not in base.speakers:
            raise Problem(
                422, "unknown_speaker", f"There is no speaker {before[:NAME_MAX]} in this version.", field="speakers"
            )
        name = " ".join(after.split())
        if not name:
            raise Problem(422, "blank_name", "The name of a speaker needs more than spaces.", field="speakers")
        if name != before:
            names[before] = name
    return names


def _changes(base: Transcript, asked: Sequence[WordChange]) -> dict[int, list[str]]:
    """What is to stand in the place of each word that changes."""
    words = [word for segment in base.segments for word in _words(segment)]
    changes: dict[int, list[str]] = {}
    seen: set[int] = set()
    for change in asked:
        if change.word >= len(words):
            raise Problem(
                422,
                "unknown_word",
                f"There is no word {change.word:,}: this version has {len(words):,}, counted from 0.",
                field="words",
            )
        if change.word in seen:
            raise Problem(422, "word_twice", f"Word {change.word:,} is changed twice.", field="words")
        seen.add(change.word)
        pieces = change.text.split()
        if pieces != words[change.word].word.split():
            changes[change.word] = pieces
    return changes


def _words(segment: Segment) -> Sequence[Word]:
    """The words of a segment; one that was not taken apart is one word."""
    if segment.words:
        return segment.words
    return [
        Word(word=segment.text, start=segment.start, end=segment.end, probability=1.0, speaker=segment.speaker),
    ]


def _pieces(word: Word, text: list[str] | None) -> Iterator[Word]:
    if text is None:
        yield word
        return
    before = word.word[: len(word.word) - len(word.word.lstrip())]
    after = word.word[len(word.word.rstrip()) :] if word.word.strip() else ""
    letters = sum(map(len, text))
    lasts_s = max(0.0, word.end - word.start)
    at, start = 0, word.start
    for n, piece in enumerate(text):
        at += len(piece)
        end = word.end if at == letters else round(word.start + lasts_s * at / letters, 3)
        written = (before if n == 0 else " ") + piece + (after if at == letters else "")
        yield msgspec.structs.replace(word, word=written, start=start, end=end, probability=1.0)
        start = end


def _of(segment: Segment, said: list[Word]) -> Segment:
    return msgspec.structs.replace(
        segment,
        start=said[0].start,
        end=max(said[0].start, *(word.end for word in said)),
        text="".join(word.word for word in said),
        words=said,
    )


def _renamed(segment: Segment, names: Mapping[str, str], number: int) -> Segment:
    words = segment.words
    if any(word.speaker in names for word in words):
        words = [msgspec.structs.replace(word, speaker=_name(word.speaker, names)) for word in words]
    return msgspec.structs.replace(segment, id=number, speaker=_name(segment.speaker, names), words=words)


def _name(speaker: str | None, names: Mapping[str, str]) -> str | None:
    return None if speaker is None else names.get(speaker, speaker)
