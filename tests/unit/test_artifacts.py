"""Digests that can be begun in one place and ended in another, and files in parts."""

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from contracts.artifacts import LEAF_BYTES, ArtifactRef, ContentDigest, part_key, part_keys
from contracts.uploads import bucket_key

CONTENT = bytes(range(251)) * (2 * LEAF_BYTES // 251 + 1000)


def expected(content: bytes) -> str:
    leaves = [content[at : at + LEAF_BYTES] for at in range(0, len(content), LEAF_BYTES)]
    return blake3(b"".join(blake3(leaf).digest() for leaf in leaves)).hexdigest()


@pytest.mark.parametrize("size", [0, 1, LEAF_BYTES - 1, LEAF_BYTES, LEAF_BYTES + 1, 2 * LEAF_BYTES, len(CONTENT)])
def test_the_digest_is_that_of_the_digests_of_eight_mebibytes_each(size: int) -> None:
    digest = ContentDigest()
    digest.update(CONTENT[:size])
    assert digest.hexdigest() == expected(CONTENT[:size])
    assert len(digest.leaves) == size // LEAF_BYTES * 32


@given(cut=st.integers(min_value=0, max_value=len(CONTENT)))
def test_a_digest_goes_on_from_its_checkpoint_and_the_leaf_that_was_begun(cut: int) -> None:
    begun = ContentDigest()
    begun.update(CONTENT[:cut])
    ended = ContentDigest(begun.leaves)
    ended.update(memoryview(CONTENT)[cut // LEAF_BYTES * LEAF_BYTES : cut])
    ended.update(CONTENT[cut:])
    assert ended.hexdigest() == expected(CONTENT)


def test_a_file_in_one_object_is_written_as_it_always_was() -> None:
    ref = ArtifactRef(key="uploads/anon/a", digest="d", bytes=3)
    assert msgspec.json.encode(ref) == b'{"key":"uploads/anon/a","digest":"d","bytes":3}'
    assert part_keys(ref) == ["uploads/anon/a"]


def test_parts_are_numbered_and_those_that_were_given_up_are_passed_over() -> None:
    ref = ArtifactRef(key="k", digest="d", bytes=5, parts=[3, 0, 0, 2])
    assert part_keys(ref) == ["k/00000", "k/00003"]
    assert part_key("k", 10_000) == "k/10000"


@pytest.mark.parametrize(
    "upload_id", ["", "a" * 47, "a" * 49, "A" * 48, "../" + "a" * 45, "a" * 47 + ">", "a" * 48 + "\n"]
)
def test_what_is_no_id_names_no_key(upload_id: str) -> None:
    with pytest.raises(ValueError, match="not the id of an upload"):
        bucket_key(upload_id)
