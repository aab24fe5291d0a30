"""Who spoke when: pyannote.audio's diarization pipeline over segmentation-3.0 and CAM++ embeddings.

The setting was chosen by `python -m benchmarks.diarization_settings`. Where the models of
`pyannote/speaker-diarization-community-1` are installed, that pipeline is taken as it is published instead; that path
has not been measured, because those models are behind a licence click.
"""

import contextlib
import os
import sys
import warnings
import wave
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts.failures import FailureCode, Permanent
from contracts.transcript import Turn

os.environ["PYANNOTE_METRICS_ENABLED"] = "0"

SAMPLE_RATE = 16_000
_MIN_SAMPLES = SAMPLE_RATE // 4
"""In less there is no telling voices apart, and pyannote reports the padding as speech."""
_DITHER = 1.5 / 32768
"""A recording that is nowhere louder is silence of 16 bits: nobody speaks, however long it is."""
_READ_FRAMES = 60 * SAMPLE_RATE
_SEGMENTATION_BATCH = 8
_EMBEDDING_BATCH = 24
"""Both small: larger ones are no faster on a CPU, take memory, and make progress coarse."""
_SHARES = {"segmentation": (0.0, 0.2, "Finding who speaks"), "embeddings": (0.2, 0.98, "Telling voices apart")}
"""Which part of the whole each of pyannote's steps is, measured on meetings, and how a user is told."""

Report = Callable[[float, str], None]


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What of the pipeline can be chosen, each of which changes the result."""

    step: float = 0.25
    """Between windows of 10 s, as a share of them. A finer one costs in proportion and finds the same speakers."""
    method: str = "average"
    threshold: float = 0.38
    """The middle of what works: above 0.42 two voices of a telephone call become one, under 0.25 one becomes two."""
    min_cluster_size: int = 4
    """Windows in which a speaker must be heard: 10 s in all. pyannote's 12 is for a step of 0.1, and loses speakers."""
    exclude_overlap: bool = True
    """Voices are learnt where they speak alone."""

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in msgspec.structs.asdict(self).items())


class Diarizer:
    """The pipeline, loaded once. Raises Permanent(MODEL_MISSING) naming the file that is not there.

    With `threads=0` the number of threads is the library's choice.
    """

    def __init__(self, models: Path, device: str = "auto", threads: int = 0) -> None:
        if threads > 1:
            # Threads that spin while they wait make torch thirty times slower where others want the same cores.
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        _import_quietly()
        import torch

        if threads:
            torch.set_num_threads(threads)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        published = models / "speaker-diarization-community-1"
        if published.is_dir():
            self._pipeline, recipe = _published(published), published.name
        else:
            setting = Setting()
            self._pipeline, recipe = assemble(models, setting), f"segmentation-3.0 campplus {setting}"
        self._pipeline.to(torch.device(device))
        self.name = f"pyannote.audio/{version('pyannote.audio')} {recipe}"

    def identity(self) -> str:
        """What a result depends on besides the sound and the parameters."""
        return self.name

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
        turns: list[Turn] = []
        if len(samples) >= _MIN_SAMPLES and max(samples.max(), -samples.min()) > _DITHER:
            import torch

            with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
                # pyannote tells its developer, on stdout too, of bounds it could not meet and of voices too short.
                warnings.simplefilter("ignore")
                found = self._pipeline(
                    {"waveform": torch.from_numpy(samples)[None], "sample_rate": SAMPLE_RATE, "uri": wav.stem},
                    num_speakers=num_speakers,
                    min_speakers=min_speakers,
                    max_speakers=max_speakers,
                    hook=_hook(report),
                )
            turns = _turns(found.speaker_diarization, duration_s=len(samples) / SAMPLE_RATE)
        report(1.0, _speakers(turns))
        return turns


