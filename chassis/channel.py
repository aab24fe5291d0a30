"""What a service and its engine's process say to each other: plain data, never objects.

A process that was taken over by the bytes it reads can say only what is declared here, and no more of it than fits
(docs/adr/0013). A frame is its length, 4 bytes big-endian, and a message as MessagePack.
"""

import struct
import traceback
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from chassis.sandbox import Reach, Sandbox
from contracts.failures import Cancelled, EngineError, FailureCode, Permanent, Retryable

FRAME_BYTES_MAX = 64 << 20
"""More than any call or result has: an hour of speech is about 3 MiB of words."""

_LENGTH = struct.Struct(">I")
HEADER_BYTES = _LENGTH.size
MESSAGE_MAX = 200
"""Characters of what an engine says it is doing."""

_DETAIL_MAX, _TOLD_MAX, _TRACE_MAX = 4_000, 1_000, 20_000

T = TypeVar("T")


class Hosted(msgspec.Struct, frozen=True, kw_only=True):
    """The first frame to a child: which engine it is to make, with what, and in what sandbox."""

    target: str
    arguments: dict[str, Any]
    sandbox: Sandbox | None
    nice: int
    parent: int
    """Process id of the service: a child that finds another has outlived it."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A method of the engine, and what it is given."""

    method: str
    arguments: list[Any]
    options: dict[str, Any]
    reach: Reach
    reports: bool
    """Whether somebody listens to its progress."""


class MissingLayers(msgspec.Struct, frozen=True, tag=True):
    """What a child says of its sandbox before its call."""

    names: list[str]


class Progress(msgspec.Struct, frozen=True, tag=True):
    """A fraction of the work from 0 to 1, and a sentence."""

    fraction: float
    message: str


class Returned(msgspec.Struct, frozen=True, tag=True):
    """The call's result, of the type that the caller names."""

    value: msgspec.Raw


class Raised(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The call's failure. `kind` is the class; what else there is depends on it."""

    kind: str
    detail: str
    code: FailureCode = FailureCode.INTERNAL
    told: str = ""
    errno: int | None = None


Answer = MissingLayers | Progress | Returned | Raised
"""Whatever comes from a child."""


class EngineFault(Exception):
    """What an engine raised that is no failure of ours: a mistake. Its text is the traceback in the child."""


_OURS: dict[str, type[EngineError]] = {"Retryable": Retryable, "Permanent": Permanent, "Cancelled": Cancelled}


def encode(message: Any) -> bytes:
    """A frame. Raises ValueError where the message is larger than a frame may be."""
    content = msgspec.msgpack.encode(message, enc_hook=_plain)
    if len(content) > FRAME_BYTES_MAX:
        raise ValueError(f"a message of {len(content):,} bytes, where {FRAME_BYTES_MAX:,} is the limit")
    return _LENGTH.pack(len(content)) + content


def length(header: bytes) -> int:
    """How many bytes follow the 4 of a header. Raises ValueError where it is more than a frame may have."""
    size: int = _LENGTH.unpack(header)[0]
    if size > FRAME_BYTES_MAX:
        raise ValueError(f"a frame of {size:,} bytes, where {FRAME_BYTES_MAX:,} is the limit")
    return size


def decode(content: bytes | bytearray | msgspec.Raw, kind: type[T]) -> T:
    """What a frame holds. Raises msgspec.DecodeError (its ValidationError among it) where that is something else."""
    return msgspec.msgpack.decode(content, type=kind, dec_hook=_made)


def answer(content: bytes) -> Answer:
    """What a child says. Raises msgspec.DecodeError where it is something else."""
    said: Answer = msgspec.msgpack.decode(content, type=Answer)
    return said


def convert(value: Any, kind: Any) -> Any:
    """A decoded argument as the engine's signature has it. Raises msgspec.ValidationError."""
    return msgspec.convert(value, kind, dec_hook=_made)


def raw(value: Any) -> msgspec.Raw:
    """A result, as it goes into Returned. Raises NotImplementedError where it is no plain data."""
    return msgspec.Raw(msgspec.msgpack.encode(value, enc_hook=_plain))


def raised(error: Exception) -> Raised:
    """What is said of an exception."""
    if isinstance(error, EngineError):
        kind = next(name for name, ours in _OURS.items() if isinstance(error, ours))
        return Raised(kind=kind, code=error.code, detail=error.detail[:_DETAIL_MAX], told=error.told[:_TOLD_MAX])
    if isinstance(error, MemoryError):
        return Raised(kind="MemoryError", detail="")
    if isinstance(error, OSError) and error.errno is not None:
        return Raised(kind="OSError", detail=(error.strerror or "")[:_DETAIL_MAX], errno=error.errno)
    return Raised(kind="EngineFault", detail="".join(traceback.format_exception(error))[-_TRACE_MAX:])


def exception(said: Raised) -> Exception:
    """What the caller of an engine is to see of it."""
    if said.kind == "Cancelled":
        return Cancelled(said.detail[:_DETAIL_MAX])
    if said.kind in _OURS:
        return _OURS[said.kind](said.code, said.detail[:_DETAIL_MAX], told=said.told[:_TOLD_MAX])
    if said.kind == "MemoryError":
        return MemoryError()
    if said.kind == "OSError" and said.errno is not None:
        return OSError(said.errno, said.detail[:_DETAIL_MAX])
    return EngineFault(said.detail[-_TRACE_MAX:])


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} is no plain data")


def _made(kind: Any, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"{kind} is no plain data")
