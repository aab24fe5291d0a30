"""Engines in child processes: one may crash, hang or hog a core, and the service's heartbeat goes on.

A child is made at the first call, keeps its models between calls, dies with its parent, and is killed when its call is
cancelled (a shutdown, a ceiling), because nothing else stops native code.
"""

import asyncio
import ctypes
import importlib
import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from typing import Any

import msgspec
from pebble import ProcessExpired, ProcessPool

from chassis import sandbox, telemetry
from chassis.sandbox import Reach, Sandbox
from contracts.failures import EngineError, FailureCode, Permanent, Retryable

Report = Callable[[float, str], None]
"""What an engine says of itself: a fraction of its work from 0 to 1, and a sentence."""

_REPORT_EVERY_S = 0.25


class EngineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Which engine a child hosts: `target` is `module:Class`, made with `arguments`."""

    target: str
    arguments: dict[str, Any] = {}
    threads: int = 0
    """Native threads the child's libraries may use; 0 leaves it to them."""
    fresh: bool = False
    """A new process for every call, where one call must not see what another left behind."""
    nice: int = 5
    """By how much an engine stands back: the event loops of the services come first."""
    sandbox: Sandbox | None = None
    """What the child gives up once the engine is made. It cannot be had back: such a child must be `fresh`."""

    def __post_init__(self) -> None:
        if self.sandbox is not None and not self.fresh:
            raise ValueError("a child in a sandbox serves one call: it needs fresh=True")


class MissingLayers(msgspec.Struct, frozen=True):
    """What a child says of its sandbox before its first call."""

    names: list[str]


class EnginePool:
    """`workers` child processes with an engine each; a child serves one call at a time."""

    def __init__(
        self,
        spec: EngineSpec,
        *,
        workers: int,
        crash_code: FailureCode = FailureCode.WORKER_LOST,
        limit_code: FailureCode = FailureCode.MEDIA_LIMIT,
    ) -> None:
        """`crash_code` is what a child that died means; `limit_code` one that met a limit of its sandbox."""
        self._spec = spec
        self._workers = workers
        self._identities: dict[tuple[str, ...], str] = {}
        self._warming: asyncio.Task[None] | None = None
        self._crash_code = crash_code
        self._limit_code = limit_code
        self._missing: set[str] = set()
        self._calls = itertools.count()
        self._reports: dict[int, Callable[[float, str], Awaitable[None]]] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._receiver: Connection | None = None
        self._pool: ProcessPool | None = None

    def warm_up(self, *arguments: str) -> None:
        """Load the models now, in the background, so that the first job need not wait for them."""

        async def load() -> None:
            try:
                await self.identity(*arguments)
            except EngineError as error:
                telemetry.logger().error("engine_not_ready", engine=self._spec.target, error=str(error))

        self._warming = asyncio.ensure_future(load())

    async def identity(self, *arguments: str) -> str:
        """What the engine calls itself: everything but its inputs and parameters that could change a result."""
        if arguments not in self._identities:
            self._identities[arguments] = await self.call("identity", *arguments)
        return self._identities[arguments]

    async def call(
        self,
        method: str,
        *arguments: Any,
        report: Callable[[float, str], Awaitable[None]] | None = None,
        **options: Any,
    ) -> Any:
        """Call a method of an engine and await its result; `report`, if given, hears of its progress.

        Raises what the engine raises, and Retryable where the child died. Cancelling kills the child.
        """
        return await self.call_within(Reach(), method, *arguments, report=report, **options)

    async def call_within(
        self,
        reach: Reach,
        method: str,
        *arguments: Any,
        report: Callable[[float, str], Awaitable[None]] | None = None,
        **options: Any,
    ) -> Any:
        """As `call`, of an engine in a sandbox that needs files.

        Raises also Retryable where it took too long, and Permanent where it met another limit of its sandbox.
        """
        pool = self._started()
        call = next(self._calls)
        if report is not None:
            self._reports[call] = report
        future = asyncio.wrap_future(
            pool.schedule(_invoke, args=(call if report else None, reach, method, arguments, options))
        )
        try:
            return await self._in_time(future)
        except ProcessExpired as error:
            self._refuse(error.exitcode, error)
            raise Retryable(self._crash_code, f"the engine process died (exit code {error.exitcode})") from None
        except (MemoryError, OSError) as error:
            self._refuse(None, error)
            raise
        finally:
            self._reports.pop(call, None)

    async def close(self) -> None:
        """Kill the children. The next call would make others."""
        if self._warming is not None:
            self._warming.cancel()
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        asyncio.get_running_loop().remove_reader(self._reading().fileno())
        self._reading().close()
        await asyncio.to_thread(_kill, pool)

    async def _in_time(self, future: "asyncio.Future[Any]") -> Any:
        wall_s = self._spec.sandbox.wall_s if self._spec.sandbox else None
        try:
            async with asyncio.timeout(wall_s) as limit:
                return await future
        except TimeoutError:
            if not limit.expired():
                raise
            told = f"It took more than the {wall_s:,.0f} seconds that one call may take."
            raise Retryable(FailureCode.TIMED_OUT, told, told=told) from None

    def _refuse(self, exitcode: int | None, error: Exception) -> None:
        """Raise Permanent where what happened to a child means that it met a limit: it would again."""
        told = self._spec.sandbox.limit_met(exitcode, error) if self._spec.sandbox else ""
        if told:
            raise Permanent(self._limit_code, told, told=told) from error

    def _started(self) -> ProcessPool:
        if self._pool is None:
            self._receiver, sender = multiprocessing.Pipe(duplex=False)
            self._pool = ProcessPool(
                max_workers=self._workers,
                max_tasks=1 if self._spec.fresh else 0,
                context=multiprocessing.get_context("spawn"),
                initializer=_initialise,
                initargs=(self._spec, sender, os.getpid()),
            )
            asyncio.get_running_loop().add_reader(self._receiver.fileno(), self._heard)
        return self._pool

    def _reading(self) -> Connection:
        assert self._receiver is not None
        return self._receiver

    def _heard(self) -> None:
        heard = self._reading().recv()
        if isinstance(heard, MissingLayers):
            for layer in sorted(set(heard.names) - self._missing):
                self._missing.add(layer)
                telemetry.logger().warning("sandbox_layer_missing", engine=self._spec.target, layer=layer)
            return
        call, fraction, message = heard
        report = self._reports.get(call)
        if report is not None:
            task = asyncio.ensure_future(report(fraction, message))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)


