"""Who spoke when: pyannote.audio's diarization pipeline over segmentation-3.0 and CAM++ embeddings.

The setting (step 0.25, average linkage, threshold 0.4) was chosen by `benchmarks/diarization_settings.py`: the error
rate of step 0.1 at a third of its time. Where the models of `pyannote/speaker-diarization-community-1` are installed,
that pipeline is taken as it is published.
"""

import os
import warnings
import wave
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from contracts.failures import FailureCode, Permanent
from contracts.transcript import Turn

os.environ["PYANNOTE_METRICS_ENABLED"] = "0"

STEP = 0.25
METHOD = "average"
THRESHOLD = 0.4
_MIN_CLUSTER_SIZE = 12
_SEGMENTATION_BATCH = 8
_EMBEDDING_BATCH = 48
_SAMPLE_RATE = 16_000
_MIN_SAMPLES = _SAMPLE_RATE // 4
_SHARE = {"segmentation": (0.0, 0.2), "embeddings": (0.2, 1.0)}
"""Which part of the whole each of pyannote's steps is, measured on meetings."""

Report = Callable[[float, str], None]


class Diarizer:
    """The pipeline, loaded once. Raises Permanent(MODEL_MISSING) naming the file that is not there."""

    def __init__(self, models: Path, device: str = "auto", threads: int = 0) -> None:
        from services.diarizer.torchaudio_extension import ensure_importable

        ensure_importable()
        import torch

        if threads:
            torch.set_num_threads(threads)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        published = models / "speaker-diarization-community-1"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchcodec's absence: we decode ourselves
            if published.is_dir():
                self._pipeline, self._name = _published(published), "speaker-diarization-community-1"
            else:
                self._pipeline = assemble(models, step=STEP, method=METHOD, threshold=THRESHOLD)
                self._name = f"segmentation-3.0 campplus step={STEP} {METHOD} threshold={THRESHOLD}"
        self._pipeline.to(torch.device(device))

    def identity(self) -> str:
        """What a result depends on besides the sound and the parameters."""
        return f"pyannote.audio/{version('pyannote.audio')} {self._name}"

    def diarize(
        self,
        wav: Path,
        *,
        num_speakers: int | None,
        min_speakers: int | None,
        max_speakers: int | None,
        report: Report,
    ) -> list[Turn]:
        """Turns in order of their start, overlaps kept; speakers are numbered as they first speak.

        `wav` is 16 kHz mono s16. A bound that the recording cannot meet (more speakers than it has) is not an error.
        """
        samples = _samples(wav)
        if len(samples) < _MIN_SAMPLES:
            return []
        import torch

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = self._pipeline(
                {"waveform": torch.from_numpy(samples)[None], "sample_rate": _SAMPLE_RATE, "uri": wav.name},
                num_speakers=num_speakers,
                min_speakers=min_speakers,
                max_speakers=max_speakers,
                hook=_hook(report),
            )
        return _turns(found.speaker_diarization)


def assemble(models: Path, *, step: float, method: str, threshold: float) -> Any:
    """The pipeline from its parts, not yet on a device. torchaudio must be importable."""
    from pyannote.audio import Model
    from pyannote.audio.core.plda import PLDA
    from pyannote.audio.pipelines import SpeakerDiarization

    from services.diarizer.campplus import CamPlusPlus

    segmentation = Model.from_pretrained(str(_present(models / "segmentation-3.0" / "pytorch_model.bin")))
    assert segmentation is not None
    pipeline = SpeakerDiarization(
        segmentation=segmentation,
        segmentation_step=step,
        segmentation_batch_size=_SEGMENTATION_BATCH,
        embedding=CamPlusPlus(
            _present(models / "campplus" / "camplusplus.py"), _present(models / "campplus" / "campplus_cn_en_common.pt")
        ),
        embedding_batch_size=_EMBEDDING_BATCH,
        clustering="AgglomerativeClustering",
        plda=PLDA.__new__(PLDA),  # only VBx clustering reads it, and its weights are gated
    )
    return pipeline.instantiate(
        {
            "segmentation": {"min_duration_off": 0.0},
            "clustering": {"method": method, "min_cluster_size": _MIN_CLUSTER_SIZE, "threshold": threshold},
        }
    )


def _published(folder: Path) -> Any:
    from pyannote.audio import Pipeline

    return Pipeline.from_pretrained(str(folder))


def _present(path: Path) -> Path:
    if not path.is_file():
        raise Permanent(FailureCode.MODEL_MISSING, f"{path} is missing: run `subtide models pull`")
    return path


def _samples(wav: Path) -> "np.ndarray[Any, np.dtype[np.float32]]":
    with wave.open(str(wav), "rb") as file:
        frames = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    return frames.astype(np.float32) / 32768.0


def _hook(report: Report) -> Callable[..., None]:
    def hook(step: str, _: Any, file: Any = None, total: int | None = None, completed: int | None = None) -> None:
        if total and completed is not None and step in _SHARE:
            first, last = _SHARE[step]
            report(first + (last - first) * min(1.0, completed / total), "")

    return hook


def _turns(annotation: Any) -> list[Turn]:
    tracks = sorted(
        (round(segment.start, 3), round(segment.end, 3), label)
        for segment, _, label in annotation.itertracks(yield_label=True)
    )
    names: dict[str, str] = {}
    return [
        Turn(start=max(0.0, start), end=end, speaker=names.setdefault(label, f"Speaker {len(names) + 1}"))
        for start, end, label in tracks
        if end > start
    ]
