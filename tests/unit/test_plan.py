import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.transcript import Region
from services.transcriber import plan
from services.transcriber.plan import CHUNK_SPAN_S, FRAME_SAMPLES, SAMPLE_RATE, WINDOW_S, WINDOW_SPAN_S

FRAMES_PER_S = SAMPLE_RATE / FRAME_SAMPLES


@st.composite
def recordings(draw: st.DrawFn) -> list[Region]:
    """Regions as the detector makes them: in order, at most 30 s each, pauses from none to minutes."""
    regions, at = [], 0.0
    for pause, length in draw(
        st.lists(st.tuples(st.sampled_from([0.0, 0.16, 0.8, 3.0, 40.0, 400.0]), st.floats(0.1, 29.9)), max_size=80)
    ):
        start = round(at + pause, 3)
        at = round(start + length, 3)
        regions.append(Region(start, at))
    return regions


@given(recordings())
def test_every_region_is_in_exactly_one_chunk_and_in_order(regions: list[Region]) -> None:
    chunks = plan.chunks(regions)

    assert [region for chunk in chunks for region in chunk.regions] == regions
    assert [chunk.n for chunk in chunks] == list(range(len(chunks)))
    assert all(chunk.start == chunk.regions[0].start for chunk in chunks)
    assert all(chunk.end == chunk.regions[-1].end for chunk in chunks)


@given(recordings())
def test_where_chunks_are_cut_does_not_change_what_whisper_hears(regions: list[Region]) -> None:
    whole = plan.windows(regions)

    assert [window for chunk in plan.chunks(regions) for window in plan.windows(chunk.regions)] == whole


@given(recordings())
def test_windows_and_chunks_keep_to_their_limits(regions: list[Region]) -> None:
    for window in plan.windows(regions):
        assert plan.speech_s(window) <= WINDOW_S
        assert window[-1].end - window[0].start <= WINDOW_SPAN_S
    for chunk in plan.chunks(regions):
        assert chunk.end - chunk.start <= CHUNK_SPAN_S


def test_the_first_chunks_are_small_so_that_captions_come_early() -> None:
    regions = [Region(n * 10.0, n * 10.0 + 10.0) for n in range(100)]

    lengths = [round(chunk.end - chunk.start) for chunk in plan.chunks(regions)]

    assert lengths == [30, 60, 120, 240, 240, 240, 70]


def test_a_window_is_cut_at_the_longest_pause_near_its_end() -> None:
    regions = [Region(0.0, 10.0), Region(10.0, 27.0), Region(27.9, 29.0), Region(29.2, 34.0)]

    assert plan.windows(regions) == [regions[:2], regions[2:]]


def test_a_recording_without_speech_has_no_chunks() -> None:
    assert plan.chunks(plan.speech_regions([0.01] * 100_000, 100_000 * FRAME_SAMPLES)) == []
    assert plan.chunks([]) == []


@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.integers(1, 40)), max_size=40), st.integers(0, FRAME_SAMPLES - 1))
def test_regions_are_those_of_faster_whisper(runs: list[tuple[float, int]], missing: int) -> None:
    numpy = pytest.importorskip("numpy")
    vad = pytest.importorskip("faster_whisper.vad")
    probabilities = [p for p, length in runs for _ in range(length)][: int(28 * FRAMES_PER_S)]
    samples = max(0, len(probabilities) * FRAME_SAMPLES - missing)
    options = vad.VadOptions(max_speech_duration_s=30, min_silence_duration_ms=160)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vad, "get_vad_model", lambda: lambda audio: probabilities)
        theirs = vad.get_speech_timestamps(numpy.zeros(samples, dtype="float32"), options)

    ours = plan.speech_regions(probabilities, samples)

    assert len(ours) == len(theirs)
    for region, other in zip(ours, theirs, strict=True):
        assert region.start == pytest.approx(other["start"] / SAMPLE_RATE, abs=0.001)
        assert region.end == pytest.approx(other["end"] / SAMPLE_RATE, abs=0.001)


def test_speech_without_a_pause_is_cut_at_its_quietest_moment() -> None:
    probabilities = [0.9] * 2000
    probabilities[700:703] = [0.6] * 3

    first, second, *_ = plan.speech_regions(probabilities, 2000 * FRAME_SAMPLES)

    assert first.end == second.start == pytest.approx(701 / FRAMES_PER_S, abs=0.001)
    assert all(len(window) >= 1 for window in plan.windows([first, second]))
