"""The sound of one track on the clock of the recording.

Where the track begins late or has a hole there is silence, and what overlaps is dropped, so that a time in the result
is the same time in the picture. What cannot be decoded is passed over and counted.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from services.extractor.limits import Limits
from services.extractor.opening import Recording

SAMPLE_RATE = 16_000
Samples = NDArray[np.int16]

_JITTER_S = 0.1
"""Time stamps of containers waver; below this they are not believed against the count of samples."""
_CLOCK_JUMP_S = 3600.0
"""A hole beyond this is a broken clock, not a silence."""
_REPEATED_S = 1.0
"""A step back beyond this is a clock that was set again (two recordings in one file), not an overlap."""
_SILENCE_SAMPLES = SAMPLE_RATE * 10
_MOST_MIXED = 16
"""Of more channels FFmpeg knows no way to make one, unless it knows where each of them stands."""
_UNREADABLE_LIMIT = 100
"""Failed reads in a row after which the rest of the file is given up."""


class Decoding:
    """Decodes a recording once; the counts are complete when `samples` has ended."""

    def __init__(self, recording: Recording, limits: Limits) -> None:
        self._limits = limits
        self._container = recording.container
        self._track = recording.track
        self._origin_s = recording.origin_s
        self._resampler: av.AudioResampler | None = None
        self._format: tuple[object, ...] = ()
        self.position = 0
        """Samples given out, silence included."""
        self.decoded = 0
        """Samples that came from the recording."""
        self.damaged = 0
        """Packets that could not be read or decoded."""
        self.broken_off = False
        """Whether the file could not be read to its end."""

    def samples(self) -> Iterator[Samples]:
        """Blocks of mono s16 at SAMPLE_RATE, of a second or more but for the last.

        Raises Permanent MEDIA_LIMIT before it gives out more than may be, and MemoryError.
        """
        gathered: list[Samples] = []
        for block in self._blocks():
            gathered.append(block)
            if sum(map(len, gathered)) >= SAMPLE_RATE:
                yield np.concatenate(gathered)
                gathered = []
        if gathered:
            yield np.concatenate(gathered)

    def _blocks(self) -> Iterator[Samples]:
        for frame in self._frames():
            late_s = self._late_s(frame)
            if late_s > 0:
                yield from self._given(self._resampled(None))
                self._limits.check_duration(self.position / SAMPLE_RATE + late_s)
                yield from self._silence(round(late_s * SAMPLE_RATE))
            yield from self._given(self._resampled(frame), drop=round(-late_s * SAMPLE_RATE))
        yield from self._given(self._resampled(None))

    def _given(self, blocks: Iterator[Samples], drop: int = 0) -> Iterator[Samples]:
        for block in blocks:
            kept = block[max(0, drop) :]
            drop -= len(block)
            self.position += len(kept)
            self.decoded += len(kept)
            self._limits.check_duration(self.position / SAMPLE_RATE)
            if len(kept):
                yield kept

    def _silence(self, samples: int) -> Iterator[Samples]:
        while samples > 0:
            block = np.zeros(min(samples, _SILENCE_SAMPLES), dtype=np.int16)
            samples -= len(block)
            self.position += len(block)
            yield block

    def _frames(self) -> Iterator[av.AudioFrame]:
        for packet in self._packets():
            try:
                frames = packet.decode()
            except EOFError:
                continue
            except MemoryError:
                raise
            except (av.error.FFmpegError, ValueError):
                self.damaged += 1
                continue
            for frame in frames:
                if isinstance(frame, av.AudioFrame) and frame.samples:
                    yield frame

    def _packets(self) -> Iterator["av.Packet[Any]"]:
        unreadable = 0
        while True:
            try:
                for packet in self._container.demux(self._track):
                    unreadable = 0
                    yield packet
                return
            except IndexError:  # what PyAV ends with when a track appeared on the way
                return
            except MemoryError:
                raise
            except (av.error.FFmpegError, ValueError):
                self.damaged += 1
                unreadable += 1
                if unreadable == _UNREADABLE_LIMIT:
                    self.broken_off = True
                    return

    def _late_s(self, frame: av.AudioFrame) -> float:
        """Seconds by which a frame stands after what was given out: a hole (> 0), an overlap (< 0) or neither (0)."""
        if frame.pts is None or frame.time_base is None:
            return 0.0
        clock_s = frame.pts * frame.time_base.numerator / frame.time_base.denominator
        if self._origin_s is None:
            self._origin_s = clock_s
        late_s = clock_s - self._origin_s - self.position / SAMPLE_RATE
        if abs(late_s) < _JITTER_S:
            return 0.0
        if not -_REPEATED_S <= late_s <= _CLOCK_JUMP_S:
            self._origin_s += late_s
            return 0.0
        return late_s

    def _resampled(self, frame: av.AudioFrame | None) -> Iterator[Samples]:
        """`None` drains what the resampler holds back, and the next frame gets a new one."""
        if frame is not None:
            shape = (frame.format.name, frame.layout.name, frame.layout.nb_channels, frame.sample_rate)
            if shape != self._format:
                yield from self._resampled(None)
                self._limits.check_sound(frame.sample_rate, frame.layout.nb_channels)
                self._format = shape
            frame.pts = None
            if frame.layout.nb_channels > _MOST_MIXED:
                frame = _averaged(frame)
        if self._resampler is None:
            if frame is None:
                return
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        resampler = self._resampler
        if frame is None:
            self._resampler = None
        parts: list[Any] = []
        try:
            with suppress(EOFError):
                parts = resampler.resample(frame)
        except MemoryError:
            raise
        except (av.error.FFmpegError, ValueError):
            self.damaged += 1
        for part in parts:
            yield np.frombuffer(part.planes[0], dtype=np.int16, count=part.samples)


def _averaged(frame: av.AudioFrame) -> av.AudioFrame:
    """One channel, of what all of them have in common."""
    samples = frame.to_ndarray()
    channels = samples if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels).T
    loudest = 1 if channels.dtype.kind == "f" else np.iinfo(channels.dtype.str).max
    middle = 128 if channels.dtype == np.uint8 else 0
    mean = (channels.mean(0, dtype=np.float64) - middle) / (loudest - middle)
    mixed = av.AudioFrame.from_ndarray(mean[np.newaxis].astype(np.float32), format="fltp", layout="mono")
    mixed.sample_rate = frame.sample_rate
    return mixed
