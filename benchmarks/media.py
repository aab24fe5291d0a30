"""The recordings that are measured with; they stand beside the project and are not part of it."""

import sys
import wave
from pathlib import Path
from typing import Any

import av
import numpy as np

SAMPLE_RATE = 16_000
DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "media"


def folder() -> Path:
    """The folder named on the command line, else the default. Ends the program with a clear line where it is absent."""
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    if not place.is_dir():
        print(
            f"Not measured: there is no folder {place}. Name one with MEDIA=folder; it needs the files and references."
        )
        sys.exit(0)
    return place


def decoded(path: Path) -> "np.ndarray[Any, np.dtype[np.int16]]":
    """Any recording as 16 kHz mono s16."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE)
        parts = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        parts += resampler.resample(None)
    return np.concatenate([part.to_ndarray().reshape(-1) for part in parts]).astype(np.int16, copy=False)


def meeting(media: Path, target: Path, seconds: int, *, first: int = 0) -> Path:
    """An hour-like meeting: the excerpts in turn, from the `first`, until it is `seconds` long."""
    excerpts = sorted(media.glob("meeting-*.wav"))
    excerpts = excerpts[first:] + excerpts[:first]
    sound = np.concatenate([decoded(path) for path in excerpts])
    sound = np.tile(sound, -(-seconds * SAMPLE_RATE // len(sound)))[: seconds * SAMPLE_RATE]
    with wave.open(str(target), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(sound.tobytes())
    return target