def assemble(models: Path, setting: Setting) -> Any:
    """The pipeline from its parts, on the CPU. Raises Permanent(MODEL_MISSING)."""
    segmentation_weights = _present(models / "segmentation-3.0" / "pytorch_model.bin")
    network = _present(models / "campplus" / "camplusplus.py")
    embedding_weights = _present(models / "campplus" / "campplus_cn_en_common.pt")
    _import_quietly()
    from pyannote.audio import Model
    from pyannote.audio.core.plda import PLDA
    from pyannote.audio.pipelines import SpeakerDiarization

    from services.diarizer.campplus import CamPlusPlus

    segmentation = Model.from_pretrained(str(segmentation_weights))
    assert segmentation is not None
    pipeline = SpeakerDiarization(
        segmentation=segmentation,
        segmentation_step=setting.step,
        segmentation_batch_size=_SEGMENTATION_BATCH,
        embedding=CamPlusPlus(network, embedding_weights),
        embedding_batch_size=_EMBEDDING_BATCH,
        embedding_exclude_overlap=setting.exclude_overlap,
        clustering="AgglomerativeClustering",
        plda=PLDA.__new__(PLDA),  # only VBx clustering reads it, and its weights are gated
    )
    return pipeline.instantiate(
        {
            "segmentation": {"min_duration_off": 0.0},
            "clustering": {
                "method": setting.method,
                "min_cluster_size": setting.min_cluster_size,
                "threshold": setting.threshold,
            },
        }
    )


def _published(folder: Path) -> Any:
    _present(folder / "config.yaml")
    _import_quietly()
    from pyannote.audio import Pipeline

    return Pipeline.from_pretrained(str(folder))


def _import_quietly() -> None:
    """pyannote.audio, without its word on torchcodec, which we need not because we decode ourselves."""
    from services.diarizer.torchaudio_extension import ensure_importable

    ensure_importable()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"\s*torchcodec is not installed correctly", category=UserWarning)
        import pyannote.audio  # noqa: F401


def _present(path: Path) -> Path:
    if not path.is_file():
        raise Permanent(FailureCode.MODEL_MISSING, f"{path} is missing: run `subtide models pull`")
    return path


def _samples(wav: Path) -> NDArray[np.float32]:
    """-1 to 1, read a minute at a time so that a long recording is in memory once."""
    with wave.open(str(wav), "rb") as file:
        form = (file.getframerate(), file.getnchannels(), file.getsampwidth())
        if form != (SAMPLE_RATE, 1, 2):
            raise ValueError(
                f"{wav} is {form[0]} Hz, {form[1]} channels, {form[2]} bytes a sample; not 16 kHz mono s16"
            )
        samples = np.empty(file.getnframes(), dtype=np.float32)
        filled = 0
        while block := file.readframes(_READ_FRAMES):
            part = np.frombuffer(block, dtype="<i2")
            np.divide(part, 32768.0, out=samples[filled : filled + len(part)], dtype=np.float32)
            filled += len(part)
    return samples[:filled]


def _hook(report: Report) -> Callable[..., None]:
    def hook(step: str, _: Any, file: Any = None, total: int | None = None, completed: int | None = None) -> None:
        if total and completed is not None and step in _SHARES:
            first, last, sentence = _SHARES[step]
            # pyannote counts whole batches, the last of which may be short.
            report(float(first + (last - first) * min(1.0, completed / total)), sentence)

    return hook


def _turns(annotation: Any, *, duration_s: float) -> list[Turn]:
    tracks = sorted(
        (round(max(0.0, segment.start), 3), round(min(segment.end, duration_s), 3), label)
        for segment, _, label in annotation.itertracks(yield_label=True)
    )
    names: dict[str, str] = {}
    return [
        Turn(start=start, end=end, speaker=names.setdefault(label, f"Speaker {len(names) + 1}"))
        for start, end, label in tracks
        if end > start
    ]


def _speakers(turns: list[Turn]) -> str:
    count = len({turn.speaker for turn in turns})
    return "No speech found" if not count else f"{count} speaker{'s' if count > 1 else ''} found"
