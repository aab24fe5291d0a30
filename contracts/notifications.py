"""Who wants to hear that a run of a job has ended: entries of the KV bucket `notifications` (docs/adr/0011).

An entry is used up by the notification. Its endpoint is a capability of the browser's push service (RFC 8030): whoever
knows it can send; it is never logged.
"""

import hashlib
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from contracts.addresses import Address, Forbidden, Rules

SUBSCRIPTIONS_MAX = 10
"""Browsers that may wait for one job."""
ENDPOINT_MAX = 1024
"""Characters of the address that a push service gives; those of today's have 150 to 600."""
TOPIC_MAX = 32
"""RFC 8030, 5.4."""

Key = Annotated[str, Meta(min_length=87, max_length=88, pattern=r"^[A-Za-z0-9_-]{87}=?$")]
Secret = Annotated[str, Meta(min_length=22, max_length=24, pattern=r"^[A-Za-z0-9_-]{22}(==)?$")]


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """Where a browser can be told, and what for its eyes only is encrypted with (RFC 8291)."""

    endpoint: str
    p256dh: Key
    """The browser's public key: a point of P-256, uncompressed, base64url."""
    auth: Secret
    """Its secret: 16 bytes, base64url."""
    created_at: datetime


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """What the browser is told."""

    job_id: str
    filename: str
    outcome: Literal["completed", "failed"]


def check_service(address: Address, rules: Rules) -> None:
    """Push services speak https and have a name; others only where the operator named them. Raises Forbidden."""
    if rules.allows_host(address.host) or (address.ip is not None and rules.allows_ip(address.ip)):
        return
    if address.scheme != "https":
        raise Forbidden("a push service speaks https")
    if address.ip is not None:
        raise Forbidden("a push service has a name")


def bucket_key(job_id: str, endpoint: str) -> str:
    """Key of a subscription: one for each browser and job."""
    return f"{job_id}.{hashlib.sha256(endpoint.encode()).hexdigest()[:32]}"


def bucket_keys_of(job_id: str) -> str:
    """Keys of all subscriptions of a job."""
    return f"{job_id}.*"


def topic(job_id: str) -> str:
    """What a push service knows the notifications of a job by: of two that wait for a browser the later stays."""
    return hashlib.sha256(f"topic of {job_id}".encode()).hexdigest()[:TOPIC_MAX]
