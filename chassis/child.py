"""Engines in child processes: one may crash, hang or hog a core, and the service's heartbeat goes on.

A child is made at the first call, keeps its models between calls, dies with its parent, and is killed when its call is
cancelled (a shutdown, a ceiling), because nothing else stops native code. What it says is plain data (chassis/channel).
"""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from chassis import channel, telemetry
from chassis.channel import Answer, Call, Hosted, MissingLayers, Progress, Raised, Returned
from chassis.sandbox import Reach, Sandbox
from contracts.failures import EngineError, FailureCode, Permanent, Retryable

Report = Callable[[float, str], Coroutine[Any, Any, None]]
"""Hears of an engine's progress: a fraction of its work from 0 to 1, and a sentence."""

R = TypeVar("R")

_DYING_S = 5.0
"""How long a process may take from its last word to its end."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_HARMLESS = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
"""All that a child in a sandbox may see of the environment, where services find their credentials."""


class EngineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Which engine a child hosts: `target` is `module:Class`, made with `arguments`, which are plain data."""

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
        self._crash_code = crash_code
        self._limit_code = limit_code
        self._free = asyncio.Semaphore(workers)
        self._children: set[_Child] = set()
        self._idle: list[_Child] = []
        self._identities: dict[tuple[str, ...], str] = {}
        self._missing: set[str] = set()
        self._warming: asyncio.Task[None] | None = None
        self._reports: set[asyncio.Task[None]] = set()
        self._deaths: set[asyncio.Task[int]] = set()

    def warm_up(self, *arguments: str) -> None:
        """Load the models now, in the background, so that the first job need not wait for them."""

        async def load() -> None:
            try:
                await self.identity(*arguments)
            except EngineError as error:
                telemetry.logger().error("engine_not_ready", engine=self._spec.target, error=str(error))

        self._warming = asyncio.create_task(load(), name="engine-warm-up")

    async def identity(self, *arguments: str) -> str:
        """What the engine calls itself: everything but its inputs and parameters that could change a result."""
        if arguments not in self._identities:
            self._identities[arguments] = await self.call("identity", *arguments, returns=str)
        return self._identities[arguments]

    async def call(
        self, method: str, *arguments: Any, returns: type[R], report: Report | None = None, **options: Any
    ) -> R:
        """Call a method of an engine and await its result; `report`, if given, hears of its progress.

        Raises what the engine raises (EngineFault where that is no failure of ours), and Retryable where the child
        died or answered with something else than `returns`. Cancelling kills the child.
        """
        return await self.call_within(Reach(), method, *arguments, returns=returns, report=report, **options)

    async def call_within(
        self,
        reach: Reach,
        method: str,
        *arguments: Any,
        returns: type[R],
        report: Report | None = None,
        **options: Any,
    ) -> R:
        """As `call`, of an engine in a sandbox that needs files.

        Raises also Retryable where it took too long, and Permanent where it met another limit of its sandbox.
        """
        asked = Call(method=method, arguments=list(arguments), options=options, reach=reach, reports=report is not None)
        async with self._free:
            child = self._idle.pop() if self._idle else await self._started()
            try:
                return await self._in_time(self._answered(child, asked, returns, report))
            except (ValueError, msgspec.DecodeError) as error:
                raise Retryable(self._crash_code, f"the engine process made no sense: {error}") from error
            except (MemoryError, OSError) as error:
                self._refuse(None, error)
                raise
            finally:
                self._part_with(child)

    async def close(self) -> None:
        """Kill the children. The next call would make others."""
        for task in [*([self._warming] if self._warming else []), *self._reports]:
            task.cancel()
        self._idle.clear()
        for child in list(self._children):
            self._kill(child)
        if self._deaths:
            await asyncio.wait(self._deaths)

    async def _answered(self, child: "_Child", asked: Call, returns: type[R], report: Report | None) -> R:
        try:
            async for said in child.answers(asked):
                match said:
                    case Returned():
                        return channel.decode(said.value, returns)
                    case Raised():
                        raise channel.exception(said)
                    case Progress() if report is not None:
                        self._tell(report, said)
                    case MissingLayers():
                        self._miss(said.names)
        except (EOFError, ConnectionError):
            exitcode = await child.died()
            died = Retryable(self._crash_code, f"the engine process died (exit code {exitcode})")
            self._refuse(exitcode, died)
            raise died from None
        raise AssertionError("the answers of a child end with a result or an error")

    async def _in_time(self, answer: Awaitable[R]) -> R:
        wall_s = self._spec.sandbox.wall_s if self._spec.sandbox else None
        try:
            async with asyncio.timeout(wall_s) as limit:
                return await answer
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

    async def _started(self) -> "_Child":
        child = await _Child.start(self._spec)
        self._children.add(child)
        return child

    def _part_with(self, child: "_Child") -> None:
        if child.answered and not self._spec.fresh and child in self._children:
            self._idle.append(child)
        else:
            self._kill(child)

    def _kill(self, child: "_Child") -> None:
        self._children.discard(child)
        death = asyncio.create_task(child.death(), name="engine-death")
        self._deaths.add(death)
        death.add_done_callback(self._deaths.discard)

    def _tell(self, report: Report, progress: Progress) -> None:
        fraction = min(1.0, max(0.0, progress.fraction))
        telling = asyncio.create_task(report(fraction, progress.message[: channel.MESSAGE_MAX]), name="engine-report")
        self._reports.add(telling)
        telling.add_done_callback(self._reports.discard)

    def _miss(self, layers: list[str]) -> None:
        for layer in sorted(set(layers) - self._missing):
            self._missing.add(layer)
            telemetry.logger().warning("sandbox_layer_missing", engine=self._spec.target, layer=layer)


