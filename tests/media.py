"""Makes recordings, ordinary and odd: tones in any container, with tracks, holes and late starts as asked."""

import itertools
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np

_BLOCK = 1024


class Sound(msgspec.Struct, frozen=True, kw_only=True):
    """An audio track: a tone of `hertz` from `starts_s` on, with nothing recorded during `hole`."""

    seconds: float
    hertz: float = 440.0
    codec: str = "aac"
    rate: int = 48_000
    layout: str = "mono"
    only_channel: int | None = None
    """The one channel that carries the tone; None: all do."""
    default: bool | None = None
    starts_s: float = 0.0
    hole: tuple[float, float] = (0.0, 0.0)
    level: float = 0.3


def record(
    path: Path,
    sounds: Sequence[Sound],
    *,
    form: str | None = None,
    picture_s: float = 0.0,
    variable_rate: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """Write `sounds`, and `picture_s` of tiny video, to `path`. `form` is FFmpeg's name of the container."""
    with (
        path.open("wb") as file,
        av.open(file, "w", format=form or path.suffix[1:], options=options or {}) as container,
    ):
        picture = _picture_track(container) if picture_s else None
        tracks = [_sound_track(container, sound) for sound in sounds]
        feeds: list[Any] = [_sound_frames(sound, track) for sound, track in zip(sounds, tracks, strict=True)]
        if picture is not None:
            feeds.append(_picture_frames(picture, picture_s, variable_rate))
        ends: list[Any] = [*tracks, *([picture] if picture is not None else [])]
        for turn in itertools.zip_longest(*feeds):
            for packets in turn:
                container.mux(packets or [])
        for track in ends:
            container.mux(track.encode(None))
    return path


def tone_at(samples: "np.ndarray[Any, Any]", rate: int = 16_000) -> float:
    """The strongest frequency in `samples`, hertz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * rate / len(samples)


def loudness(samples: "np.ndarray[Any, Any]") -> float:
    """Root mean square of s16 samples, 1.0 being full scale."""
    return float(np.sqrt(np.mean((samples.astype(np.float64) / 32768) ** 2)))


def _sound_track(container: Any, sound: Sound) -> Any:
    track = container.add_stream(sound.codec, rate=sound.rate, layout=sound.layout)
    track.time_base = Fraction(1, sound.rate)
    if sound.default is not None:
        track.disposition = av.stream.Disposition.default if sound.default else av.stream.Disposition(0)
    return track


def _sound_frames(sound: Sound, track: Any) -> Any:
    channels = av.AudioLayout(sound.layout).nb_channels
    resampler = av.AudioResampler(format=track.codec_context.format, layout=sound.layout, rate=sound.rate)
    size = track.codec_context.frame_size or _BLOCK
    for first in range(0, round(sound.seconds * sound.rate), size):
        count = min(size, round(sound.seconds * sound.rate) - first)
        at_s = np.arange(first, first + count) / sound.rate
        wave = np.tile(np.sin(2 * np.pi * sound.hertz * at_s) * sound.level, (channels, 1))
        if sound.only_channel is not None:
            wave[np.arange(channels) != sound.only_channel] = 0
        if sound.hole[0] <= at_s[0] < sound.hole[1]:
            continue
        packed = wave.T.reshape(1, -1).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=sound.layout)
        frame.sample_rate = sound.rate
        frame.time_base = Fraction(1, sound.rate)
        for converted in resampler.resample(frame):
            converted.time_base = Fraction(1, sound.rate)
            converted.pts = first + round(sound.starts_s * sound.rate)
            yield track.encode(converted)


def _picture_track(container: Any) -> Any:
    track = container.add_stream("mpeg4", rate=25)
    track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
    track.codec_context.time_base = Fraction(1, 1000)
    return track


def _picture_frames(track: Any, seconds: float, variable_rate: bool) -> Any:
    at_ms, steps = 0, itertools.cycle([40, 7, 333, 100] if variable_rate else [40])
    while at_ms < seconds * 1000:
        frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), at_ms // 40 % 256, dtype=np.uint8), format="rgb24")
        frame.pts, frame.time_base = at_ms, Fraction(1, 1000)
        yield track.encode(frame)
        at_ms += next(steps)
