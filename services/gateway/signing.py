"""Addresses at which a client puts the parts of an upload itself: the bucket's own, where the store is one that signs.

Of a store on a disk they are the gateway's, and hold by an HMAC, so that the contract is the same: who has the address
needs no token, may put that one part as often as it likes, and nothing once its time is over.
"""

import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from chassis.store import Store
from contracts.artifacts import staged_key
from services.gateway.uploads import Kept

_METHOD = "PUT"
_EXPIRES_LENGTH_MAX = 12


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where each part goes, in order, with what headers, and until when."""

    urls: Sequence[str]
    headers: dict[str, str]
    expire_at: datetime


async def addresses(store: Store, kept: Kept, *, hold_s: int, base_url: str, secret: bytes) -> Addresses:
    """An address for each part of an upload, from now on for `hold_s`."""
    numbers = range(1, len(kept.upload.staged_sizes) + 1)
    expire_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=hold_s)
    if store.signs:
        keys = [staged_key(kept.upload.key, n) for n in numbers]
        urls = await store.put_addresses(keys, timedelta(seconds=hold_s))
    else:
        urls = [_ours(base_url.rstrip("/"), kept.upload_id, n, int(expire_at.timestamp()), secret) for n in numbers]
    return Addresses(urls=urls, headers=store.put_headers, expire_at=expire_at)


def holds(upload_id: str, number: int, expires: str, signature: str, *, secret: bytes, now_s: float) -> bool:
    """Whether an address is one that we gave out, for this part of this upload, and its time is not over."""
    expected = _signature(upload_id, number, expires, secret)
    genuine = hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogatepass"))
    is_time = expires.isascii() and expires.isdecimal() and len(expires) <= _EXPIRES_LENGTH_MAX
    return genuine and is_time and now_s < int(expires)


def _ours(base_url: str, upload_id: str, number: int, expires: int, secret: bytes) -> str:
    signature = _signature(upload_id, number, str(expires), secret)
    return f"{base_url}/api/uploads/{upload_id}/parts/{number}?expires={expires}&signature={signature}"


def _signature(upload_id: str, number: int, expires: str, secret: bytes) -> str:
    said = f"part\n{_METHOD}\n{upload_id}\n{number}\n{expires}"
    return hmac.new(secret, said.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
