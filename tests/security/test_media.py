"""Hostile media: a part of what `python -m tests.security.media` tries, and proof that its alarms ring."""

import asyncio
import itertools
from contextlib import suppress
from pathlib import Path

import av
import av.error
import msgspec
import pytest

from contracts.failures import FailureCode
from services.extractor.settings import Settings
from tests.security import corpus
from tests.security.corpus import ANY, DECODED, Specimen
from tests.security.media import Outcome, Table, trap, tried

SMALL = Settings(max_duration_s=60.0, max_wall_s=120.0)


async def test_nothing_gets_out_and_nobody_is_lost() -> None:
    # given some of every kind but the largest
    whole = corpus.seeds()
    async with trap(SMALL) as (trapped, requests):
        pointing = itertools.islice(corpus.pointing(trapped.bait, whole), 0, None, 16)
        others = itertools.chain(
            corpus.misnamed(whole), list(corpus.truncated(whole))[::2], corpus.mutations(whole, 24, 7)
        )
        mixed = [msgspec.structs.replace(one, kind="some") for one in itertools.chain(pointing, others)]

        # when they go through the extractor's pool
        table = Table(outcomes=await tried(mixed, trapped, at_once=2), requests=requests())

    assert table.zeros == dict.fromkeys(table.zeros, 0), [one for one in table.outcomes if not one.right or one.lost]
    assert len(table.outcomes) == len(mixed) + 1


async def test_minutes_out_of_few_bytes_end_at_the_limit() -> None:
    bombs = [msgspec.structs.replace(one, kind="some") for one in corpus.long_silence(hours=1)]
    async with trap(SMALL) as (trapped, _):
        outcomes = await trapped.examine([one for one in bombs if one.name not in ("slow.wav", "infinite.mkv")])

    assert {one.name: str(one.code) for one in outcomes} == {one.name: "media_limit" for one in outcomes}
    assert all("0:01:00" in one.told for one in outcomes)


async def test_a_file_that_got_out_would_be_seen() -> None:
    # given the bait itself as the recording
    async with trap() as (trapped, requests):
        bait = Specimen(
            kind="bait", name="bait.wav", content=trapped.bait.file.read_bytes(), right=frozenset({DECODED})
        )

        outcomes = await trapped.examine([bait])

        assert [(one.code, one.leaked) for one in outcomes] == [(DECODED, True)]
        assert requests() == 0


async def test_a_reader_without_our_precautions_falls_for_the_bait(tmp_path: Path) -> None:
    """Else the files that point somewhere would show nothing."""

    def read(path: Path) -> None:
        allowed = {"protocol_whitelist": "file,http,tcp", "allowed_extensions": "ALL", "safe": "0"}
        with suppress(av.error.FFmpegError), av.open(str(path), options=allowed, timeout=5) as container:
            next(container.demux())

    async with trap() as (trapped, requests):
        pointing = {one.name: one for one in corpus.pointing(trapped.bait, corpus.seeds()) if b"http:" in one.content}
        for name in ("m3u8.m3u8", "concat.mp4"):
            (tmp_path / name).write_bytes(pointing[name].content)
            before = requests()
            await asyncio.to_thread(read, tmp_path / name)
            assert requests() > before


@pytest.mark.parametrize(
    ("outcome", "name"),
    [
        (Outcome(kind="a", name="b", code="not_media", lost=True), "workers lost"),
        (Outcome(kind="a", name="b", code="not_media", leaked=True), "files read outside"),
        (Outcome(kind="a", name="b", code="not_media", right=False), "wrong outcomes"),
        (Outcome(kind="a", name="b", code=FailureCode.DECODER_CRASHED), "decoders crashed"),
    ],
)
def test_each_zero_counts_what_it_names(outcome: Outcome, name: str) -> None:
    counted = Table(outcomes=[outcome], requests=0).zeros

    assert {key for key, count in counted.items() if count} == {name}


def test_the_same_seed_makes_the_same_files(tmp_path: Path) -> None:
    whole = {"a": bytes(range(256)) * 20, "b": b"b" * 3000}

    first, again, other = (list(corpus.mutations(whole, 50, seed)) for seed in (3, 3, 4))

    assert first == again != other
    assert all(one.right == ANY for one in first)
