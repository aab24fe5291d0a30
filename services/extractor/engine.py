"""Any recording to 16 kHz mono s16 WAV, as a stream: a three-hour video needs no more memory than a short one.

The clock of the WAV is the recording's: gaps in the sound become silence, so that captions meet the picture.
"""

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.audio
import av.container
import av.error
import numpy as np

from contracts.failures import FailureCode, Permanent
from contracts.transcript import MediaFacts, MediaTrack
from services.extractor.peaks import Peaks

SAMPLE_RATE = 16_000
TRUNCATED = "truncated"
CORRUPT = "corrupt_packets"

_GAP_S = 0.1
"""Timestamps of containers jitter; below this a gap is none."""
_MAX_GAP_S = 3600.0
"""A jump beyond this is a broken clock, not a silence."""
_SHORTER_S, _SHORTER_SHARE = 1.0, 0.02
"""By how much the sound may fall short of what the container declares before we call it truncated."""
_SILENCE_BLOCK = SAMPLE_RATE * 10

_DEMUXERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dts,dtshd,dv,eac3,flac,flv,gxf,loas,m4v,matroska,webm,mlp,mov,mp4,"
    "m4a,3gp,3g2,mj2,mp3,mpc,mpc8,mpeg,mpegts,mxf,nut,ogg,oma,rm,sox,tak,truehd,tta,voc,w64,wav,wtv,wv,xwma"
)
"""Containers of sound and moving pictures; playlists, scripts, subtitles and images are not among them."""

_SIGNATURES = (b"RIFF", b"\x1aE\xdf\xa3", b"OggS", b"fLaC", b"ID3", b"FLV", b"\x30\x26\xb2\x75")

Report = Callable[[float, str], None]


class Extractor:
    """FFmpeg's libraries, through PyAV."""

    def identity(self) -> str:
        """What a result depends on besides the recording."""
        return f"pyav/{version('av')} 1"

    def extract(self, source: Path, wav: Path, peaks: Path, *, report: Report) -> MediaFacts:
        """Write the sound of `source` to `wav` and its outline to `peaks`.

        Raises Permanent: EMPTY_FILE, NOT_MEDIA, NO_AUDIO, or UNDECODABLE where not one sample could be had.
        """
        if source.stat().st_size == 0:
            raise Permanent(FailureCode.EMPTY_FILE)
        with source.open("rb") as file:
            container = _opened(file)
            with container:
                return _extract(container, wav, peaks, report)


def _opened(file: BinaryIO) -> av.container.InputContainer:
    """The container, judged by its content. A file object, never a name: a name could mean a protocol to FFmpeg."""
    head = file.read(16)
    file.seek(0)
    try:
        return av.open(
            file,
            mode="r",
            metadata_errors="ignore",
            options={"format_whitelist": _DEMUXERS, "protocol_whitelist": "none"},
        )
    except (av.error.FFmpegError, ValueError, OSError) as error:
        known = head[4:8] == b"ftyp" or head.startswith(_SIGNATURES)
        raise Permanent(FailureCode.UNDECODABLE if known else FailureCode.NOT_MEDIA, type(error).__name__) from None


def _extract(container: av.container.InputContainer, wav: Path, peaks: Path, report: Report) -> MediaFacts:
    stream = _audio_track(container)
    declared_s = _declared_s(container, stream)
    outline = Peaks(SAMPLE_RATE)
    decoding = _Decoding(container, stream)
    written = 0
    with wav.open("wb") as file:
        file.write(_header(0))
        for samples in decoding.samples():
            file.write(samples.tobytes())
            outline.add(samples)
            written += len(samples)
            if declared_s:
                report(min(0.99, written / SAMPLE_RATE / declared_s), "")
        file.seek(0)
        file.write(_header(written))
    if not written:
        raise Permanent(FailureCode.UNDECODABLE, f"{stream.codec_context.name}, {decoding.corrupt} corrupt packets")
    peaks.write_bytes(outline.json())
    duration_s = round(written / SAMPLE_RATE, 3)
    return MediaFacts(
        duration_s=duration_s,
        container=container.format.name,
        tracks=[_track(track) for track in container.streams],
        audio_track=stream.index,
        warnings=_warnings(decoding, duration_s, declared_s),
    )


