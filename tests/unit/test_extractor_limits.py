"""What a recording may be: at each limit it is taken, one past it it is refused with the limit and the value."""

import struct
import wave
from pathlib import Path

import numpy as np
import pytest

from chassis.settings import SettingsError, load
from contracts.failures import FailureCode, Permanent
from contracts.transcript import MediaFacts
from services.extractor.engine import Extractor
from services.extractor.limits import Limits
from services.extractor.settings import Settings
from tests.media import Sound, loudness, record, tone_at

SHORT = Limits(duration_s=2.0)


def sound(path: Path, *, samples: int = 8_000, rate: int = 8_000, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes(bytes(2 * channels * samples))
    return path


def extract(source: Path, limits: Limits | None = None) -> MediaFacts:
    folder = source.parent
    return Extractor(limits).extract([source], folder / "out", folder / "peaks", report=lambda fraction, message: None)


def told(source: Path, limits: Limits | None = None) -> str:
    with pytest.raises(Permanent) as caught:
        extract(source, limits)
    assert caught.value.code == FailureCode.MEDIA_LIMIT
    return caught.value.told


def test_a_recording_may_last_as_long_as_the_limit_and_not_a_sample_longer(tmp_path: Path) -> None:
    assert extract(sound(tmp_path / "a.wav", samples=16_000), SHORT).duration_s == 2.0
    assert told(sound(tmp_path / "b.wav", samples=16_001), SHORT) == (
        "It lasts 0:00:03 hours or more; the most is 0:00:02 hours."
    )


def test_what_comes_out_counts_where_the_header_says_less(tmp_path: Path) -> None:
    # given three seconds in a container that does not say how long it is, and in one that says too little
    silent = record(tmp_path / "a.adts", [Sound(seconds=3)])
    lying = record(tmp_path / "a.flac", [Sound(seconds=3, codec="flac")])
    content = bytearray(lying.read_bytes())
    content[21:26] = bytes([content[21] & 0xF0]) + (48_000).to_bytes(4, "big")  # of STREAMINFO: 36 bits of samples
    lying.write_bytes(content)
    for source in (silent, lying):
        # then it is taken where there may be so much, and stopped where it is too much
        assert extract(source, Limits(duration_s=3.5)).duration_s == pytest.approx(3, abs=0.1)
        assert "0:00:02 hours" in told(source, SHORT)
        assert (tmp_path / "out").stat().st_size <= 44 + 2 * 32_000


def test_what_is_declared_counts_before_anything_is_decoded(tmp_path: Path) -> None:
    source = record(tmp_path / "a.flac", [Sound(seconds=1, codec="flac")])
    content = bytearray(source.read_bytes())
    content[21:26] = bytes([content[21] & 0xF0 | 0x0F]) + b"\xff" * 4  # of STREAMINFO: 36 bits of samples
    source.write_bytes(content)

    assert "397:" in told(source)
    assert not (tmp_path / "out").exists()


def test_a_hole_is_refused_before_it_is_filled_with_silence(tmp_path: Path) -> None:
    late = Sound(seconds=6, hole=(1, 5))
    source = record(tmp_path / "a.mkv", [late], form="matroska", options={"live": "1"})

    assert extract(source, Limits(duration_s=6.5)).duration_s == pytest.approx(6, abs=0.1)
    assert "the most is 0:00:03 hours" in told(source, Limits(duration_s=3.0))
    assert (tmp_path / "out").stat().st_size < 44 + 2 * 32_000


def test_tracks_end_at_their_limit(tmp_path: Path) -> None:
    tracks = [Sound(seconds=0.2, codec="pcm_s16le")] * 3
    source = record(tmp_path / "a.mkv", tracks, form="matroska")

    assert len(extract(source, Limits(streams=3)).tracks) == 3
    assert told(source, Limits(streams=2)) == "It holds 3 streams or more; the most is 2."
    assert told(source, Limits(streams=1)) == "It holds 2 streams or more; the most is 1."


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s32le", "pcm_f64le"])
def test_of_more_channels_than_anybody_knows_a_place_for_all_are_heard(tmp_path: Path, codec: str) -> None:
    source = record(tmp_path / "desk.wav", [Sound(seconds=2, codec=codec, layout="32 channels", level=0.5)])

    extract(source)

    samples = np.frombuffer((tmp_path / "out").read_bytes()[44:], dtype="<i2")
    assert tone_at(samples[8_000:24_000]) == pytest.approx(440, abs=3)
    assert loudness(samples[8_000:24_000]) == pytest.approx(0.5 / 2**0.5, abs=0.02)


def test_channels_end_at_their_limit(tmp_path: Path) -> None:
    assert extract(sound(tmp_path / "a.wav", channels=64)).duration_s == 1.0
    assert told(sound(tmp_path / "b.wav", channels=65)) == "Its sound has 65 channels; the most is 64."


def test_sample_rates_end_at_their_limits(tmp_path: Path) -> None:
    for rate in (1_000, 768_000):
        assert extract(sound(tmp_path / "a.wav", samples=rate, rate=rate)).duration_s == pytest.approx(1, abs=0.01)
    assert told(sound(tmp_path / "b.wav", rate=768_001)) == (
        "Its sound has 768,001 samples a second; the most is 768,000."
    )
    assert told(sound(tmp_path / "c.wav", rate=999)) == "Its sound has 999 samples a second; the least is 1,000."


def test_a_length_of_absurdly_many_digits_is_no_length(tmp_path: Path) -> None:
    source = record(tmp_path / "a.mkv", [Sound(seconds=1)], form="matroska")
    content = source.read_bytes()
    at = content.index(b"00:00:01.")
    source.write_bytes(content[:at] + b"9" * 6 + content[at + 6 :])

    assert extract(source).duration_s == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_DURATION_S", "0"),
        ("MAX_DURATION_S", "133201"),
        ("MAX_STREAMS", "0"),
        ("MAX_CPU_S", "0"),
        ("MAX_MEMORY_BYTES", "1000"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_at_start(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name.lower()):
        load(Settings, "SUBTIDE_EXTRACTOR_", {f"SUBTIDE_EXTRACTOR_{name}": value})


def test_the_file_that_comes_out_may_be_as_large_as_the_longest_recording() -> None:
    settings = Settings(max_duration_s=37 * 3600.0)
    wav = struct.calcsize("<4sI4s4sIHHIIHH4sI") + 37 * 3600 * 32_000

    assert wav < settings.sandbox.file_bytes < 2**32
