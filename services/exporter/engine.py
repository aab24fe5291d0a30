"""Words and turns to every output format; pure, so that two exporters make the same bytes."""

import msgspec

from contracts.captioning import PRESETS, PresetName, of_preset
from contracts.quality import QUALITY
from contracts.transcript import Segment, Turn
from services.exporter.cues import Cue, cues
from services.exporter.formats import srt, txt, vtt
from services.exporter.join import join
from services.exporter.quality import report
from services.exporter.result import Receipt, Result

IDENTITY = "subtide/2"
"""Changes with the output: part of the key of what is stored."""


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """The files, and what the job says of them."""

    files: dict[str, bytes]
    """By format, in the preset asked for; captions of each preset as `of_preset` says; the quality report."""
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
    preset: PresetName = "standard",
) -> Exported:
    """Join, caption and write. `segments` are in order and on one clock with `turns`."""
    result = Result(
        language=language,
        duration=duration_s,
        segments=join(segments, turns),
        speakers=list(dict.fromkeys(turn.speaker for turn in turns)),
        turns=turns,
        warnings=warnings,
        receipt=receipt,
    )
    return write(result, preset)


def write(result: Result, preset: PresetName) -> Exported:
    """Caption and write what is joined already."""
    joined = result.segments
    captions = {name: cues(joined, limits) for name, limits in PRESETS.items()}
    quality = report(joined, captions, duration_s=result.duration, warnings=result.warnings)
    written = {name: _written(made) for name, made in captions.items()}
    files = {
        **written[preset],
        "json": msgspec.json.encode(result, order="deterministic"),
        "txt": txt(joined),
        QUALITY: msgspec.json.encode(quality, order="deterministic"),
        **{of_preset(name, one): content for name, files in written.items() for one, content in files.items()},
    }
    return Exported(files=files, speakers=len(result.speakers), words=sum(len(segment.words) for segment in joined))


def _written(captions: list[Cue]) -> dict[str, bytes]:
    return {"srt": srt(captions), "vtt": vtt(captions)}
