"""`python -m chassis.hosting`: the process of an engine. Its parent speaks to it through stdin and stdout.

The engine is made with the first call, and again with the next where that failed. A sandbox is entered between the
engine's making and its work.
"""

import ctypes
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, get_type_hints

import msgspec

from chassis import channel, sandbox
from chassis.channel import Call, Hosted, MissingLayers, Progress, Returned

_REPORT_EVERY_S = 0.25


class _Pipe:
    """Both ends of the channel, kept from everything that reads stdin or prints."""

    def __init__(self) -> None:
        self._reading, self._writing = os.dup(0), os.dup(1)
        nowhere = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nowhere, 0)
        os.close(nowhere)
        os.dup2(2, 1)

    def read(self) -> bytes | None:
        """The next frame's content; None where the parent has gone."""
        header = self._exactly(channel.HEADER_BYTES)
        return self._exactly(channel.length(header)) if header is not None else None

    def write(self, message: Any) -> None:
        """Say it, whole."""
        rest = memoryview(channel.encode(message))
        while rest:
            rest = rest[os.write(self._writing, rest) :]

    def _exactly(self, size: int) -> bytes | None:
        content = bytearray()
        while len(content) < size:
            block = os.read(self._reading, min(1 << 20, size - len(content)))
            if not block:
                return None
            content += block
        return bytes(content)


def main() -> None:
    """Serve calls until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe = _Pipe()
    first = pipe.read()
    if first is None:
        return
    hosted = channel.decode(first, Hosted)
    _die_with(hosted.parent)
    os.nice(hosted.nice)
    engine: Any = None
    while (content := pipe.read()) is not None:
        try:
            engine = engine or _made(hosted)
            pipe.write(Returned(_result(engine, hosted, channel.decode(content, Call), pipe)))
        except Exception as error:  # noqa: BLE001 - the parent judges it
            pipe.write(channel.raised(error))


def _made(hosted: Hosted) -> Any:
    module, _, name = hosted.target.partition(":")
    kind = getattr(importlib.import_module(module), name)
    return kind(**_typed(kind.__init__, hosted.arguments))


def _result(engine: Any, hosted: Hosted, call: Call, pipe: _Pipe) -> msgspec.Raw:
    function = getattr(engine, call.method)
    positional = [kind for name, kind in get_type_hints(function).items() if name != "return"]
    arguments = [channel.convert(value, kind) for value, kind in zip(call.arguments, positional, strict=False)]
    options = _typed(function, call.options)
    if call.reports:
        options["report"] = _reporter(pipe)
    if hosted.sandbox is not None and (missing := sandbox.enter(hosted.sandbox, call.reach)):
        pipe.write(MissingLayers(missing))
    return channel.raw(function(*arguments, **options))


def _typed(function: Callable[..., Any], values: dict[str, Any]) -> dict[str, Any]:
    """The named arguments as the signature of a function has them."""
    kinds = get_type_hints(function)
    return {name: channel.convert(value, kinds.get(name, Any)) for name, value in values.items()}


def _reporter(pipe: _Pipe) -> Callable[[float, str], None]:
    last = 0.0

    def report(fraction: float, message: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _REPORT_EVERY_S:
            last = now
            pipe.write(Progress(float(fraction), message[: channel.MESSAGE_MAX]))

    return report


def _die_with(parent: int) -> None:
    if sys.platform != "linux":
        return  # elsewhere it ends when it next reads
    libc = ctypes.CDLL(None)
    libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)  # it died before we asked to be told
    _keep_freed_memory(libc)


def _keep_freed_memory(libc: ctypes.CDLL) -> None:
    """Have glibc keep what is freed instead of giving it back and faulting it in again for the next batch.

    Inference frees and takes tens of megabytes many times a second; the page faults were a tenth of its time. The
    numbers are those of mallopt(3); another libc has no such call.
    """
    mallopt = getattr(libc, "mallopt", None)
    if mallopt is not None:
        mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD


if __name__ == "__main__":
    main()