class _Child:
    """One process. It serves a call after the other, for as long as each is answered."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.answered = True
        """Whether it has nothing left to say of its last call."""

    @classmethod
    async def start(cls, spec: EngineSpec) -> "_Child":
        """A process with the engine to be."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "chassis.hosting"), env=_environ(spec), stdin=PIPE, stdout=PIPE
        )
        child = cls(process)
        hosted = Hosted(
            target=spec.target, arguments=spec.arguments, sandbox=spec.sandbox, nice=spec.nice, parent=os.getpid()
        )
        child._input.write(channel.encode(hosted))
        return child

    async def answers(self, asked: Call) -> AsyncIterator[Answer]:
        """What it says of a call, to the last word.

        Raises EOFError or ConnectionError where it died; ValueError (msgspec.DecodeError) where it makes no sense.
        """
        self.answered = False
        self._input.write(channel.encode(asked))
        await self._input.drain()
        assert self._process.stdout is not None
        while not self.answered:
            header = await self._process.stdout.readexactly(channel.HEADER_BYTES)
            said = channel.answer(await self._process.stdout.readexactly(channel.length(header)))
            self.answered = isinstance(said, Returned | Raised)
            yield said

    async def died(self) -> int:
        """Its exit code, now that it has fallen silent: of a signal, less than 0."""
        try:
            async with asyncio.timeout(_DYING_S):
                return await self._process.wait()  # not killed first: that would take its exit code from asyncio
        except TimeoutError:
            return await self.death()

    async def death(self) -> int:
        """Kill it, unless it is dead."""
        with suppress(ProcessLookupError):
            self._process.kill()
        return await self._process.wait()

    @property
    def _input(self) -> asyncio.StreamWriter:
        assert self._process.stdin is not None
        return self._process.stdin


def _environ(spec: EngineSpec) -> dict[str, str]:
    seen = dict(os.environ)
    if spec.sandbox is not None:
        names = (*_HARMLESS, *spec.sandbox.variables)
        seen = {name: value for name, value in seen.items() if name in names}
    if spec.threads:
        seen |= dict.fromkeys(_THREADS, str(spec.threads))
    return seen | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
