"""The artifact store: what is written once, and what is missing."""

import asyncio
import uuid
from pathlib import Path

import pytest

from chassis.store import Missing, Store
from contracts.failures import FAILURES, FailureCode

SMALL, LARGE = 1000, 20 << 20


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store((tmp_path / "artifacts").as_uri() if request.param == "disk" else "memory:///")


def written(folder: Path, content: bytes) -> Path:
    path = folder / uuid.uuid4().hex
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_of_two_that_store_a_file_at_once_the_first_wins(store: Store, tmp_path: Path, size: int) -> None:
    # given two writers that both found nothing
    writing = {
        asyncio.create_task(store.put_file("cache/anon/x.wav", written(tmp_path, letter * size)))
        for letter in (b"a", b"b")
    }
    # when one of them is done
    done, late = await asyncio.wait(writing, return_when=asyncio.FIRST_COMPLETED)
    first = await store.get("cache/anon/x.wav")
    # then the other changes nothing any more, and leaves nothing behind
    await asyncio.gather(*done, *late)
    assert await store.get("cache/anon/x.wav") == first
    assert len(first) == size
    assert [file.key async for file in store.list("cache/")] == ["cache/anon/x.wav"]


async def test_a_file_that_is_stored_is_not_stored_again(store: Store, tmp_path: Path) -> None:
    assert await store.put_file("cache/anon/x.wav", written(tmp_path, b"first")) == 5
    assert await store.put_file("cache/anon/x.wav", written(tmp_path, b"later")) == 5
    assert await store.get("cache/anon/x.wav") == b"first"


async def test_a_file_larger_than_a_part_is_stored_whole(store: Store, tmp_path: Path) -> None:
    assert await store.put_file("cache/anon/x.wav", written(tmp_path, b"01" * (LARGE // 2))) == LARGE
    assert await store.get("cache/anon/x.wav") == b"01" * (LARGE // 2)


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("uploads/anon/a/00001", FailureCode.SOURCE_MISSING),
        ("uploads/anon/a.fetched/b/00000", FailureCode.SOURCE_MISSING),
        ("cache/anon/planner/a.plan.json", FailureCode.ARTIFACT_MISSING),
        ("edits/anon/a/1.json", FailureCode.ARTIFACT_MISSING),
    ],
)
async def test_only_what_the_user_sent_is_lost_for_good(store: Store, key: str, code: FailureCode) -> None:
    with pytest.raises(Missing) as missing:
        await store.get(key)
    assert missing.value.code is code
    assert FAILURES[code].retry_can_help is not key.startswith("uploads/")
