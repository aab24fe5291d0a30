"""The gateway's API as the command line uses it. Whatever goes wrong is a CliError with a sentence."""

import os
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
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

BATCH_MAX = 100
"""Recordings that a server takes in one batch."""

_AWAY = (502, 503, 504)
_CONNECT_S = 5.0
_ANSWER_S = 60.0
_TUS = {"Tus-Resumable": "1.0.0"}


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


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """An upload that was begun: what it is called, and what opens it."""

    upload_id: str
    upload_token: str


class Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a job is to be made of: a finished upload, or what is at an address."""

    upload_id: str | None = None
    upload_token: str | None = None
    source_url: str | None = None
    filename: str | None = None


class Unreachable(CliError):
    """Nothing answers at the address, or it cannot just now: trying again may help."""


class Absent(Unreachable):
    """Nothing answers at the address."""


class Refused(CliError):
    """The server said no, and why."""

    def __init__(self, sentence: str, *, status: int, code: str = "", field: str = "", again_s: float | None) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.field = field
        self.again_s = again_s
        """When to come back, where it says so."""


class _Problem(msgspec.Struct, frozen=True):
    detail: str
    code: str = ""
    field: str | None = None


class _AcceptedBatch(msgspec.Struct, frozen=True):
    jobs: list[Accepted]


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

    async def begin_upload(self, length: int, filename: str, key: str) -> Upload:
        """A new upload, or the one that a try with the same key began."""
        metadata = f"filename {b64encode(filename.encode()).decode()}"
        headers = _TUS | {"Idempotency-Key": key, "Upload-Length": str(length), "Upload-Metadata": metadata}
        async with self._answer("POST", "/api/uploads", headers=headers) as response:
            return _decoded(response, Upload)

    async def arrived(self, upload: Upload) -> int:
        """How many bytes of an upload the server has."""
        headers = _TUS | _bearer(upload.upload_token)
        async with self._answer("HEAD", f"/api/uploads/{upload.upload_id}", headers=headers) as response:
            return _offset(response)

    async def send(self, upload: Upload, offset: int, blocks: AsyncIterator[bytes], length: int) -> int:
        """Send `length` bytes from `offset` on. Returns how many the server has then."""
        headers = {
            **_TUS,
            **_bearer(upload.upload_token),
            "Content-Type": "application/offset+octet-stream",
            "Content-Length": str(length),
            "Upload-Offset": str(offset),
        }
        path = f"/api/uploads/{upload.upload_id}"
        async with self._answer("PATCH", path, headers=headers, content=blocks) as response:
            return _offset(response)

    async def submit(self, source: Source, parameters: Parameters, key: str) -> Accepted:
        """A job of one recording; the same key makes no second one."""
        body = form_fields(parameters) | msgspec.to_builtins(source)
        async with self._answer("POST", "/api/jobs/submit", headers={"Idempotency-Key": key}, json=body) as response:
            return _decoded(response, Accepted)

    async def submit_batch(self, sources: Sequence[Source], parameters: Parameters, key: str) -> list[Accepted]:
        """A job of each recording, in their order: all of them or none."""
        body = form_fields(parameters) | {"items": msgspec.to_builtins(sources)}
        async with self._answer("POST", "/api/batches", headers={"Idempotency-Key": key}, json=body) as response:
            return _decoded(response, _AcceptedBatch).jobs

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
                    raise _refusal(response)
                yield response
        except httpx.ConnectError as error:
            raise Absent(f"No Subtide server answers at {self.server}. Start one with `subtide up`.") from error
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


def _offset(response: httpx.Response) -> int:
    given = response.headers.get("upload-offset", "")
    if not given.isdecimal():
        raise CliError(f"{response.url} does not answer as a Subtide server does (no Upload-Offset).")
    return int(given)


def _refusal(response: httpx.Response) -> CliError:
    try:
        problem = msgspec.json.decode(response.content, type=_Problem)
    except msgspec.MsgspecError:
        problem = _Problem(f"{response.url} answered {response.status_code} {response.reason_phrase}.")
    if response.status_code in _AWAY:
        return Unreachable(problem.detail)
    again = response.headers.get("retry-after", "")
    return Refused(
        problem.detail,
        status=response.status_code,
        code=problem.code,
        field=problem.field or "",
        again_s=float(again) if again.isdecimal() else None,
    )
