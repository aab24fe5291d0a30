"""The files a user takes away. SubRip has no standard but its habit; WebVTT is the W3C's, voice spans included."""

from collections.abc import Sequence
from itertools import groupby

from contracts.transcript import Segment
from services.exporter.cues import Cue, text_of

_NOTHING = "(no speech was found in this recording)\n"


def srt(cues: Sequence[Cue]) -> bytes:
    """SubRip; a speaker is named where the speaker changes."""
    blocks = []
    speaker = None
    for number, cue in enumerate(cues, start=1):
        label = f"{cue.speaker}: " if cue.speaker and cue.speaker != speaker else ""
        speaker = cue.speaker
        text = "\n".join(cue.lines)
        blocks.append(f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{label}{text}\n")
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
    """A paragraph each time somebody else speaks."""
    paragraphs = []
    words = [word for segment in segments for word in segment.words]
    for speaker, run in groupby(words, key=lambda word: word.speaker):
        text = text_of(list(run))
        paragraphs.append(f"{speaker}: {text}\n" if speaker else f"{text}\n")
    return ("\n".join(paragraphs) or _NOTHING).encode()


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
