"""The files a user takes away. SubRip has no standard but its habit; WebVTT is the W3C's, voice spans included."""

import re
from collections.abc import Sequence

from contracts.transcript import Segment, Word
from services.exporter.cues import Cue, label, text_of

_PARAGRAPH_PAUSE_S = 3.0
_TIMING = re.compile(r"(\d:\d\d[,.]\d+\s*)-->")
"""What players take for the times of a caption, wherever it stands; SubRip has no way to quote it."""
_NOTHING = "(no speech was found in this recording)\n"


def srt(cues: Sequence[Cue]) -> bytes:
    """SubRip; a speaker is named where the speaker changes."""
    blocks = []
    for number, cue in enumerate(cues, start=1):
        text = _TIMING.sub(r"\1->", "\n".join(cue.labelled))
        blocks.append(f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{text}\n")
    return "\n".join(blocks).encode()


def vtt(cues: Sequence[Cue]) -> bytes:
    """WebVTT with a voice span on each cue."""
    blocks = ["WEBVTT\n"]
    for cue in cues:
        voice = f"<v {_escaped(cue.speaker)}>" if cue.speaker else ""
        text = "\n".join(_escaped(line) for line in cue.lines)
        blocks.append(f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{voice}{text}\n")
    return "\n".join(blocks).encode()


def txt(segments: Sequence[Segment]) -> bytes:
    """A paragraph each time somebody else speaks, or the same speaker goes on after a long pause."""
    paragraphs: list[list[Word]] = []
    for segment in segments:
        for word in segment.words:
            last = paragraphs[-1][-1] if paragraphs else None
            if last is None or last.speaker != word.speaker or word.start - last.end > _PARAGRAPH_PAUSE_S:
                paragraphs.append([])
            paragraphs[-1].append(word)
    texts = [f"{label(words[0].speaker)}{text_of(words)}\n" for words in paragraphs if text_of(words)]
    return ("\n".join(texts) or _NOTHING).encode()


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
