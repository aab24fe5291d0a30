"""The outline of a recording for a waveform display, in bounded memory whatever its length.

Format: the JSON of BBC audiowaveform, version 2, 8 bits.
"""

from typing import Any

import msgspec
import numpy as np

_MAX_PIXELS = 4000
_FIRST_SAMPLES_PER_PIXEL = 256


class Peaks:
    """Lowest and highest sample per pixel; when there are too many pixels, neighbours are merged."""

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._samples_per_pixel = _FIRST_SAMPLES_PER_PIXEL
        self._lows: list[int] = []
        self._highs: list[int] = []
        self._rest = np.zeros(0, dtype=np.int16)

    def add(self, samples: "np.ndarray[Any, np.dtype[np.int16]]") -> None:
        """More samples, s16 mono."""
        self._rest = np.concatenate([self._rest, samples])
        whole = len(self._rest) // self._samples_per_pixel
        if not whole:
            return
        end = whole * self._samples_per_pixel
        pixels = self._rest[:end].reshape(whole, self._samples_per_pixel)
        self._lows.extend((pixels.min(1) >> 8).tolist())
        self._highs.extend((pixels.max(1) >> 8).tolist())
        self._rest = self._rest[end:]
        while len(self._lows) > _MAX_PIXELS:
            self._merge()

    def json(self) -> bytes:
        """The file."""
        if len(self._rest):
            self._lows.append(int(self._rest.min()) >> 8)
            self._highs.append(int(self._rest.max()) >> 8)
            self._rest = self._rest[:0]
        data = [value for pair in zip(self._lows, self._highs, strict=True) for value in pair]
        return msgspec.json.encode(
            {
                "version": 2,
                "channels": 1,
                "sample_rate": self._sample_rate,
                "samples_per_pixel": self._samples_per_pixel,
                "bits": 8,
                "length": len(self._lows),
                "data": data,
            }
        )

    def _merge(self) -> None:
        if len(self._lows) % 2:
            # An odd pixel at the end waits among the samples, as its two extremes.
            low, high = self._lows.pop() << 8, self._highs.pop() << 8
            held = np.array([low, high], dtype=np.int16).repeat(self._samples_per_pixel // 2)
            self._rest = np.concatenate([held, self._rest])
        self._lows = [min(pair) for pair in zip(self._lows[::2], self._lows[1::2], strict=True)]
        self._highs = [max(pair) for pair in zip(self._highs[::2], self._highs[1::2], strict=True)]
        self._samples_per_pixel *= 2
