"""The gateway's API as the command line uses it. Whatever goes wrong is a CliError with a sentence."""

import asyncio
import io
import os
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from cli.errors import CliError
from cli.tokens import LOOPBACK
from contracts.failures import FailureCode
from contracts.parameters import Parameters
from contracts.progress import Stage, Status

R = TypeVar("R")

FORMATS = ("srt", "vtt", "json", "txt")

_AWAY = (502, 503, 504)
_CONNECT_S = 5.0
_ANSWER_S = 60.0
_SUBMIT_TRIES = 3
_SUBMIT_AGAIN_S = 2.0


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a submit."""

    job_id: str
    access_token: str
    cached: bool = False


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as the gateway shows it; fields that the command line does not use are left out."""

    job_id: str
    status: Status
    filename: str
    run: int = 1
    progress: float = 0.0
    progress_stage: Stage = Stage.QUEUED
    progress_message: str = ""
    stages: dict[Stage, float] = {}
    queue_position: int | None = None
    error_code: str | None = None
    error_message: str | None = None
    error_hint: str | None = None
    error_reference: str | None = None
    created_at: datetime | None = None
    duration_s: float | None = None
    language: str | None = None
    speakers: int | None = None
    notes: list[str] = []
    cached: bool = False

    @property
    def failure(self) -> str:
        """The sentences for a job that did not end well."""
        said = " ".join(part for part in (self.error_message, self.error_hint) if part)
        reference = f" Reference: {self.error_reference}." if self.error_code == FailureCode.INTERNAL else ""
        return f"{said or f'The job was {self.status}.'}{reference}"


class Jobs(msgspec.Struct, frozen=True, kw_only=True):
    """One page of the caller's jobs, newest first."""

    jobs: list[Job]
    total: int


class Unreachable(CliError):
    """Nothing answers at the address, or it cannot just now: trying again may help."""


class _Problem(msgspec.Struct, frozen=True):
    detail: str


class Api:
    """One server. Use as an async context manager."""

    def __init__(self, server: str) -> None:
        self.server = server.rstrip("/")
        parts = urlsplit(self.server)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CliError(f"{server} is not the address of a server; it looks like http://127.0.0.1:8000.")
        self.uses_proxy = parts.hostname not in LOOPBACK
        """Whether a proxy named in the environment is used; between a machine and itself it has no business."""
        self._http = httpx.AsyncClient(
            base_url=self.server,
            timeout=httpx.Timeout(_ANSWER_S, connect=_CONNECT_S),
            trust_env=self.uses_proxy,
        )

    async def __aenter__(self) -> "Api":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def submit(self, path: Path, parameters: Parameters, on_bytes: Callable[[int], None]) -> Accepted:
        """Send a recording, streamed from the disk; `on_bytes` hears how many bytes more have gone.

        Where the answer is lost after bytes have gone, all is sent again under the same key: it makes no second job.
        """
        key = secrets.token_urlsafe(24)
        tries = _SUBMIT_TRIES
        while True:
            sent = 0

            def count(more: int) -> None:
                nonlocal sent
                sent += more
                on_bytes(more)

            try:
                return await self._submit(path, parameters, key, count)
            except Unreachable:
                tries -= 1
                if not tries or not sent:
                    raise
                on_bytes(-sent)
                await asyncio.sleep(_SUBMIT_AGAIN_S)

    async def _submit(self, path: Path, parameters: Parameters, key: str, on_bytes: Callable[[int], None]) -> Accepted:
        try:
            with path.open("rb") as file:
                body = {"file": (sent_name(path), _Counted(file, on_bytes), "application/octet-stream")}
                async with self._answer(
                    "POST",
                    "/api/jobs/submit",
                    headers={"Idempotency-Key": key},
                    data=form_fields(parameters),
                    files=body,
                ) as response:
                    return _decoded(response, Accepted)
        except OSError as error:
            raise CliError(f"{path} cannot be read: {error.strerror}.") from error

    async def submit_address(self, url: str, parameters: Parameters) -> Accepted:
        """Have a recording fetched from its address. Tried again under the same key where no answer comes."""
        headers = {"Idempotency-Key": secrets.token_urlsafe(24)}
        body = {"source_url": url, **form_fields(parameters)}
        tries = _SUBMIT_TRIES
        while True:
            try:
                async with self._answer("POST", "/api/jobs/submit", headers=headers, json=body) as response:
                    return _decoded(response, Accepted)
            except Unreachable:
                tries -= 1
                if not tries:
                    raise
                await asyncio.sleep(_SUBMIT_AGAIN_S)

    async def job(self, job_id: str, token: str) -> Job:
        """The job as it is now, without its result."""
        async with self._answer("GET", f"/api/jobs/{job_id}", headers=_bearer(token)) as response:
            return _decoded(response, Job)

    async def jobs(self, tokens: Sequence[str], page: int, per_page: int) -> Jobs:
        """One page of the jobs that the tokens open."""
        asked = {"tokens": list(tokens), "page": page, "per_page": per_page}
        async with self._answer("POST", "/api/jobs/query", json=asked) as response:
            return _decoded(response, Jobs)

    @asynccontextmanager
    async def download(self, job_id: str, token: str, name: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """One format of a finished job, in blocks."""
        path = f"/api/jobs/{job_id}/download/{name}"
        async with self._answer("GET", path, headers=_bearer(token), read=False) as response:
            yield response.aiter_bytes()

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, *, read: bool = True, **request: Any
    ) -> AsyncIterator[httpx.Response]:
        try:
            async with self._http.stream(method, path, **request) as response:
                if read or response.is_error:
                    await response.aread()
                if not response.is_success:
                    raise (Unreachable if response.status_code in _AWAY else CliError)(_sentence(response))
                yield response
        except httpx.ConnectError as error:
            raise Unreachable(f"No Subtide server answers at {self.server}. Start one with `subtide up`.") from error
        except httpx.TimeoutException as error:
            raise Unreachable(f"The server at {self.server} did not answer in time. Try again in a while.") from error
        except httpx.HTTPError as error:
            raise Unreachable(f"The connection to {self.server} broke ({error or type(error).__name__}).") from error


def sent_name(path: Path) -> str:
    """The name a recording is sent under: that of the file, whose bytes need not be text."""
    return os.fsencode(path.name).decode(errors="replace")


def form_fields(parameters: Parameters) -> dict[str, str]:
    """The parameters that differ from the defaults, as text of a form."""
    given, usual = msgspec.structs.asdict(parameters), msgspec.structs.asdict(Parameters())
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in given.items()
        if value != usual[name]
    }


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _decoded(response: httpx.Response, kind: type[R]) -> R:
    try:
        return msgspec.json.decode(response.content, type=kind)
    except msgspec.MsgspecError as error:
        raise CliError(f"{response.url} does not answer as a Subtide server does ({error}).") from error


def _sentence(response: httpx.Response) -> str:
    try:
        return msgspec.json.decode(response.content, type=_Problem).detail
    except msgspec.MsgspecError:
        return f"{response.url} answered {response.status_code} {response.reason_phrase}."


class _Counted:
    """An open file that says how much of it was read; httpx streams it in blocks and asks its length of `fileno`."""

    def __init__(self, file: io.BufferedReader, on_bytes: Callable[[int], None]) -> None:
        self._file = file
        self._on_bytes = on_bytes

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self._on_bytes(len(block))
        return block

    def fileno(self) -> int:
        return self._file.fileno()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)
