"""Each layer of the sandbox bites, in the child of a pool as the services use it."""

import errno
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chassis.child import EnginePool, EngineSpec
from chassis.sandbox import Reach, Sandbox
from contracts.failures import FailureCode, Permanent, Retryable

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's sandboxes are Linux's own")
SANDBOX = Sandbox(cpu_s=20, wall_s=20.0, address_space_bytes=1 << 30, file_bytes=1 << 20)


@asynccontextmanager
async def burgled(sandbox: Sandbox = SANDBOX) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    spec = EngineSpec(target="tests.unit.burglar:Burglar", threads=1, fresh=True, sandbox=sandbox)
    pool = EnginePool(spec, workers=1, crash_code=FailureCode.DECODER_CRASHED)

    async def call(reach: Reach, method: str, *arguments: Any) -> Any:
        return await pool.call_within(reach, method, *arguments, returns=Any)

    try:
        yield call
    finally:
        await pool.close()


def test_a_child_that_serves_several_calls_cannot_have_a_sandbox() -> None:
    with pytest.raises(ValueError, match="fresh"):
        EngineSpec(target="tests.unit.burglar:Burglar", sandbox=SANDBOX)


@LINUX
async def test_this_machine_has_every_layer(capsys: pytest.CaptureFixture[str]) -> None:
    async with burgled() as call:
        await call(Reach(), "identity")
    assert "sandbox_layer_missing" not in capsys.readouterr().out


@LINUX
async def test_what_is_not_within_reach_cannot_be_opened(tmp_path: Path) -> None:
    # given a recording, a workspace, and a file beside them
    recording, secret, work = tmp_path / "recording", tmp_path / "secret", tmp_path / "work"
    recording.write_bytes(b"sound")
    secret.write_bytes(b"secret")
    work.mkdir()
    reach = Reach(read=[recording], write=[work])
    refused = [
        ("open", secret, os.O_RDONLY),
        ("open", secret, os.O_WRONLY),
        ("open", recording, os.O_WRONLY),
        ("open", recording, os.O_RDWR | os.O_TRUNC),
        ("open", tmp_path / "new", os.O_WRONLY | os.O_CREAT),
        ("open", work / ".." / "secret", os.O_RDONLY),
        ("open", Path("/etc/passwd"), os.O_RDONLY),
        ("open", Path("/proc/self/environ"), os.O_RDONLY),
        ("open", Path("/proc/self/mem"), os.O_RDWR),
        ("look", tmp_path),
        ("look", Path("/")),
    ]
    allowed = [
        ("open", recording, os.O_RDONLY),
        ("open", work / "a.wav", os.O_RDWR | os.O_CREAT),
        ("look", work),
    ]
    async with burgled() as call:
        assert [await call(reach, *attempt) for attempt in refused] == [errno.EACCES] * len(refused)
        assert [await call(reach, *attempt) for attempt in allowed] == [0] * len(allowed)
    # and a link within reach leads nowhere
    (work / "link").symlink_to(secret)
    async with burgled() as call:
        assert await call(reach, "open", work / "link", os.O_RDONLY) == errno.EACCES


@LINUX
async def test_nobody_can_be_reached_and_nothing_started(tmp_path: Path) -> None:
    attempts: list[tuple[Any, ...]] = [
        ("ask", socket.AF_INET),
        ("ask", socket.AF_INET6),
        ("ask", socket.AF_UNIX),
        ("ask", 16),  # AF_NETLINK
        ("pair",),
        ("run",),
        ("become",),
        ("fork",),
        ("kill", os.getpid()),
        ("kill", -1),
        ("choke", os.getpid()),
        ("loosen",),
        ("disown", tmp_path),
        ("shorten", Path(__file__)),
    ]
    async with burgled() as call:
        assert {str(attempt): await call(Reach(), *attempt) for attempt in attempts} == {
            str(attempt): errno.EPERM for attempt in attempts
        }


async def test_what_an_engine_needs_goes_on(tmp_path: Path) -> None:
    async with burgled() as call:
        assert await call(Reach(), "thread") == "still works"
        assert await call(Reach(), "core") == 0
        if sys.platform == "linux":
            assert await call(Reach(), "threads_at_the_door") == "1"  # Landlock locks in the thread that asks for it


@LINUX
async def test_memory_ends_at_its_limit() -> None:
    async with burgled() as call:
        assert await call(Reach(), "allocate", 1 << 29) == 1 << 29
        with pytest.raises(Permanent, match=r"more than 1,073,741,824 bytes of memory") as caught:
            await call(Reach(), "allocate", 1 << 30)
    assert (caught.value.code, bool(caught.value.told)) == (FailureCode.MEDIA_LIMIT, True)


async def test_a_file_ends_at_its_limit(tmp_path: Path) -> None:
    reach = Reach(write=[tmp_path])
    async with burgled() as call:
        await call(reach, "write", tmp_path / "a", 1 << 20)
        with pytest.raises(Permanent, match=r"larger than 1,048,576 bytes") as caught:
            await call(reach, "write", tmp_path / "b", (1 << 20) + 1)
    assert caught.value.code == FailureCode.MEDIA_LIMIT


async def test_open_files_end_at_their_limit(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    async with burgled() as call:
        assert await call(Reach(read=[tmp_path]), "open_many", tmp_path / "a", 8) == 0
        assert await call(Reach(read=[tmp_path]), "open_many", tmp_path / "a", 65) == errno.EMFILE


async def test_processor_time_ends_at_its_limit_and_trying_again_is_no_use() -> None:
    async with burgled(msgspec.structs.replace(SANDBOX, cpu_s=2)) as call:
        with pytest.raises(Permanent, match="more than 2 seconds of processor time") as caught:
            await call(Reach(), "spin")
        assert caught.value.code == FailureCode.MEDIA_LIMIT
        assert await call(Reach(), "identity") == "burglar"


async def test_a_call_that_hangs_ends_at_its_limit_and_is_tried_again() -> None:
    async with burgled(msgspec.structs.replace(SANDBOX, wall_s=4.0)) as call:
        with pytest.raises(Retryable, match="4 seconds") as caught:
            await call(Reach(), "sleep")
        assert caught.value.code == FailureCode.TIMED_OUT
        assert await call(Reach(), "identity") == "burglar"


async def test_a_layer_that_the_machine_lacks_is_said_once_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    from structlog.testing import capture_logs

    spec = EngineSpec(target="tests.unit.burglar:OnAnOldKernel", fresh=True, sandbox=SANDBOX)
    pool = EnginePool(spec, workers=1)
    try:
        with capture_logs() as lines:
            assert [await pool.call("identity", returns=str), await pool.call("identity", returns=str)] == ["old"] * 2
    finally:
        await pool.close()
    said = [line["layer"] for line in lines if line["event"] == "sandbox_layer_missing"]
    assert said.count("landlock") == 1
    assert "seccomp" not in said
