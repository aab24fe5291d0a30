"""Who may do what with a job: tokens, their hashes, and the right each gives. Tokens are never stored or logged."""

import hashlib
import hmac
import ipaddress
import secrets
from enum import Enum

from contracts import facts
from contracts.progress import JobView

TOKEN_LENGTH_MAX = 256


DECIDED_BY = (facts.JobAccepted, facts.ShareMinted, facts.ShareRevoked)
"""The facts that a right follows from. They are read by themselves first: whoever has no right would learn from the
time of reading the others that there is a job, and how long it is."""


class Right(Enum):
    """What a token allows: everything, or looking on."""

    OWNER = "owner"
    READER = "reader"


def mint() -> tuple[str, str]:
    """A new token of 256 random bits, and the hash that is stored for it."""
    token = secrets.token_urlsafe(32)
    return token, digest(token)


def digest(token: str) -> str:
    """SHA-256 of a token, hex."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def bearer(authorization: str | None, query_token: str | None) -> str | None:
    """The token of a request: the header, else the query parameter; None where there is none that could be one."""
    token = query_token
    if authorization is not None:
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "bearer":
            token = given.strip()
    return token if token and len(token) <= TOKEN_LENGTH_MAX else None


def right(view: JobView | None, token_sha256: str) -> Right | None:
    """The right that a token gives to a job. Compares every hash, each in constant time."""
    owned = hmac.compare_digest(view.token_sha256 if view else "0" * 64, token_sha256)
    shared = False
    for share in view.shares if view else []:
        shared |= hmac.compare_digest(share.token_sha256, token_sha256) and not share.revoked
    if view is None:
        return None
    if owned:
        return Right.OWNER
    return Right.READER if shared else None


def counted_as(address: str, secret: bytes) -> str:
    """What stands for a client's address in the limits: a keyed hash; of an IPv6 address its /64 network."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        network = address
    else:
        network = str(ipaddress.ip_network((ip, 64), strict=False) if ip.version == 6 else ip)
    return hashlib.blake2b(network.encode(), key=secret[:64], digest_size=16).hexdigest()
