"""A film of the call: what it says, under a picture that changes."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

_RATE = 5
_SIZE = (320, 180)


def film(call: Path, path: Path) -> Path:
    """Written as WebM, which every Chromium plays."""
    width, height = _SIZE
    with av.open(str(call)) as source, av.open(str(path), "w", format="webm") as made:
        sound = made.add_stream("libopus", rate=48_000, layout="mono")
        picture = made.add_stream("libvpx", rate=_RATE, width=width, height=height, pix_fmt="yuv420p")
        picture.options = {"deadline": "realtime", "cpu-used": "8"}
        resampler = av.AudioResampler(format=sound.format, layout="mono", rate=48_000)
        seconds = 0.0
        for frame in source.decode(audio=0):
            for packed in resampler.resample(frame):
                made.mux(sound.encode(packed))
                seconds = (packed.pts or 0) / 48_000
        made.mux(sound.encode(None))
        for n in range(int(seconds * _RATE)):
            shade = av.VideoFrame.from_ndarray(np.full((height, width, 3), 60 + n, dtype=np.uint8), format="rgb24")
            shade.pts, shade.time_base = n, Fraction(1, _RATE)
            made.mux(picture.encode(shade))
        made.mux(picture.encode(None))
    return path
