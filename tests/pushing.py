"""A push service of our own on loopback (RFC 8030), and a browser that has subscribed at it."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import http_ece
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


class Pushed:
    """What was sent to a browser."""

    def __init__(self, target: str, headers: dict[str, str], content: bytes) -> None:
        self.target = target
        self.headers = headers
        self.content = content


class PushService:
    """Takes what is sent. `answers` are the statuses of the next requests, with headers; after them 201.

    It answers nobody while `answering` is not set.
    """

    def __init__(self) -> None:
        self.pushed: list[Pushed] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.answering = asyncio.Event()
        self.answering.set()
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request."""
        with suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
            }
            content = await reader.readexactly(int(headers["content-length"]))
            self.pushed.append(Pushed(head[0].split(" ")[1], headers, content))
            await self.answering.wait()
            status, more = self.answers.pop(0) if self.answers else (201, {})
            lines = [f"HTTP/1.1 {status} x", "Content-Length: 0", *(f"{name}: {value}" for name, value in more.items())]
            writer.write("\r\n".join([*lines, "", ""]).encode())
            await writer.drain()
        writer.close()


@asynccontextmanager
async def push_service() -> AsyncIterator[PushService]:
    """A push service for the block."""
    service = PushService()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    service.port = server.sockets[0].getsockname()[1]
    try:
        yield service
    finally:
        server.close()


class Browser:
    """Has its keys, and can read what is meant for it."""

    def __init__(self, service_url: str, name: str = "one") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._secret = name.encode().ljust(16, b".")
        self.target = f"/push/{name}?of=a+browser"
        self._service_url = service_url

    @property
    def subscription(self) -> dict[str, Any]:
        """As `PushSubscription.toJSON()` gives it."""
        point = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return {
            "endpoint": self._service_url + self.target,
            "expirationTime": None,
            "keys": {"p256dh": text(point), "auth": text(self._secret)},
        }

    def read(self, pushed: Pushed) -> dict[str, Any]:
        """What it is told."""
        assert pushed.headers["content-encoding"] == "aes128gcm"
        content = http_ece.decrypt(pushed.content, private_key=self._key, auth_secret=self._secret, version="aes128gcm")
        told: dict[str, Any] = json.loads(content)
        return told


def sender(pushed: Pushed, public_key: str) -> dict[str, Any]:
    """What the sender says of itself, signed with the key that belongs to the public one (RFC 8292)."""
    scheme, _, parameters = pushed.headers["authorization"].partition(" ")
    given = dict(one.strip().split("=", 1) for one in parameters.split(","))
    assert (scheme, given["k"].rstrip("=")) == ("vapid", public_key)
    signed, _, signature = given["t"].rpartition(".")
    numbers = content_of(signature)
    der = encode_dss_signature(int.from_bytes(numbers[:32], "big"), int.from_bytes(numbers[32:], "big"))
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), content_of(public_key))
    key.verify(der, signed.encode(), ec.ECDSA(hashes.SHA256()))
    claims: dict[str, Any] = json.loads(content_of(signed.partition(".")[2]))
    return claims


def text(content: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def content_of(encoded: str) -> bytes:
    """The other way round."""
    return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
