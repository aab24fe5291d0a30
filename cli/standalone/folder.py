"""The data folder: what lies where, the credentials made for it, and who works on it.

Everything in it is for its owner only. One stack works on a folder: the lock is held by the supervisor and by all its
children, so a folder is free when the last of them is gone, and stale files in it are known to be stale.
"""

import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import platformdirs

from cli.errors import CliError

_OURS = {
    *("credentials.json", "running.json", "lock", "jobs.json", ".jobs.lock", "begun"),
    *("artifacts", "nats", "postgres", "logs"),
}
_STOPPING_S = 15.0
_POLL_S = 0.1


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """Made once for a folder."""

    cluster_id: str
    """Names what belongs to this folder and cannot lie in it."""
    nats_password: str
    postgres_password: str
    gateway_secret: str
    """Key of the gateway's hash of client addresses, so that limits survive a restart."""


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running stack can be reached; the addresses carry passwords."""

    pid: int
    gateway_url: str
    nats_url: str
    database_url: str
    artifacts_url: str


class DataFolder:
    """A data folder, made at the first use."""

    def __init__(self, root: Path) -> None:
        """Raises CliError where the folder cannot be ours."""
        self.root = root.expanduser().absolute()
        self._lock: int | None = None
        try:
            _claim(self.root)
            for folder in (self.nats, self.postgres, self.artifacts, self.logs):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise CliError(
                f"The data folder {self.root} cannot be used: {error.strerror}. Choose another with --data."
            ) from error

    @property
    def nats(self) -> Path:
        """The broker's configuration and store."""
        return self.root / "nats"

    @property
    def postgres(self) -> Path:
        """The database."""
        return self.root / "postgres"

    @property
    def artifacts(self) -> Path:
        """Uploads and results."""
        return self.root / "artifacts"

    @property
    def logs(self) -> Path:
        """A log file for each process."""
        return self.root / "logs"

    def credentials(self) -> Credentials:
        """The folder's credentials, made at the first call."""
        path = self.root / "credentials.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=Credentials)
        except FileNotFoundError:
            made = Credentials(
                cluster_id=secrets.token_hex(6),
                nats_password=secrets.token_hex(24),
                postgres_password=secrets.token_hex(24),
                gateway_secret=secrets.token_hex(32),
            )
            write_private(path, msgspec.json.encode(made))
            return made
        except (OSError, msgspec.MsgspecError) as error:
            raise CliError(f"{path} cannot be read ({error}). Restore it, or choose another folder.") from error

    @property
    def inherited(self) -> tuple[int, ...]:
        """Descriptors for children to keep: with them they hold the lock, too."""
        return () if self._lock is None else (self._lock,)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Work on the folder alone. Raises CliError that names the process and the address of who does already.

        Children of a stack that was killed get a moment to stop.
        """
        path = self.root / "lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._acquire(descriptor)
            (self.root / "running.json").unlink(missing_ok=True)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            self._lock = descriptor
            yield
        finally:
            if self._lock is not None:
                (self.root / "running.json").unlink(missing_ok=True)
                self._lock = None
            os.close(descriptor)

    def publish(self, running: Running) -> None:
        """Tell other commands of this user where the stack is. Taken back when the lock is let go."""
        write_private(self.root / "running.json", msgspec.json.encode(running))

    def _acquire(self, descriptor: int) -> None:
        deadline = time.monotonic() + _STOPPING_S
        first = True
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = _holder(self.root)
                # Once more in any case: `read_running` holds the lock for an instant.
                if not first and (_alive(holder) or time.monotonic() > deadline):
                    raise CliError(self._refusal(holder)) from None
                first = False
                time.sleep(_POLL_S)
            except OSError as error:
                raise CliError(
                    f"{self.root} cannot be locked: {error.strerror}. Choose a folder on a local disk with --data."
                ) from error
            else:
                return

    def _refusal(self, holder: int) -> str:
        running = read_running(self.root)
        where = f" at {running.gateway_url}" if running else ""
        if not _alive(holder):
            return f"Servers of a stack that was killed still work on {self.root}. Their logs are in {self.logs}."
        return (
            f"A stack is already running on {self.root}: process {holder}{where}. "
            f"Use it, stop it with `kill {holder}`, or choose another folder with --data."
        )


def default_root() -> Path:
    """Where data goes unless told otherwise."""
    return Path(platformdirs.user_data_dir("subtide"))


def read_running(root: Path) -> Running | None:
    """Where the stack on a folder can be reached; None where none is running, whatever files it left behind."""
    try:
        running = msgspec.json.decode((root / "running.json").read_bytes(), type=Running)
        descriptor = os.open(root / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, msgspec.MsgspecError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return running if _alive(running.pid) else None
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None


def write_private(path: Path, content: bytes) -> None:
    """Replace a file whole; nobody but the owner can read it, at any moment."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _claim(root: Path) -> None:
    """Make the folder, or take one that is empty or was ours; never change the mode of somebody's documents."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if stat.S_IMODE(root.stat().st_mode) != 0o700 or not (root / "credentials.json").exists():
        foreign = sorted(entry.name for entry in root.iterdir() if entry.name.lstrip(".").split(".")[0] not in _STEMS)
        if foreign:
            raise CliError(
                f"{root} is no data folder of Subtide: it holds {foreign[0]}. "
                "Choose an empty folder, or a new one, with --data."
            )
        root.chmod(0o700)


_STEMS = {name.lstrip(".").split(".")[0] for name in _OURS}


def _holder(root: Path) -> int:
    """The process that wrote itself into the lock; 0 where none did."""
    try:
        return int((root / "lock").read_text() or 0)
    except (OSError, ValueError):
        return 0


def _alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
