"""`python -m benchmarks.diarization_settings [MEDIA]`: what the diarizer's setting was chosen by.

Thirty seconds say little of a threshold, so each excerpt is heard four times, each time from a little later, and all
of them once more in a row, as a long recording of many speakers. Error rates are without a collar, overlap scored.
Times are processor seconds of one thread, which a busy machine distorts least. Takes about ten minutes.
"""

import contextlib
import io
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import media
from chassis.models import models_dir
from services.diarizer.engine import Setting, assemble

EXCERPTS = ("phone-call", "meeting-04", "meeting-06", "meeting-07", "meeting-08")
EXCERPT_S = 30.0
LATER_S = (0.0, 0.6, 1.3, 1.9)
ONE_SPEAKER = ("jfk.flac", "read-en.wav", "read-es.wav")
PUBLISHED = [
    Setting(step=0.1, method="centroid", threshold=0.7, min_cluster_size=12, exclude_overlap=False),
    Setting(step=0.25, method="average", threshold=0.4, min_cluster_size=12, exclude_overlap=False),
]
"""The two that the issue names."""
STEPS = (0.2, 0.25, 0.3, 0.35, 0.5)
THRESHOLDS = (0.2, 0.25, 0.3, 0.34, 0.42, 0.46)
CLUSTER_SIZES = (3, 5, 12)


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """A sound, who speaks in it, and what the networks made of it."""

    name: str
    truth: Any
    duration_s: float
    segmentations: Any
    embeddings: Any


def main() -> None:
    """Print the table."""
    place = media.folder()
    os.environ["OMP_NUM_THREADS"] = "1"
    chosen = Setting()
    variants = [
        *PUBLISHED,
        chosen,
        *(msgspec.structs.replace(chosen, step=step) for step in STEPS if step != chosen.step),
        msgspec.structs.replace(chosen, exclude_overlap=False),
        msgspec.structs.replace(chosen, method="centroid", threshold=0.7),
        *(msgspec.structs.replace(chosen, threshold=threshold) for threshold in THRESHOLDS),
        *(msgspec.structs.replace(chosen, min_cluster_size=size) for size in CLUSTER_SIZES),
    ]
    table = Table(title="error rate: mean of four starts (worst); the third line is what the diarizer uses")
    for column in ("setting", "s per 10 min", *EXCERPTS, "all in a row (speakers)", "lone voices"):
        table.add_column(column)
    heard: dict[tuple[float, bool], tuple[float, list[Heard]]] = {}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for setting in variants:
            pipeline = assemble(models_dir(), setting)
            networks = (setting.step, setting.exclude_overlap)
            if networks not in heard:
                print(f"listening: step {setting.step}, overlap excluded: {setting.exclude_overlap}", file=sys.stderr)
                heard[networks] = _heard(pipeline, place, setting)
            table.add_row(*_row(pipeline, setting, *heard[networks]))
    Console(width=170).print(table)


def _heard(pipeline: Any, place: Path, setting: Setting) -> tuple[float, list[Heard]]:
    """Both networks over every sound, and the seconds they take for ten minutes."""
    import torch

    torch.set_num_threads(1)
    spent_s = length_s = 0.0
    results = []
    for name, samples, truth in _sounds(place):
        file = {"waveform": torch.from_numpy(samples)[None], "sample_rate": media.SAMPLE_RATE, "uri": name}
        began_s = time.process_time()
        segmentations = pipeline.get_segmentations(file)
        embeddings = pipeline.get_embeddings(file, segmentations, exclude_overlap=setting.exclude_overlap)
        spent_s += time.process_time() - began_s
        duration_s = len(samples) / media.SAMPLE_RATE
        length_s += duration_s
        results.append(
            Heard(name=name, truth=truth, duration_s=duration_s, segmentations=segmentations, embeddings=embeddings)
        )
    return spent_s / length_s * 600, results


def _sounds(place: Path) -> list[tuple[str, Any, Any]]:
    from pyannote.core import Annotation
    from pyannote.database.util import load_rttm

    sounds = []
    row, row_truth = [], Annotation()
    for n, name in enumerate(EXCERPTS):
        samples = _floats(place / f"{name}.wav")
        truth = next(iter(load_rttm(str(place / f"{name}.rttm")).values()))  # type: ignore[no-untyped-call]
        for later_s in LATER_S:
            sounds.append((name, samples[int(later_s * media.SAMPLE_RATE) :], _moved(truth, -later_s)))
        row.append(samples[: int(EXCERPT_S * media.SAMPLE_RATE)])
        row_truth.update(_moved(truth, n * EXCERPT_S))
    sounds.append(("all in a row", np.concatenate(row), row_truth))
    sounds.extend((name, _floats(place / name), None) for name in ONE_SPEAKER)
    return sounds


def _floats(path: Path) -> Any:
    return media.decoded(path).astype(np.float32) / 32768.0


def _moved(truth: Any, by_s: float) -> Any:
    from pyannote.core import Annotation, Segment

    moved = Annotation()
    for n, (segment, _, speaker) in enumerate(truth.itertracks(yield_label=True)):
        if segment.end + by_s > 0.0:
            start_s = max(0.0, segment.start + by_s)
            moved[Segment(start_s, segment.end + by_s), f"{by_s} {n}"] = speaker
    return moved


def _row(pipeline: Any, setting: Setting, seconds: float, sounds: list[Heard]) -> list[str]:
    from pyannote.core import Segment
    from pyannote.metrics.diarization import DiarizationErrorRate

    rates: dict[str, list[float]] = {}
    speakers: dict[str, list[int]] = {}
    for sound in sounds:
        pipeline.get_segmentations = _given(sound.segmentations)
        pipeline.get_embeddings = _given(sound.embeddings)
        found = pipeline.apply({"uri": sound.name}).speaker_diarization
        speakers.setdefault(sound.name, []).append(len(found.labels()))
        if sound.truth is not None:
            rate = DiarizationErrorRate(collar=0.0, skip_overlap=False)
            rates.setdefault(sound.name, []).append(rate(sound.truth, found, uem=Segment(0.0, sound.duration_s)))
    row, truth = "all in a row", next(sound.truth for sound in sounds if sound.name == "all in a row")
    return [
        str(setting),
        f"{seconds:.0f}",
        *(f"{np.mean(rates[name]):.3f} ({max(rates[name]):.2f})" for name in EXCERPTS),
        f"{rates[row][0]:.3f} ({speakers[row][0]} of {len(truth.labels())})",
        " ".join(str(speakers[name][0]) for name in ONE_SPEAKER),
    ]


def _given(result: Any) -> Callable[..., Any]:
    """A step of the pipeline whose result is known; a copy, as the pipeline works in place."""
    import copy

    return lambda *_, **__: copy.deepcopy(result)


if __name__ == "__main__":
    main()
