"""Opens a recording by its content, and says which of its tracks is the one to hear.

FFmpeg gets a stream of bytes without a name: a name could mean a protocol to it, or persuade it of a format.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import av.container
import av.error
import av.logging
import av.stream

from contracts.failures import FailureCode, Permanent
from contracts.transcript import MediaTrack
from services.extractor import wholeness
from services.extractor.joined import Joined, open_joined
from services.extractor.limits import Limits

_DEMUXERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dts,dtshd,dv,eac3,flac,flv,gsm,gxf,h264,hevc,iff,loas,m4v,"
    "matroska,webm,mlp,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpc,mpc8,mpeg,mpegts,mpegvideo,mxf,nut,ogg,oma,qcp,rm,sox,tak,"
    "truehd,tta,voc,w64,wav,wtv,wv,xwma"
)
"""Containers of sound and moving pictures; playlists, scripts, subtitles and images are not among them."""

_ESTIMATING = {"aac", "ac3", "amr", "amrnb", "amrwb", "dts", "eac3", "gsm", "loas", "mlp", "mpeg", "truehd"}
"""Formats whose length FFmpeg guesses from the bit rate."""

_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp", b"moof")
_SIGNATURES = (b"\x1aE\xdf\xa3", b"OggS", b"fLaC", b"FLV\x01", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11")
_BUFFER_BYTES = 256 * 1024


class Recording:
    """An open recording and its audible track. Close it, or use it in a `with`."""

    def __init__(self, source: Sequence[Path], limits: Limits) -> None:
        """A recording may lie in several files.

        Raises Permanent: EMPTY_FILE, NOT_MEDIA, NO_AUDIO, UNDECODABLE, MEDIA_LIMIT; and MemoryError.
        """
        self._source = source
        file = open_joined(source)
        self._bytes = file.size
        if not self._bytes:
            raise Permanent(FailureCode.EMPTY_FILE)
        self._file = _Nameless(file)
        try:
            self.container = _opened(self._file, limits)
            limits.check_streams(len(self.container.streams))
            self.track = _audible(self.container)
            limits.check_sound(self.track.codec_context.sample_rate, self.track.codec_context.channels)
        except BaseException:
            self._file.close()
            raise
        for stream in self.container.streams:
            if stream.index != self.track.index:
                stream.discard = av.stream.Discard.all

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.container.close()
        self._file.close()

    @property
    def origin_s(self) -> float | None:
        """Where the clock of the container stands when the recording begins."""
        return None if self.container.start_time is None else self.container.start_time / av.time_base

    @property
    def declared_s(self) -> float | None:
        """When the sound ends, in seconds from the start of the recording, by what the container promises."""
        form = self.container.format.name
        if form in _ESTIMATING or (form == "mp3" and not wholeness.states_its_length(self._source)):
            return None
        track_s = _seconds(self.track.metadata.get("DURATION", ""))  # Matroska: the end of the track, not its length
        if track_s is not None:
            return track_s - (self.origin_s or 0.0)
        if self.track.duration and self.track.time_base:
            starts = self.track.start_time or 0
            return float((starts + self.track.duration) * self.track.time_base) - (self.origin_s or 0.0)
        return self.container.duration / av.time_base if self.container.duration else None

    @property
    def is_cut(self) -> bool:
        """Whether the file ends before its own structure does."""
        return wholeness.is_cut(self._source)

    @property
    def read_share(self) -> float:
        """How much of the file was read, from 0 to 1."""
        return min(1.0, self._file.tell() / self._bytes)

    @property
    def tracks(self) -> list[MediaTrack]:
        """Every stream of the container."""
        return [_described(stream) for stream in self.container.streams]


class _Nameless:
    """A local file as FFmpeg may see it."""

    def __init__(self, file: Joined) -> None:
        self.read, self.seek, self.tell, self.close = file.read, file.seek, file.tell, file.close

    def seekable(self) -> bool:
        return True


def _opened(file: _Nameless, limits: Limits) -> av.container.InputContainer:
    head = file.read(16)
    file.seek(0)
    said: list[tuple[int, str, str]] = []
    try:
        with _heard() as said:
            return av.open(
                file,
                mode="r",
                metadata_errors="ignore",
                buffer_size=_BUFFER_BYTES,
                container_options={
                    "format_whitelist": _DEMUXERS,
                    "protocol_whitelist": "none",
                    "max_streams": str(limits.streams + 1),
                },
            )
    except av.error.MemoryError:
        if any("max_streams" in message for _, _, message in said):  # its error is the same
            limits.check_streams(limits.streams + 1)
        raise
    except (av.error.FFmpegError, ValueError, EOFError) as error:
        code = FailureCode.UNDECODABLE if _looks_recorded(head) else FailureCode.NOT_MEDIA
        raise Permanent(code, str(error)[:200]) from None


@contextmanager
def _heard() -> Iterator[list[tuple[int, str, str]]]:
    """What FFmpeg complains of in the block: level, who, and the message."""
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as said:
            yield said
    finally:
        av.logging.set_level(None)


def _looks_recorded(head: bytes) -> bool:
    """Whether a file that FFmpeg cannot open begins as a recording does; then it is a damaged one."""
    riff = head.startswith((b"RIFF", b"RF64")) and head[8:12] in (b"WAVE", b"AVI ")
    mp4 = head[4:8] in _MP4_BOXES and head[8:12] not in (b"heic", b"avif", b"mif1")
    return riff or mp4 or head.startswith(_SIGNATURES)


def _audible(container: av.container.InputContainer) -> av.AudioStream:
    tracks = container.streams.audio
    if not tracks:
        moving = [stream for stream in container.streams.video if not _has(stream, "attached_pic")]
        raise Permanent(FailureCode.NO_AUDIO if moving else FailureCode.NOT_MEDIA, container.format.name)
    decodable = [track for track in tracks if track.codec_context is not None]
    if not decodable:
        raise Permanent(FailureCode.UNDECODABLE, "FFmpeg has no decoder for the sound of this file")
    return next((track for track in decodable if _has(track, "default")), decodable[0])


def _has(stream: av.stream.Stream, disposition: str) -> bool:
    return bool(stream.disposition & av.stream.Disposition[disposition])


def _seconds(clock: str) -> float | None:
    found = re.fullmatch(r"(\d{1,9}):(\d\d):(\d\d(?:\.\d+)?)", clock.strip("\0 "))
    if found is None:
        return None
    hours, minutes, seconds = found.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _described(stream: av.stream.Stream) -> MediaTrack:
    context = getattr(stream, "codec_context", None)
    sound = context if stream.type == "audio" else None
    picture = context if stream.type == "video" else None
    return MediaTrack(
        index=stream.index,
        kind=stream.type or "unknown",
        codec=context.name if context is not None else "unknown",
        language=stream.language,
        default=_has(stream, "default"),
        sample_rate=sound.sample_rate if sound else None,
        channels=sound.channels if sound else None,
        width=picture.width if picture else None,
        height=picture.height if picture else None,
    )
