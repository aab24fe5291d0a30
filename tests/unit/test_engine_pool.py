"""An engine's process is a stranger: what it says is data, checked, and its death is the end of one call."""

import asyncio
import os
import pickle
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chassis import channel
from chassis.channel import EngineFault
from chassis.child import EnginePool, EngineSpec
from chassis.sandbox import Reach, Sandbox
from contracts.failures import EngineError, FailureCode, Retryable
from contracts.transcript import Word
from tests.integration.conftest import until
from tests.unit.obedient import CHUNK, Engine, Taken

SANDBOX = Sandbox(cpu_s=20, wall_s=20.0, address_space_bytes=1 << 30, file_bytes=1 << 20, variables=("OF_ITS_OWN",))


@asynccontextmanager
async def pool(workers: int = 1, **spec: Any) -> AsyncIterator[EnginePool]:
    made = EnginePool(EngineSpec(target="tests.unit.obedient:Engine", **spec), workers=workers)
    try:
        yield made
    finally:
        await made.close()


async def test_an_engine_is_given_what_its_signature_says(tmp_path: Path) -> None:
    async with pool(arguments={"folder": tmp_path}) as engines:
        taken = await engines.call("take", tmp_path, [tmp_path], b"\0\xff", CHUNK, returns=Taken, language=None)
    assert taken.types == ["Path", "Path", "bytes", "Chunk", "Region", "NoneType", "Path"]
    assert taken.words == [Word(word=" one", start=0.1, end=0.3, probability=0.25)]


@pytest.mark.parametrize("how", ["retryable", "permanent", "cancelled"])
async def test_a_failure_of_ours_arrives_as_it_was(how: str) -> None:
    try:
        Engine().fail(how)
    except EngineError as error:
        here = error
    async with pool() as engines:
        with pytest.raises(type(here)) as caught:
            await engines.call("fail", how, returns=str)
    assert (caught.value.code, caught.value.detail, caught.value.told) == (here.code, here.detail, here.told)


async def test_a_mistake_arrives_with_its_traceback_and_an_error_of_the_system_with_its_number() -> None:
    async with pool() as engines:
        with pytest.raises(EngineFault, match=r"in fail\n.*\nKeyError: 'a mistake of ours'"):
            await engines.call("fail", "else", returns=str)
        with pytest.raises(OSError, match="No space left") as caught:
            await engines.call("fail", "full", returns=str)
        assert caught.value.errno == 28
        assert await engines.call("identity", returns=str) == "engine"


async def test_a_process_serves_call_after_call_and_a_fresh_one_a_single_call() -> None:
    async with pool() as kept, pool(fresh=True) as fresh:
        assert [await kept.call("count", returns=int) for _ in range(3)] == [1, 2, 3]
        assert [await fresh.call("count", returns=int) for _ in range(3)] == [1, 1, 1]


async def test_as_many_calls_run_at_once_as_there_are_workers() -> None:
    async with pool(workers=2) as engines:
        pids = await asyncio.gather(*(engines.call("pid", returns=int) for _ in range(6)))
    assert len(set(pids)) <= 2


class Escape:
    """As an object it would make a file in whoever reads it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._path),)


def frame(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"\xff" * 8, id="an endless frame"),
        pytest.param(struct.pack(">I", channel.FRAME_BYTES_MAX + 1), id="a frame one byte too long"),
        pytest.param(frame(b""), id="an empty frame"),
        pytest.param(frame(b"\xc1"), id="what is not MessagePack"),
        pytest.param(frame(msgspec.msgpack.encode({"type": "Obeyed"})), id="a message nobody declared"),
        pytest.param(frame(msgspec.msgpack.encode({"type": "Progress", "fraction": "1"})), id="half a message"),
        pytest.param(frame(msgspec.msgpack.encode({"type": "Raised", "kind": "x", "code": "y"})), id="an unknown code"),
        pytest.param(frame(b"\x91" * 5000), id="a thousand lists in one another"),
    ],
)
async def test_what_makes_no_sense_is_the_end_of_the_process(said: bytes) -> None:
    async with pool() as engines:
        before = await engines.call("pid", returns=int)
        with pytest.raises(Retryable, match="made no sense") as caught:
            await engines.call("say", said, returns=str)
        assert caught.value.code == FailureCode.WORKER_LOST
        assert await engines.call("pid", returns=int) != before


async def test_what_is_said_is_never_an_object(tmp_path: Path) -> None:
    prey = tmp_path / "made by whoever read it"
    pickled = pickle.dumps(Escape(prey))
    async with pool() as engines:
        for said in (pickled, frame(pickled), struct.pack("!i", len(pickled)) + pickled):
            with pytest.raises(Retryable):
                await engines.call("say", said, returns=str)
        with pytest.raises(Retryable, match="made no sense"):
            await engines.call("answer", {"value": pickled}, returns=Taken)
    assert not prey.exists()


async def test_a_result_of_another_type_is_none() -> None:
    async with pool() as engines:
        for value in ({}, {"types": [1], "words": []}, {"types": "x", "words": [None]}):
            with pytest.raises(Retryable, match="made no sense"):
                await engines.call("answer", value, returns=Taken)
        assert await engines.call("answer", {"types": [], "words": []}, returns=Taken) == Taken([], [])


async def test_a_result_may_be_as_large_as_a_frame_and_no_larger() -> None:
    async with pool() as engines:
        assert len(await engines.call("large", 1 << 24, returns=bytes)) == 1 << 24
        with pytest.raises(EngineFault, match=f"{channel.FRAME_BYTES_MAX:,} is the limit"):
            await engines.call("large", channel.FRAME_BYTES_MAX, returns=bytes)


async def test_a_death_ends_one_call_and_says_how() -> None:
    async with pool() as engines:
        with pytest.raises(Retryable, match="exit code 7") as caught:
            await engines.call("exit", returns=str)
        assert caught.value.code == FailureCode.WORKER_LOST
        assert await engines.call("identity", returns=str) == "engine"


async def test_a_cancelled_call_leaves_no_process_behind() -> None:
    heard: list[float] = []

    async def report(fraction: float, message: str) -> None:
        assert message == "asleep"
        heard.append(fraction)

    async with pool() as engines:
        pid = await engines.call("pid", returns=int)
        call = asyncio.create_task(engines.call("sleep", returns=str, report=report))
        await until(lambda: len(heard) > 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: not alive(pid))
        assert heard == sorted(heard)
        assert await engines.call("identity", returns=str) == "engine"


async def test_a_close_leaves_no_process_behind() -> None:
    async with pool(workers=2) as engines:
        idle = await engines.call("pid", returns=int)
        calls = [asyncio.create_task(engines.call("sleep", returns=str, report=_silent)) for _ in range(2)]
        await asyncio.sleep(0.5)
        await engines.close()
        assert not alive(idle)
        assert all(isinstance(one, Retryable) for one in await asyncio.gather(*calls, return_exceptions=True))


async def _silent(fraction: float, message: str) -> None:
    """Nobody listens."""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's sandboxes are Linux's own")
async def test_a_sandbox_knows_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NATS_URL", "DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "SUBTIDE_GATEWAY_SECRET", "OF_ITS_OWN"):
        monkeypatch.setenv(name, "secret")
    async with pool(fresh=True, sandbox=SANDBOX) as engines:
        seen = {
            name: await engines.call_within(Reach(), "variable", name, returns=str | None)
            for name in ("NATS_URL", "DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "SUBTIDE_GATEWAY_SECRET", "OF_ITS_OWN")
        }
    assert {name for name, value in seen.items() if value} == {"OF_ITS_OWN"}
