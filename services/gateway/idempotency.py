"""`Idempotency-Key`: tries of one POST make one thing. Its id and its token follow from the key, so that a try whose
answer was lost can be answered again by any gateway with the same secret, though the token is stored nowhere.

Nothing is kept of a key itself: it holds for as long as what was made with it is known, see `HOLDS`.
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
FORM = "1 to 255 visible ASCII characters"
HOLDS = (
    "A key holds for a day at least: as long as the job, retry, share or batch that was made with it is in the log "
    "(`SUBTIDE_RETENTION_S` and 7 days: 14 days), and for an upload, or a job that names one, as long as an upload "
    "is kept (`SUBTIDE_ABANDONED_S`: a day). Where the operator has set no `SUBTIDE_GATEWAY_SECRET`, none outlives the "
    "gateway's process."
)
"""What every description of the header says of its time."""
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
        raise Problem(400, "invalid_idempotency_key", f"{HEADER} is {FORM}; a new UUID is a good one.")
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


def of_job(key: str, deed: str, job_id: str, owner_sha256: str, secret: bytes) -> Identity:
    """The identity of what the owner of a job does to it with this key, from wherever.

    Another job or another deed is another identity: what is asked for is all in the address, so that there is nothing
    with which a key could be used wrongly; of a correction the log knows what was asked. No submit can have the same:
    who calls has no space in it there.
    """
    return derived(key, f"{deed} {job_id} {owner_sha256}", secret)


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
