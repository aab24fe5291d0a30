"""What follows from an `Idempotency-Key`."""

import re

import pytest

from services.gateway import access, idempotency
from services.gateway.problems import Problem

SECRET = b"s" * 32
KEY = "3e0c7a52-2f0b-4a4e-9d34-0b4f8a1c7a11"


def test_tries_with_one_key_have_one_identity() -> None:
    first, second = (idempotency.derived(KEY, "caller", SECRET) for _ in range(2))
    assert first == second
    assert re.fullmatch(r"[0-9a-f]{32}", first.job_id)
    assert first.token_sha256 == access.digest(first.token)
    assert first.keyed


@pytest.mark.parametrize(
    ("key", "caller", "secret"), [(KEY + "x", "caller", SECRET), (KEY, "other", SECRET), (KEY, "caller", b"t" * 32)]
)
def test_another_key_caller_or_secret_is_another_job(key: str, caller: str, secret: bytes) -> None:
    one, other = idempotency.derived(KEY, "caller", SECRET), idempotency.derived(key, caller, secret)
    assert one.job_id != other.job_id
    assert one.token != other.token


def test_the_token_does_not_follow_from_the_id() -> None:
    identity = idempotency.derived(KEY, "caller", SECRET)
    assert identity.job_id not in identity.token
    assert idempotency.derived(f"caller\0{KEY}", "token", SECRET).job_id != identity.job_id
    assert len(identity.token) == len(idempotency.new().token)


def test_without_a_key_every_submit_is_a_job_of_its_own() -> None:
    first, second = idempotency.new(), idempotency.new()
    assert first.job_id != second.job_id
    assert not first.keyed
    assert idempotency.key([]) is None


@pytest.mark.parametrize("given", [[""], ["x" * 256], ["two words"], ["tab\t"], ["fünf"], ["\x7f"], ["a", "b"]])
def test_what_is_no_key_is_refused(given: list[str]) -> None:
    with pytest.raises(Problem) as caught:
        idempotency.key(given)
    assert caught.value.document.status == 400


@pytest.mark.parametrize("given", ["x", "x" * 255, "!~"])
def test_any_visible_ascii_is_a_key(given: str) -> None:
    assert idempotency.key([given]) == given
