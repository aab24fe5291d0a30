"""Any recording to 16 kHz mono s16 WAV, as a stream: a three-hour video needs no more memory than a short one.

Runs in a child process of its own for each recording; knows no NATS and no HTTP.
"""

import errno
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from contracts.failures import FailureCode, Permanent, Retryable
from contracts.transcript import MediaFacts
from services.extractor.decoding import SAMPLE_RATE, Decoding
from services.extractor.limits import Limits
from services.extractor.opening import Recording
from services.extractor.peaks import Peaks

TRUNCATED = "truncated"
"""Warning: the sound ends before the container says it does."""
CORRUPT = "corrupt_packets"
"""Warning: parts of the recording could not be decoded; silence stands in their place."""

Report = Callable[[float, str], None]

_RECIPE = 1
_SHORT_S, _SHORT_SHARE = 1.0, 0.02
"""By how much the sound may fall short of what was declared before it is called truncated."""
_HEADER_BYTES = 44


class Extractor:
    """FFmpeg's libraries, through PyAV."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._identity = f"pyav/{version('av')} recipe={_RECIPE}"  # now: later no file of ours may be open to us

    def identity(self) -> str:
        """What a result depends on besides the recording. Raise the recipe when a change gives other samples."""
        return self._identity

    def extract(self, source: Sequence[Path], wav: Path, peaks: Path, *, report: Report) -> MediaFacts:
        """Write the sound of `source` to `wav` and its outline to `peaks`; both are whole only where this returns.

        `source` are the files that hold the recording, one after another.

        Raises Permanent: EMPTY_FILE, NOT_MEDIA, NO_AUDIO, UNDECODABLE (not one sample could be had) or MEDIA_LIMIT.
        Raises Retryable STORE_FULL, and MemoryError.
        """
        with Recording(source, self._limits) as recording, _full_disk():
            return _extract(recording, self._limits, wav, peaks, report)


def _extract(recording: Recording, limits: Limits, wav: Path, peaks: Path, report: Report) -> MediaFacts:
    declared_s = recording.declared_s
    limits.check_duration(declared_s or 0.0)
    outline = Peaks(SAMPLE_RATE)
    decoding = Decoding(recording, limits)
    with wav.open("wb") as file:
        file.write(_header(0))
        for samples in decoding.samples():
            file.write(samples.tobytes())
            outline.add(samples)
            done = decoding.position / SAMPLE_RATE / declared_s if declared_s else recording.read_share
            report(min(0.99, done), "Extracting the sound")
        file.seek(0)
        file.write(_header(decoding.position))
    if not decoding.decoded:
        raise Permanent(FailureCode.UNDECODABLE, f"{recording.track.codec_context.name}: no packet could be decoded")
    peaks.write_bytes(outline.json())
    return MediaFacts(
        duration_s=round(decoding.position / SAMPLE_RATE, 3),
        container=recording.container.format.name,
        tracks=recording.tracks,
        audio_track=recording.track.index,
        warnings=_warnings(recording, decoding),
    )


def _warnings(recording: Recording, decoding: Decoding) -> list[str]:
    declared_s = recording.declared_s or 0.0
    short = declared_s - decoding.position / SAMPLE_RATE > max(_SHORT_S, _SHORT_SHARE * declared_s)
    truncated = short or decoding.broken_off or recording.is_cut
    return [*([TRUNCATED] if truncated else []), *([CORRUPT] if decoding.damaged else [])]


def _header(samples: int) -> bytes:
    """The 44 bytes of a PCM WAV; after them a time is an offset."""
    data = samples * 2
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", 36 + data, b"WAVE", b"fmt ", 16, 1, 1, SAMPLE_RATE, SAMPLE_RATE * 2, 2, 16, b"data", data),
    )


@contextmanager
def _full_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Retryable(FailureCode.STORE_FULL, str(error)) from error
