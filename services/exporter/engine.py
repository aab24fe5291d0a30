"""Words and turns to every output format; pure, so that two exporters make the same bytes."""

import msgspec

from contracts.transcript import Segment, Turn
from services.exporter.cues import cues
from services.exporter.formats import srt, txt, vtt
from services.exporter.join import join
from services.exporter.result import Receipt, Result

IDENTITY = "subtide/1"
"""Changes with the output: part of the key of what is stored."""

FORMATS = ("srt", "vtt", "json", "txt")


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """The files by format, and what the job says of them."""

    files: dict[str, bytes]
    speakers: int
    words: int


def export(
    *,
    segments: list[Segment],
    turns: list[Turn],
    language: str | None,
    duration_s: float,
    warnings: list[str],
    receipt: Receipt,
) -> Exported:
    """Join, caption and write. `segments` are in order and on one clock with `turns`."""
    joined = join(segments, turns)
    captions = cues(joined)
    result = Result(
        language=language,
        duration=duration_s,
        segments=joined,
        speakers=list(dict.fromkeys(turn.speaker for turn in turns)),
        turns=turns,
        warnings=warnings,
        receipt=receipt,
    )
    files = {
        "srt": srt(captions),
        "vtt": vtt(captions),
        "json": msgspec.json.encode(result, order="deterministic"),
        "txt": txt(joined),
    }
    return Exported(files=files, speakers=len(result.speakers), words=sum(len(segment.words) for segment in joined))
