"""One notification to one push service: encrypted for the browser (RFC 8291), signed by us (RFC 8292), sent (RFC 8030).

Knows no NATS.
"""

import base64
import ssl
import time
from enum import Enum
from functools import cached_property
from typing import Any

import http_ece
import httpcore
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from py_vapid import Vapid02, VapidException

from chassis.connecting import JudgedBackend, Resolve, trusted
from contracts import addresses
from contracts.addresses import Address, Rules
from contracts.notifications import Notification, Subscription, check_service, topic
from services.notifier.settings import Settings

_SIGNED_S = 12 * 3600
"""How long the signature holds; RFC 8292 lets it for a day at most."""
_LATER = (408, 425, 429)
_GONE = (404, 410)
_SECONDS_LENGTH_MAX = 7


class Verdict(Enum):
    """What became of it."""

    TAKEN = "taken"
    GONE = "gone"
    """The browser no longer wants it, or never did."""
    REFUSED = "refused"
    """It would be refused again."""
    LATER = "later"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a push service said. `reason` names neither the endpoint nor what was sent."""

    verdict: Verdict
    host: str
    reason: str
    wait_s: float = 0.0
    """How long it wants to be left alone."""


class Pusher:
    """The sending side of Web Push."""

    def __init__(
        self, settings: Settings, rules: Rules, resolve: Resolve, network: httpcore.AsyncNetworkBackend
    ) -> None:
        """Raises ValueError where the private key is none."""
        self._settings = settings
        self._rules = rules
        self._resolve = resolve
        self._network = network
        self._vapid = Vapid02.from_raw(settings.private_key.encode())

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return trusted()

    async def push(self, subscription: Subscription, notification: Notification) -> Outcome:
        """Hand it to the subscription's push service. Never raises for what the service or the network does."""
        try:
            address = addresses.parse(subscription.endpoint)
            check_service(address, self._rules)
            content = _encrypted(subscription, msgspec.json.encode(notification))
        except ValueError as error:
            return Outcome(verdict=Verdict.REFUSED, host="", reason=str(error))
        try:
            return await self._sent(address, content, notification.job_id)
        except addresses.Forbidden as error:
            return Outcome(verdict=Verdict.REFUSED, host=address.host, reason=str(error))
        except VapidException as error:
            return Outcome(verdict=Verdict.REFUSED, host=address.host, reason=str(error))
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            return Outcome(verdict=Verdict.LATER, host=address.host, reason=type(error).__name__)

    async def _sent(self, address: Address, content: bytes, job_id: str) -> Outcome:
        settings = self._settings
        limits = {"connect": settings.connect_s, "pool": settings.connect_s} | dict.fromkeys(
            ("read", "write"), settings.answer_s
        )
        claims = {
            "sub": settings.subject,
            "aud": address.url.removesuffix(address.target),
            "exp": int(time.time()) + _SIGNED_S,
        }
        headers = {
            "Host": address.authority,
            "Content-Type": "application/octet-stream",
            "Content-Encoding": "aes128gcm",
            "Content-Length": str(len(content)),
            "TTL": str(settings.keep_s),
            "Urgency": "normal",
            "Topic": topic(job_id),
            "Connection": "close",
            **self._vapid.sign(claims),
        }
        url = httpcore.URL(
            scheme=address.scheme.encode(),
            host=address.host.encode(),
            port=address.port,
            target=address.target.encode(),
        )
        backend = JudgedBackend(address, self._rules, self._resolve, self._network)
        tls = self._tls if address.scheme == "https" else None
        async with (
            httpcore.AsyncConnectionPool(ssl_context=tls, network_backend=backend) as connections,
            connections.stream("POST", url, headers=headers, content=content, extensions={"timeout": limits}) as answer,
        ):
            return self._judged(address, answer)  # whatever the body says is of no use to us, and is not read

    def _judged(self, address: Address, answer: httpcore.Response) -> Outcome:
        status = answer.status
        verdict, wait_s = Verdict.REFUSED, 0.0
        if 200 <= status < 300:
            verdict = Verdict.TAKEN
        elif status in _GONE:
            verdict = Verdict.GONE
        elif status in _LATER or status >= 500:
            verdict = Verdict.LATER
            wanted = next((value for name, value in answer.headers if name.lower() == b"retry-after"), b"")
            if wanted.isdigit() and len(wanted) < _SECONDS_LENGTH_MAX:
                wait_s = min(float(wanted), self._settings.wait_max_s)
        return Outcome(verdict=verdict, host=address.host, reason=str(status), wait_s=wait_s)


def _encrypted(subscription: Subscription, content: bytes) -> bytes:
    """Raises ValueError where the browser's key is none."""
    try:
        encrypted: Any = http_ece.encrypt(
            content,
            private_key=ec.generate_private_key(ec.SECP256R1()),
            dh=_bytes(subscription.p256dh),
            auth_secret=_bytes(subscription.auth),
            version="aes128gcm",
        )
    except http_ece.ECEException as error:
        raise ValueError(f"the browser's key is none: {error}") from error
    return bytes(encrypted)


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
