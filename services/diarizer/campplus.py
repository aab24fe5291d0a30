"""CAM++ speaker embeddings as a pyannote model.

Source: Wang et al., "CAM++: A Fast and Efficient Network for Speaker Verification Using Context-Aware Masking",
Interspeech 2023; weights of 3D-Speaker (zh-en common, 192 dimensions).
"""

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as functional
from pyannote.audio.core.model import Model
from pyannote.audio.core.task import Problem, Resolution, Specifications
from torchaudio.compliance import kaldi

DIMENSION = 192
_SAMPLE_RATE = 16_000
_MEL_BINS = 80
_FRAME_SAMPLES = 400
_MIN_FRAMES = 20
"""0.2 s: less speech than that does not tell one voice from another."""
_TRACED_FRAMES = 300


class CamPlusPlus(Model):
    """Embeddings of masked speech: waveforms (batch, 1, samples), weights (batch, frames) -> (batch, 192).

    A row that leaves less than 0.2 s is NaN, which pyannote's clustering leaves out.
    """

    def __init__(self, network: Path, weights: Path) -> None:
        super().__init__(sample_rate=_SAMPLE_RATE, num_channels=1)
        self.specifications = Specifications(
            problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=10.0, min_duration=0.5
        )
        self.net = _module_at(network).CAMPPlus(feat_dim=_MEL_BINS, embedding_size=DIMENSION)
        self.net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self.eval()
        self._on_cpu = _frozen(self.net)

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        return DIMENSION

    def forward(self, waveforms: torch.Tensor, weights: torch.Tensor | None = None, **_: Any) -> torch.Tensor:
        """One embedding a row. pyannote repeats a waveform for each of its speakers: its features are made once."""
        net = self._on_cpu if waveforms.device.type == "cpu" else self.net
        embeddings = waveforms.new_full((len(waveforms), DIMENSION), float("nan"))
        features: torch.Tensor | None = None
        featured: torch.Tensor | None = None
        for row, waveform in enumerate(waveforms):
            if weights is not None and not weights[row].any():
                continue
            if features is None or featured is None or not torch.equal(waveform, featured):
                features, featured = _filter_banks(waveform), waveform
            speech = features if weights is None else features[_mask(weights[row], len(features))]
            if len(speech) >= _MIN_FRAMES:
                embeddings[row] = net((speech - speech.mean(0, keepdim=True))[None])[0]
        return embeddings


def _frozen(net: torch.nn.Module) -> Any:
    """The network with batch normalisation folded into its convolutions: an eighth faster, for the CPU alone."""
    example = torch.randn(1, _TRACED_FRAMES, _MEL_BINS)
    with torch.no_grad(), warnings.catch_warnings():
        # Tracing takes one side of a branch on recordings of a single frame, and we ask for no fewer than 20. That
        # torch.compile should be used instead is no advice for us: it needs a C++ compiler where we run.
        warnings.simplefilter("ignore")
        traced: Any = torch.jit.trace(net, example, check_trace=False)  # type: ignore[no-untyped-call]
        return torch.jit.optimize_for_inference(torch.jit.freeze(traced))


def _filter_banks(waveform: torch.Tensor) -> torch.Tensor:
    if waveform.shape[-1] < _FRAME_SAMPLES:
        return waveform.new_zeros(0, _MEL_BINS)
    features: torch.Tensor = kaldi.fbank(
        waveform, num_mel_bins=_MEL_BINS, sample_frequency=float(_SAMPLE_RATE), dither=0.0, window_type="povey"
    )
    return features


def _mask(weights: torch.Tensor, frames: int) -> torch.Tensor:
    return functional.interpolate(weights[None, None], size=frames, mode="nearest")[0, 0] > 0.5


def _module_at(path: Path) -> Any:
    """The network's definition, by its path: importing its package would pull in what that package needs."""
    spec = importlib.util.spec_from_file_location("subtide_camplusplus", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
