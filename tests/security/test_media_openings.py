"""FFmpeg as the extractor opens it, without the sandbox around it: that alone opens nothing either."""

import asyncio
import ctypes
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from contracts.failures import EngineError
from services.extractor import opening
from services.extractor.engine import Extractor
from services.extractor.limits import Limits
from tests.media import Sound, record
from tests.origin import origin
from tests.security import corpus
from tests.security.corpus import Bait

_IN_OPEN, _IN_NONBLOCK = 0x20, 0o4000
_OPENING_OTHERS = (
    "concat", "dash", "hls", "image2", "image2pipe", "imf", "lrc", "rtsp", "sdp", "tedcaptions", "vobsub",
    "webm_dash_manifest",
)  # fmt: skip
"""Demuxers that open what their input names, or read what is no recording."""


class Openings:
    """How often a file in a folder was opened, by inotify(7)."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def names(self) -> list[str]:
        """Since the last time."""
        found = []
        with suppress(BlockingIOError):
            while events := os.read(self._descriptor, 1 << 16):
                while events:
                    length = struct.unpack_from("iIII", events)[3]
                    found.append(events[16 : 16 + length].rstrip(b"\0").decode())
                    events = events[16 + length :]
        return found


@contextmanager
def watched(folder: Path) -> Iterator[Openings]:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(_IN_NONBLOCK)
    assert libc.inotify_add_watch(descriptor, os.fsencode(folder), _IN_OPEN) > 0
    try:
        yield Openings(descriptor)
    finally:
        os.close(descriptor)


@pytest.mark.skipif(sys.platform != "linux", reason="counted by inotify")
async def test_no_file_that_points_elsewhere_has_anything_opened(tmp_path: Path) -> None:
    # given a recording and a server that files point at
    folder, work = tmp_path / "bait", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    bait = record(folder / "bait.wav", [Sound(seconds=0.5, codec="pcm_s16le")])
    content = bait.read_bytes()

    def read_all(address: str) -> int:
        pointing = list(corpus.pointing(Bait(file=bait, address=address), corpus.seeds()))
        for one in pointing:
            (work / "sent").write_bytes(one.content)
            with suppress(EngineError):
                Extractor().extract(
                    [work / "sent"], work / "wav", work / "peaks", report=lambda fraction, message: None
                )
        return len(pointing)

    with watched(folder) as openings:
        async with origin() as server:
            server.serves(content)
            # when all of them are read
            assert await asyncio.to_thread(read_all, f"{server.url}/bait.wav") > 100
            # then nobody came, and nothing was opened
            assert server.connections == 0
        assert openings.names() == []
        # and an opening would have been seen
        bait.read_bytes()
        assert openings.names() == ["bait.wav"]


def test_no_demuxer_that_opens_others_is_on_the_list(tmp_path: Path) -> None:
    named = set(opening._DEMUXERS.split(","))
    assert named.isdisjoint(_OPENING_OTHERS)
    # and what is opened is always one of the list
    with opening.Recording(
        [record(tmp_path / "a.wav", [Sound(seconds=0.1, codec="pcm_s16le")])], Limits()
    ) as recording:
        assert set(recording.container.format.name.split(",")) <= named
