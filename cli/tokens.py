"""The user's own list of submitted jobs and their access tokens, so that nobody has to type one.

The file is readable by the user only, replaced whole, and changed under a lock: two submits at once lose nothing.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import platformdirs

from cli.errors import CliError

KEPT = 500
"""Newest jobs that are remembered: as many as a server lists at once."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class SubmittedJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job that was submitted from here."""

    job_id: str
    token: str
    server: str
    """What `server_name` makes of the address it was sent to."""
    filename: str
    submitted_at: datetime


def server_name(url: str) -> str:
    """Which jobs belong to a server. A stack on this machine keeps its jobs whatever port it is on; a token never goes
    to another host."""
    parts = urlsplit(url)
    return "local" if parts.hostname in LOOPBACK else f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


class TokenFile:
    """`jobs.json` in the user's data folder."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or Path(platformdirs.user_data_dir("subtide")) / "jobs.json"

    def add(self, job: SubmittedJob) -> None:
        """Remember a job. Raises CliError where the file cannot be written."""
        try:
            with self._locked():
                self._replace([job, *(known for known in self._read() if known.job_id != job.job_id)][:KEPT])
        except OSError as error:
            raise CliError(
                f"The token of job {job.job_id} could not be kept in {self._path}: {error.strerror}. "
                f"Note it: {job.token}"
            ) from error

    def of_server(self, url: str) -> list[SubmittedJob]:
        """The jobs sent to a server, newest first."""
        return [job for job in self._read() if job.server == server_name(url)]

    def find(self, url: str, job: str) -> SubmittedJob:
        """The job whose id is or begins with `job`. Raises CliError where there is none, or more than one."""
        found = [known for known in self.of_server(url) if known.job_id.startswith(job)]
        if len(found) > 1:
            raise CliError(f"{len(found)} jobs begin with {job}. Give more of the id; `subtide jobs` lists them.")
        if not found:
            raise CliError(f"No job {job} was submitted to {url} from here. Give its token with --token.")
        return found[0]

    def _read(self) -> list[SubmittedJob]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=list[SubmittedJob])
        except FileNotFoundError:
            return []
        except msgspec.MsgspecError as error:
            raise CliError(f"{self._path} is damaged ({error}). Move it away to start a new one.") from error
        except OSError as error:
            raise CliError(f"{self._path} cannot be read: {error.strerror}.") from error

    def _replace(self, jobs: list[SubmittedJob]) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=".jobs-")  # made with mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(jobs), indent=2))
            Path(temporary).replace(self._path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._path.with_name(".jobs.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
