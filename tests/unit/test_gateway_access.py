"""Tokens: which is taken, and what it opens."""

from datetime import UTC, datetime

import msgspec
import pytest

from contracts import facts, progress
from contracts.artifacts import ArtifactRef
from contracts.parameters import Parameters
from services.gateway import access
from services.gateway.access import Right

AT = datetime(2026, 1, 2, tzinfo=UTC)
OWNER, SHARE = access.mint(), access.mint()


def job() -> progress.JobView:
    of_job = {"job_id": "a" * 32, "run": 1, "owner": "anon", "at": AT}
    view = progress.fold(
        None,
        facts.JobAccepted(
            **of_job,
            filename="a",
            source=ArtifactRef(key="k", digest="d", bytes=1),
            parameters=Parameters(),
            token_sha256=OWNER[1],
        ),
        1,
    )
    view = progress.fold(view, facts.ShareMinted(**of_job, n=1, token_sha256=SHARE[1]), 2)
    assert view is not None
    return view


def test_a_token_has_256_bits_and_only_its_hash_is_kept() -> None:
    token, token_sha256 = access.mint()
    assert len(token) == 43
    assert access.digest(token) == token_sha256
    assert access.mint()[0] != token


def test_each_token_has_its_right() -> None:
    view = job()
    assert access.right(view, OWNER[1]) is Right.OWNER
    assert access.right(view, SHARE[1]) is Right.READER
    assert access.right(view, access.digest("")) is None
    assert access.right(None, OWNER[1]) is None


def test_a_revoked_share_opens_nothing() -> None:
    view = job()
    view = msgspec.structs.replace(view, shares=[msgspec.structs.replace(view.shares[0], revoked=True)])
    assert access.right(view, SHARE[1]) is None


@pytest.mark.parametrize(
    ("header", "query", "token"),
    [
        ("Bearer abc", None, "abc"),
        ("bearer  abc ", None, "abc"),
        ("Bearer abc", "other", "abc"),
        (None, "abc", "abc"),
        ("Basic abc", "query", "query"),
        ("Bearer", None, None),
        (None, None, None),
        (None, "x" * 257, None),
    ],
)
def test_the_header_goes_before_the_query(header: str | None, query: str | None, token: str | None) -> None:
    assert access.bearer(header, query) == token


def test_addresses_are_counted_by_a_keyed_hash_and_ipv6_by_network() -> None:
    key = b"key"
    assert access.counted_as("192.0.2.1", key) != access.counted_as("192.0.2.2", key)
    assert access.counted_as("2001:db8::1", key) == access.counted_as("2001:db8::ffff", key)
    assert access.counted_as("2001:db8::1", key) != access.counted_as("2001:db8:0:1::1", key)
    assert access.counted_as("192.0.2.1", key) != access.counted_as("192.0.2.1", b"other")
    assert access.counted_as("", key)
