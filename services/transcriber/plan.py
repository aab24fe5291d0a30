"""From speech probabilities to chunks of work.

Speech is found in *frames* (32 ms), gathered into *regions* (speech between two pauses), packed into *windows* (what
Whisper hears at once, 30 s of speech with the silence taken out), and handed out in *chunks* of whole windows. Windows
are packed before chunks are cut, so where a chunk ends has no influence on what Whisper hears.
"""

from collections.abc import Iterator, Sequence

import msgspec

from contracts.transcript import Chunk, Region

SAMPLE_RATE = 16_000
FRAME_SAMPLES = 512
"""What the voice activity detector (silero) judges at a time."""
WINDOW_S = 30.0
"""Speech that Whisper hears at once."""
WINDOW_SPAN_S = 120.0
"""Stretch of the recording a window may come from: words far apart are no context for one another."""
CHUNK_WINDOWS = (1, 2, 4, 8)
"""Windows of the first chunks; the last number holds for the rest. Small first: 30 s, 60 s, 120 s, then 240 s."""
CHUNK_SPAN_S = 300.0

_CUT_SEARCH_S = 3.0

# The settings of faster-whisper's batched pipeline, so that regions are those of its `vad_filter`.
_SPEECH = 0.5
_SILENCE = 0.35
_MIN_SILENCE_SAMPLES = SAMPLE_RATE * 160 // 1000
_PAD_SAMPLES = SAMPLE_RATE * 400 // 1000
_MAX_SPEECH_SAMPLES = int(WINDOW_S * SAMPLE_RATE) - FRAME_SAMPLES - 2 * _PAD_SAMPLES


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """What is said where, in which language, and in which chunks it will be written down."""

    regions: list[Region]
    chunks: list[Chunk]
    language: str | None
    language_probability: float | None
    """How sure detection is of `language`; None where it did not listen."""
    language_source: str
    """`forced` (by the job, or by a model that knows one language), `hint` (the job's, not overruled), `detected`, or
    `none` where nobody speaks.
    """
    speech_s: float


def speech_regions(probabilities: Sequence[float], samples: int) -> list[Region]:
    """Regions of a recording of `samples` from the speech probability of each of its frames.

    The same as `faster_whisper.vad.get_speech_timestamps`, but that speech without a pause that is too long for a
    window is cut at its quietest moment, not in the middle of a word.
    """
    spans = [part for span in _spans(probabilities, samples) for part in _cut(*span, probabilities=probabilities)]
    return [
        Region(_seconds(start), _seconds(end))
        for start, end in _padded(spans, samples)
        if _seconds(end) > _seconds(start)
    ]


def windows(regions: Sequence[Region]) -> list[list[Region]]:
    """Packs regions, in order, into windows, each cut at the longest pause in the last seconds of what fits.

    A row of packed windows is packed the same way again.
    """
    packed: list[list[Region]] = []
    window: list[Region] = []
    for region in regions:
        if window and not _fits(window, region):
            cut = _longest_pause([*window, region])
            packed.append(window[:cut])
            window = window[cut:]
            if window and not _fits(window, region):
                packed.append(window)
                window = []
        window.append(region)
    return [*packed, window] if window else packed


def chunks(regions: Sequence[Region]) -> list[Chunk]:
    """Cuts a recording between windows; a chunk runs from its first speech to its last, without the silence between."""
    parts: list[list[list[Region]]] = []
    for window in windows(regions):
        room = CHUNK_WINDOWS[min(len(parts), len(CHUNK_WINDOWS)) - 1]
        if parts and len(parts[-1]) < room and window[-1].end - parts[-1][0][0].start <= CHUNK_SPAN_S:
            parts[-1].append(window)
        else:
            parts.append([window])
    flat = [[region for window in part for region in window] for part in parts]
    return [Chunk(n=n, start=part[0].start, end=part[-1].end, regions=part) for n, part in enumerate(flat)]


def speech_s(regions: Sequence[Region]) -> float:
    """Seconds of speech in regions."""
    return round(sum(region.end - region.start for region in regions), 3)


def _spans(probabilities: Sequence[float], samples: int) -> Iterator[tuple[int, int]]:
    """Stretches of speech in samples: begun by a frame that is surely speech, ended by 160 ms that surely are not."""
    start: int | None = None
    quiet: int | None = None
    for frame, probability in enumerate(probabilities):
        at = frame * FRAME_SAMPLES
        if probability >= _SPEECH:
            start = at if start is None else start
            quiet = None
        elif probability < _SILENCE and start is not None:
            quiet = at if quiet is None else quiet
            if at - quiet >= _MIN_SILENCE_SAMPLES:
                yield start, quiet
                start = quiet = None
    if start is not None:
        yield start, samples


def _cut(start: int, end: int, *, probabilities: Sequence[float]) -> Iterator[tuple[int, int]]:
    """Cuts a stretch too long for a window at the quietest 96 ms of the second half of what fits."""
    while end - start > _MAX_SPEECH_SAMPLES:
        first = (start + _MAX_SPEECH_SAMPLES // 2) // FRAME_SAMPLES + 1
        last = (start + _MAX_SPEECH_SAMPLES) // FRAME_SAMPLES
        quietest = min(range(first, last), key=lambda frame: sum(probabilities[frame - 1 : frame + 2]))
        yield start, quietest * FRAME_SAMPLES
        start = quietest * FRAME_SAMPLES
    yield start, end


def _padded(spans: list[tuple[int, int]], samples: int) -> Iterator[tuple[int, int]]:
    """400 ms more on both sides, since the detector clips soft sounds; neighbours closer than that share the pause."""
    for n, (start, end) in enumerate(spans):
        before = start - spans[n - 1][1] if n else 2 * start
        after = spans[n + 1][0] - end if n + 1 < len(spans) else 2 * (samples - end)
        yield start - min(_PAD_SAMPLES, before // 2), end + min(_PAD_SAMPLES, after // 2)


def _fits(window: list[Region], region: Region) -> bool:
    return speech_s([*window, region]) <= WINDOW_S and region.end - window[0].start <= WINDOW_SPAN_S


def _longest_pause(regions: list[Region]) -> int:
    """Where to part a window and the region that does not fit: the index of the first region left to the next one."""
    best = len(regions) - 1
    for index in range(best, 0, -1):
        if speech_s(regions[index:-1]) > _CUT_SEARCH_S:
            break
        if _pause_s(regions, index) > _pause_s(regions, best):
            best = index
    return best


def _pause_s(regions: list[Region], index: int) -> float:
    return regions[index].start - regions[index - 1].end


def _seconds(samples: int) -> float:
    """Whole milliseconds, never beyond the sample: frames are 32 ms, so only the end of a recording is rounded."""
    return samples // (SAMPLE_RATE // 1000) / 1000
