"""The key pair by which push services know who sends (VAPID, RFC 8292).

`python -m services.notifier.keys` prints a new one as settings of the notifier and the gateway.
"""

import base64
import hashlib
import hmac
import secrets

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of P-256 (SEC 2, 2.4.2): a private key is a number from 1 to one less."""
_KEY_BYTES = 32


def new() -> str:
    """A private key: 32 bytes, base64url without padding."""
    return derived(secrets.token_hex(_KEY_BYTES))


def derived(secret: str) -> str:
    """The private key that follows from a secret, always the same."""
    digest = hmac.digest(secret.encode(), b"the VAPID key", hashlib.sha512)
    number = int.from_bytes(digest, "big") % (_ORDER - 1) + 1
    return _text(number.to_bytes(_KEY_BYTES, "big"))


def public(private_key: str) -> str:
    """The public key of a private one: a point of P-256, uncompressed, base64url. Raises ValueError."""
    content = base64.urlsafe_b64decode(private_key + "=" * (-len(private_key) % 4))
    if len(content) != _KEY_BYTES:
        raise ValueError(f"a VAPID key has {_KEY_BYTES} bytes, not {len(content)}")
    key = ec.derive_private_key(int.from_bytes(content, "big"), ec.SECP256R1())
    return _text(key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


if __name__ == "__main__":
    made = new()
    print(f"SUBTIDE_NOTIFIER_PRIVATE_KEY={made}")
    print(f"SUBTIDE_GATEWAY_NOTIFICATIONS_KEY={public(made)}")