_hosted: dict[str, Any] = {}
"""What the child holds: its spec, the pipe to its parent and, once made, the engine."""


def _initialise(spec: EngineSpec, sender: Connection, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)  # it died before we asked to be told
        _keep_freed_memory()
    os.nice(spec.nice)
    if spec.threads:
        for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[variable] = str(spec.threads)
    _hosted.update(spec=spec, sender=sender)


def _keep_freed_memory() -> None:
    """Have glibc keep what is freed instead of giving it back and faulting it in again for the next batch.

    Inference frees and takes tens of megabytes many times a second; the page faults were a tenth of its time. The
    numbers are those of mallopt(3); another libc has no such call.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD


def _invoke(call: int | None, reach: Reach, method: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    spec: EngineSpec = _hosted["spec"]
    if "engine" not in _hosted:
        module, _, name = spec.target.partition(":")
        _hosted["engine"] = getattr(importlib.import_module(module), name)(**spec.arguments)
    if call is not None:
        options = options | {"report": _reporter(call)}
    function = getattr(_hosted["engine"], method)
    if spec.sandbox is None:
        return function(*arguments, **options)
    if missing := sandbox.enter(spec.sandbox, reach):
        _hosted["sender"].send(MissingLayers(missing))
    try:
        return function(*arguments, **options)
    except MemoryError:
        raise MemoryError from None  # a library's own kind of it could not be read by the parent


def _reporter(call: int) -> Report:
    last = 0.0

    def report(fraction: float, message: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _REPORT_EVERY_S:
            last = now
            # Under PIPE_BUF, so the write is whole even if we are killed in the next instant.
            _hosted["sender"].send((call, float(fraction), message[:200]))

    return report


def _kill(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()
