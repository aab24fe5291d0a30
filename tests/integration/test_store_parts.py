"""Files that lie in parts, on a disk and in a bucket."""

from pathlib import Path

import pytest

from chassis.store import Missing, Store
from contracts.artifacts import ArtifactRef, part_keys

REF = ArtifactRef(key="uploads/anon/a", digest="d", bytes=9, parts=[4, 0, 3, 2])


@pytest.fixture(params=["disk", "bucket"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    made = Store((tmp_path / "artifacts").as_uri() if request.param == "disk" else "memory:///")
    for key, content in zip(part_keys(REF), (b"0123", b"456", b"78"), strict=True):
        await made.put_part(key, bytearray(content))
    return made


@pytest.mark.parametrize("start", range(10))
async def test_a_file_in_parts_is_read_from_any_byte_on(store: Store, start: int) -> None:
    assert b"".join([block async for block in store.read(REF, start=start)]) == b"012345678"[start:]


async def test_a_file_in_parts_is_there_to_be_read_locally(store: Store) -> None:
    async with store.local_parts(REF) as paths:
        assert b"".join(path.read_bytes() for path in paths) == b"012345678"


async def test_a_part_that_is_missing_is_missed(store: Store) -> None:
    await store.delete(part_keys(REF)[1])
    with pytest.raises(Missing):
        async with store.local_parts(REF):
            pass
    with pytest.raises(Missing):
        _ = [block async for block in store.read(REF)]
