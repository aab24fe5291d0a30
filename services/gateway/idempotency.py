"""`Idempotency-Key`: tries of one submit are one job. Its id and its token follow from the key, so that a try whose
answer was lost can be answered again by any gateway with the same secret, though the token is stored nowhere.
"""

import base64
import hashlib
import hmac
import re
import secrets
import uuid
from collections.abc import Sequence

import msgspec

from services.gateway import access
from services.gateway.problems import Problem

HEADER = "Idempotency-Key"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a submit is to be called, and what opens it."""

    job_id: str
    token: str
    token_sha256: str
    keyed: bool
    """Whether another try of the same submit has the same identity."""


def key(given: Sequence[str]) -> str | None:
    """The key among the values of the header. Raises Problem where they are no key."""
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise Problem(
            400, "invalid_idempotency_key", f"{HEADER} is 1 to 255 visible ASCII characters; a new UUID is a good one."
        )
    return given[0]


def new() -> Identity:
    """An identity that no other submit has."""
    token, token_sha256 = access.mint()
    return Identity(job_id=uuid.uuid4().hex, token=token, token_sha256=token_sha256, keyed=False)


def derived(key: str, caller: str, secret: bytes) -> Identity:
    """The identity of every submit of a caller with this key. Callers are told apart, so keys need not be."""
    said = f"{caller}\0{key}".encode()
    job_id = hmac.new(secret, said, hashlib.sha256).hexdigest()[:32]
    token_bytes = hmac.new(secret, b"token\0" + said, hashlib.sha256).digest()
    token = base64.urlsafe_b64encode(token_bytes).rstrip(b"=").decode()
    return Identity(job_id=job_id, token=token, token_sha256=access.digest(token), keyed=True)


def reused() -> Problem:
    """The key was used for something else."""
    return Problem(
        422,
        "idempotency_key_reused",
        f"This {HEADER} was used for another recording or with other settings. Send a new one.",
    )


def another_upload(job_id: str) -> str:
    """A name for the upload of one try, so that tries that run at once do not write one file."""
    return f"{job_id}-{secrets.token_hex(8)}"
