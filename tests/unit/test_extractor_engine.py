"""The sound of any recording, on the recording's own clock."""

import json
import multiprocessing
import random
import resource
import sys
import wave
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.failures import EngineError, FailureCode, Permanent
from contracts.transcript import MediaFacts
from services.extractor.engine import CORRUPT, TRUNCATED, Extractor
from services.extractor.peaks import Peaks
from tests.media import Sound, loudness, record, tone_at

RATE = 16_000


def extract(source: Path) -> tuple[MediaFacts, "np.ndarray[Any, Any]"]:
    wav, peaks = source.parent / "out.wav", source.parent / "out.peaks"
    media = Extractor().extract([source], wav, peaks, report=lambda fraction, message: None)
    samples = np.frombuffer(wav.read_bytes()[44:], dtype="<i2")
    assert media.duration_s == pytest.approx(len(samples) / RATE, abs=0.001)
    return media, samples


def failure(source: Path) -> FailureCode:
    with pytest.raises(Permanent) as caught:
        extract(source)
    return caught.value.code


def half(whole: Path) -> Path:
    content = whole.read_bytes()
    cut = whole.with_name(f"half-{whole.name}")
    cut.write_bytes(content[: len(content) // 2])
    return cut


def test_a_wav_comes_out_whose_bytes_are_a_range_of_time(tmp_path: Path) -> None:
    source = record(tmp_path / "talk.mp4", [Sound(seconds=2, layout="stereo")], picture_s=2)

    media, samples = extract(source)

    with wave.open(str(tmp_path / "out.wav"), "rb") as audio:
        assert (audio.getnchannels(), audio.getsampwidth(), audio.getframerate()) == (1, 2, RATE)
        assert audio.getnframes() == len(samples)
    assert media.duration_s == pytest.approx(2, abs=0.05)
    assert tone_at(samples[RATE // 2 : RATE * 3 // 2]) == pytest.approx(440, abs=3)
    assert {track.kind for track in media.tracks} == {"audio", "video"}
    assert media.warnings == []


@pytest.mark.parametrize(
    ("name", "sound"),
    [
        ("telephone.wav", Sound(seconds=2, codec="pcm_mulaw", rate=8_000)),
        ("surround.wav", Sound(seconds=2, codec="pcm_s16le", layout="5.1")),
        ("speakers-of-no-known-place.wav", Sound(seconds=2, codec="pcm_s16le", layout="10 channels")),
        ("studio.flac", Sound(seconds=2, codec="flac", rate=96_000, layout="stereo")),
        ("song.mp3", Sound(seconds=2, codec="libmp3lame", rate=44_100, layout="stereo")),
        ("note.ogg", Sound(seconds=2, codec="libopus")),
        ("stream.adts", Sound(seconds=2)),
    ],
)
def test_sound_of_any_make_keeps_its_length_and_pitch(tmp_path: Path, name: str, sound: Sound) -> None:
    media, samples = extract(record(tmp_path / name, [sound]))

    assert media.duration_s == pytest.approx(2, abs=0.06)
    assert tone_at(samples[RATE // 2 : RATE * 3 // 2]) == pytest.approx(440, abs=3)
    assert loudness(samples[RATE // 2 : RATE * 3 // 2]) > 0.05
    assert media.warnings == []


def test_the_voice_in_the_centre_of_5_1_is_heard(tmp_path: Path) -> None:
    centre = Sound(seconds=2, codec="ac3", layout="5.1", only_channel=2)

    _, samples = extract(record(tmp_path / "film.mka", [centre], form="matroska"))

    assert loudness(samples[RATE // 2 : RATE]) > 0.02


@pytest.mark.parametrize(("defaults", "heard"), [((False, True), 900), ((True, False), 300), ((False, False), 300)])
def test_of_two_tracks_the_default_is_heard_or_else_the_first(
    tmp_path: Path, defaults: tuple[bool, bool], heard: int
) -> None:
    tracks = [
        Sound(seconds=2, hertz=hertz, default=default) for hertz, default in zip((300, 900), defaults, strict=True)
    ]
    source = record(tmp_path / "two.mkv", tracks, form="matroska", picture_s=2)

    media, samples = extract(source)

    assert tone_at(samples[RATE // 2 : RATE]) == pytest.approx(heard, abs=5)
    assert [track.index for track in media.tracks if track.kind == "audio"][heard == 900] == media.audio_track


@pytest.mark.parametrize(("name", "form"), [("late.mkv", "matroska"), ("late.mp4", "mp4"), ("late.ts", "mpegts")])
def test_sound_that_begins_after_the_picture_stays_in_step_with_it(tmp_path: Path, name: str, form: str) -> None:
    source = record(tmp_path / name, [Sound(seconds=2, starts_s=1.5)], form=form, picture_s=5)

    media, samples = extract(source)

    assert media.duration_s == pytest.approx(3.5, abs=0.05)
    assert loudness(samples[: int(1.4 * RATE)]) < 0.001
    assert loudness(samples[int(1.6 * RATE) : int(3.4 * RATE)]) > 0.1


@pytest.mark.parametrize(("name", "form"), [("clock.mkv", "matroska"), ("clock.mp4", "mp4"), ("clock.ts", "mpegts")])
def test_a_recording_whose_clock_starts_late_is_whole(tmp_path: Path, name: str, form: str) -> None:
    media, _ = extract(record(tmp_path / name, [Sound(seconds=10, starts_s=8)], form=form))

    assert media.duration_s == pytest.approx(10, abs=0.1)
    assert media.warnings == []


@pytest.mark.parametrize(("name", "form"), [("hole.mkv", "matroska"), ("hole.mp4", "mp4")])
def test_a_hole_in_the_sound_is_silence_of_its_length(tmp_path: Path, name: str, form: str) -> None:
    source = record(tmp_path / name, [Sound(seconds=6, hole=(2, 4))], form=form, picture_s=6)

    media, samples = extract(source)

    assert media.duration_s == pytest.approx(6, abs=0.06)
    assert loudness(samples[int(2.2 * RATE) : int(3.8 * RATE)]) < 0.001
    assert loudness(samples[int(4.2 * RATE) : int(5.8 * RATE)]) > 0.1
    assert media.warnings == []


def test_a_video_of_varying_frame_rate_has_the_length_of_its_sound(tmp_path: Path) -> None:
    source = record(tmp_path / "screen.mp4", [Sound(seconds=5)], picture_s=5, variable_rate=True)

    media, _ = extract(source)

    assert media.duration_s == pytest.approx(5, abs=0.05)


@pytest.mark.parametrize("name", ["tiny.wav", "tiny.mp4", "tiny.mp3"])
def test_a_fifth_of_a_second_is_a_recording(tmp_path: Path, name: str) -> None:
    codec = {"tiny.wav": "pcm_s16le", "tiny.mp4": "aac", "tiny.mp3": "libmp3lame"}[name]

    media, _ = extract(record(tmp_path / name, [Sound(seconds=0.2, codec=codec)]))

    assert media.duration_s == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize(
    "name",
    ['it\'s "quoted".wav', "two\nlines.wav", "🎙️ gespräch.wav", "http:evil.wav", "concat:a|b", "%d.png", "-i", "a.m3u8"],
)
def test_the_name_of_a_file_means_nothing(tmp_path: Path, name: str) -> None:
    made = record(tmp_path / "plain.wav", [Sound(seconds=1, codec="pcm_s16le")])

    media, _ = extract(made.rename(tmp_path / name))

    assert (media.duration_s, media.container) == (1.0, "wav")


def test_an_empty_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()

    assert failure(tmp_path / "empty.mp4") == FailureCode.EMPTY_FILE


@pytest.mark.parametrize("name", ["notes.txt", "notes.mp3", "notes.mp4", "notes.srt", "notes.m3u8"])
@pytest.mark.parametrize(
    "content",
    [
        b"Dear diary, today I recorded nothing.\n" * 50,
        b"1\n00:00:01,000 --> 00:00:02,000\nhello\n\n",
        b"#EXTM3U\n#EXTINF:10,\nhttp://localhost/a.ts\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"x",
        b"\x89PNG\r\n\x1a\n" + bytes(200),
        b"%PDF-1.7\n" + bytes(range(256)) * 40,
        b"PK\x03\x04" + bytes(range(256)) * 40,
        bytes(5000),
    ],
)
def test_what_is_no_recording_is_refused_whatever_its_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)

    assert failure(tmp_path / name) == FailureCode.NOT_MEDIA


def test_a_video_without_sound_says_so(tmp_path: Path) -> None:
    assert failure(record(tmp_path / "silent.mp4", [], picture_s=2)) == FailureCode.NO_AUDIO


def test_sound_that_is_rubbish_throughout_says_so(tmp_path: Path) -> None:
    source = record(tmp_path / "rubbish.mp4", [Sound(seconds=3)])
    content = bytearray(source.read_bytes())
    first, last = content.index(b"mdat") + 4, content.index(b"moov") - 4
    content[first:last] = bytes(b"\xff" * (last - first))
    source.write_bytes(content)

    assert failure(source) == FailureCode.UNDECODABLE


def test_an_mp4_cut_before_its_table_of_contents_cannot_be_decoded(tmp_path: Path) -> None:
    whole = record(tmp_path / "talk.mp4", [Sound(seconds=10)], picture_s=10)

    assert failure(half(whole)) == FailureCode.UNDECODABLE


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("faststart.mp4", "aac", {"movflags": "faststart"}),
        ("fragmented.mp4", "aac", {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
        ("talk.wav", "pcm_s16le", {}),
        ("talk.mp3", "libmp3lame", {}),
        ("talk.flac", "flac", {}),
        ("talk.webm", "libopus", {}),
    ],
)
def test_of_a_file_cut_in_half_what_is_there_is_used_with_a_warning(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    whole = record(
        tmp_path / name, [Sound(seconds=20, codec=codec)], picture_s=20 * name.endswith(".mp4"), options=options
    )

    complete, _ = extract(whole)
    cut, samples = extract(half(whole))

    assert complete.warnings == []
    assert TRUNCATED in cut.warnings
    assert 7 < cut.duration_s < 13
    assert loudness(samples[RATE : 6 * RATE]) > 0.1


def test_damage_in_the_middle_costs_that_stretch_alone(tmp_path: Path) -> None:
    source = record(tmp_path / "talk.mp4", [Sound(seconds=20)], options={"movflags": "faststart"})
    content = bytearray(source.read_bytes())
    middle = (content.index(b"mdat") + len(content)) // 2
    content[middle : middle + 4000] = b"\xff" * 4000
    source.write_bytes(content)

    media, samples = extract(source)

    assert CORRUPT in media.warnings
    assert media.duration_s == pytest.approx(20, abs=0.2)
    assert tone_at(samples[18 * RATE : 19 * RATE]) == pytest.approx(440, abs=3)


def test_whatever_the_bytes_the_failure_is_one_of_ours(tmp_path: Path) -> None:
    tone = [Sound(seconds=1)]
    wholes = [
        record(tmp_path / "a.mp4", tone, picture_s=1).read_bytes(),
        record(tmp_path / "b.mkv", tone, form="matroska", picture_s=1).read_bytes(),
        record(tmp_path / "c.ts", tone, form="mpegts", picture_s=1).read_bytes(),
        record(tmp_path / "d.wav", [Sound(seconds=1, codec="pcm_s16le")]).read_bytes(),
    ]
    chance = random.Random(7)
    for _ in range(120):
        content = bytearray(chance.choice(wholes))
        for _ in range(chance.choice([1, 10, 200])):
            content[chance.randrange(chance.choice([64, 2048, len(content)]))] = chance.randrange(256)
        (tmp_path / "damaged").write_bytes(content[: chance.choice([len(content), chance.randrange(len(content))])])
        with suppress(EngineError):
            extract(tmp_path / "damaged")


def test_an_hour_of_silence_needs_little_memory_and_few_peaks(tmp_path: Path) -> None:
    source = tmp_path / "silence.wav"
    with wave.open(str(source), "wb") as audio:
        audio.setparams((1, 2, 8_000, 0, "NONE", ""))
        for _ in range(60):
            audio.writeframes(bytes(2 * 8_000 * 60))

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        duration_s, resident_bytes = pool.apply(_extract_and_weigh, (source,))

    assert duration_s == 3600
    assert resident_bytes < 150 * 2**20  # the interpreter and FFmpeg alone take half of it; the samples are 115 MB
    peaks = json.loads((tmp_path / "out.peaks").read_bytes())
    assert peaks["length"] * 2 == len(peaks["data"]) <= 8000


def _extract_and_weigh(source: Path) -> tuple[float, int]:
    wav, peaks = source.parent / "out.wav", source.parent / "out.peaks"
    media = Extractor().extract([source], wav, peaks, report=lambda fraction, message: None)
    return media.duration_s, _peak_resident_bytes()


def _peak_resident_bytes() -> int:
    """Of this very process: on Linux `ru_maxrss` begins at what the parent held when it started us."""
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_progress_rises_and_never_claims_to_be_done(tmp_path: Path) -> None:
    source = record(tmp_path / "stream.adts", [Sound(seconds=20)])
    heard: list[float] = []

    Extractor().extract(
        [source], tmp_path / "out.wav", tmp_path / "out.peaks", report=lambda fraction, message: heard.append(fraction)
    )

    assert heard == sorted(heard)
    assert 0.5 < heard[-1] < 1


def test_peaks_cover_every_sample_once_in_at_most_four_thousand_pixels() -> None:
    samples = np.random.default_rng(1).integers(-32768, 32767, 3_000_001).astype(np.int16)
    outline = Peaks(RATE)

    for first in range(0, len(samples), 7_777):
        outline.add(samples[first : first + 7_777])

    made = json.loads(outline.json())
    size = made["samples_per_pixel"]
    pixels = [samples[at : at + size] >> 8 for at in range(0, len(samples), size)]
    assert made["data"] == [int(value) for pixel in pixels for value in (pixel.min(), pixel.max())]
    assert made["length"] == len(pixels) <= 4000
    assert (made["version"], made["channels"], made["bits"], made["sample_rate"]) == (2, 1, 8, RATE)
