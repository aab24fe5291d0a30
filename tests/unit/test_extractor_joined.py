"""A recording in several files reads as one."""

import io
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.extractor.engine import Extractor
from services.extractor.joined import open_joined
from tests.media import Sound, record


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    sizes=st.lists(st.integers(min_value=0, max_value=40), max_size=6),
    moves=st.lists(st.tuples(st.integers(0, 250), st.sampled_from([os.SEEK_SET, os.SEEK_CUR]), st.integers(-1, 90))),
)
def test_several_files_read_as_one_would(tmp_path: Path, sizes: list[int], moves: list[tuple[int, int, int]]) -> None:
    content = bytes(range(256))[: sum(sizes)]
    paths = []
    at = 0
    for n, size in enumerate(sizes):
        paths.append(tmp_path / f"{n:05d}")
        paths[-1].write_bytes(content[at : at + size])
        at += size
    whole = io.BytesIO(content)
    with open_joined(paths) as joined:
        assert joined.size == len(content)
        for offset, whence, size in moves:
            assert joined.seek(offset, whence) == whole.seek(offset, whence)
            assert joined.read(size) == whole.read(size)
            assert joined.tell() == whole.tell()
        assert joined.seek(0, os.SEEK_END) == len(content)
        with pytest.raises(ValueError, match="negative"):
            joined.seek(-1)


def test_a_recording_in_parts_gives_the_sound_of_the_whole(tmp_path: Path) -> None:
    source = record(tmp_path / "talk.mp4", [Sound(seconds=5)], picture_s=5)
    content = source.read_bytes()
    parts = [tmp_path / f"part{n}" for n in range(7)]
    size = len(content) // 6
    for n, part in enumerate(parts):
        part.write_bytes(content[n * size : (n + 1) * size])
    made = []
    for files in ([source], parts):
        wav = tmp_path / f"{len(files)}.wav"
        media = Extractor().extract(files, wav, tmp_path / "peaks", report=lambda fraction, message: None)
        made.append((wav.read_bytes(), media))
    assert made[0] == made[1]
    assert made[0][1].warnings == []