class _Decoding:
    """Samples of one track on the container's clock, passing over what cannot be decoded."""

    def __init__(self, container: av.container.InputContainer, stream: Any) -> None:
        self._container = container
        self._stream = stream
        self._resampler: av.AudioResampler | None = None
        self._format: tuple[str, str, int] | None = None
        self._origin_s = (container.start_time or 0) / av.time_base
        self._position = 0
        self.corrupt = 0
        self.broken_off = False

    def samples(self) -> Iterator[np.ndarray[Any, np.dtype[np.int16]]]:
        """Blocks of s16 mono 16 kHz."""
        for frame in self._frames():
            late_s = self._late_s(frame)
            if late_s > 0:
                for silence in _silence(round(late_s * SAMPLE_RATE)):
                    yield self._counted(silence)
            for samples in self._resampled(frame):
                early = max(0, round(-late_s * SAMPLE_RATE)) if late_s < 0 else 0
                late_s += early / SAMPLE_RATE if early <= len(samples) else len(samples) / SAMPLE_RATE
                yield self._counted(samples[early:])
        for samples in self._resampled(None):
            yield self._counted(samples)

    def _counted(self, samples: np.ndarray[Any, np.dtype[np.int16]]) -> np.ndarray[Any, np.dtype[np.int16]]:
        self._position += len(samples)
        return samples

    def _frames(self) -> Iterator[av.AudioFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.error.FFmpegError, OSError):
                self.broken_off = True
                return
            try:
                yield from packet.decode()
            except av.error.EOFError:
                return
            except (av.error.FFmpegError, ValueError):
                self.corrupt += 1

    def _late_s(self, frame: av.AudioFrame) -> float:
        """Seconds by which a frame stands after what was written: a gap (> 0), an overlap (< 0), or none (0)."""
        if frame.pts is None or frame.time_base is None:
            return 0.0
        at_s = float(frame.pts * frame.time_base) - self._origin_s
        late_s = at_s - self._position / SAMPLE_RATE
        if abs(late_s) < _GAP_S:
            return 0.0
        if late_s > _MAX_GAP_S or late_s < -frame.samples / frame.sample_rate - 1.0:
            self._origin_s += late_s  # the clock jumped: go on from here
            return 0.0
        return late_s

    def _resampled(self, frame: av.AudioFrame | None) -> Iterator[np.ndarray[Any, np.dtype[np.int16]]]:
        if frame is not None:
            described = (frame.format.name, frame.layout.name, frame.sample_rate)
            if described != self._format:  # some recordings change in the middle
                yield from self._resampled(None)
                self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
                self._format = described
            frame.pts = None
        if self._resampler is None:
            return
        with suppress(av.error.EOFError):
            try:
                resampled = self._resampler.resample(frame)
            except (av.error.FFmpegError, ValueError):
                self.corrupt += 1
                return
            for part in resampled:
                yield part.to_ndarray().reshape(-1).astype(np.int16, copy=False)


def _audio_track(container: av.container.InputContainer) -> Any:
    tracks = container.streams.audio
    if not tracks:
        moving = [track for track in container.streams.video if not _is_picture(track)]
        raise Permanent(FailureCode.NO_AUDIO if moving else FailureCode.NOT_MEDIA, container.format.name)
    usable = [track for track in tracks if track.codec_context is not None]
    if not usable:
        raise Permanent(FailureCode.UNDECODABLE, "no decoder for the sound of this file")
    return next((track for track in usable if _is_default(track)), usable[0])


def _is_default(track: Any) -> bool:
    return bool(track.disposition & av.stream.Disposition.default)


def _is_picture(track: Any) -> bool:
    return bool(track.disposition & av.stream.Disposition.attached_pic)


def _declared_s(container: av.container.InputContainer, stream: Any) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _warnings(decoding: _Decoding, duration_s: float, declared_s: float | None) -> list[str]:
    short = declared_s is not None and duration_s < declared_s - max(_SHORTER_S, _SHORTER_SHARE * declared_s)
    return [*([TRUNCATED] if short or decoding.broken_off else []), *([CORRUPT] if decoding.corrupt else [])]


def _track(track: Any) -> MediaTrack:
    context = track.codec_context
    return MediaTrack(
        index=track.index,
        kind=track.type,
        codec=context.name if context is not None else "unknown",
        language=track.language,
        default=_is_default(track),
        sample_rate=context.sample_rate if track.type == "audio" and context else None,
        channels=context.channels if track.type == "audio" and context else None,
        width=context.width if track.type == "video" and context else None,
        height=context.height if track.type == "video" and context else None,
    )


def _silence(samples: int) -> Iterator[np.ndarray[Any, np.dtype[np.int16]]]:
    while samples > 0:
        yield np.zeros(min(samples, _SILENCE_BLOCK), dtype=np.int16)
        samples -= _SILENCE_BLOCK


def _header(samples: int) -> bytes:
    """The 44 bytes of a PCM WAV; after them a time is an offset."""
    data = samples * 2
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", 36 + data, b"WAVE", b"fmt ", 16, 1, 1, SAMPLE_RATE, SAMPLE_RATE * 2, 2, 16, b"data", data),
    )
