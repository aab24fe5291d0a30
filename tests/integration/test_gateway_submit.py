"""Submitting: all of a job or nothing."""

import asyncio
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from nats.aio.client import Client

from chassis.admission import Admission, State
from chassis.joblog import JobLog
from chassis.store import Store
from cli.standalone.nats import NatsServer
from contracts import facts, topology
from contracts.artifacts import ContentDigest, finished_key
from contracts.parameters import Parameters
from tests.integration.conftest import Gateway, running_gateway, until


@pytest.fixture
async def admission(client: Client) -> Admission:
    return Admission(await client.jetstream().key_value(topology.ADMISSION))


def content_digest(content: bytes) -> str:
    digest = ContentDigest()
    digest.update(content)
    return digest.hexdigest()


async def nothing_is_left(admission: Admission, joblog: JobLog, artifacts_url: str) -> bool:
    folder = Path(artifacts_url.removeprefix("file://"))
    files = [path for path in folder.rglob("*") if path.is_file()]
    return not files and not (await admission.ledger()).places and not await joblog.read(1, 10)


async def test_a_submit_is_in_the_log_and_its_bytes_in_the_store(
    gateway: Gateway, joblog: JobLog, store: Store, admission: Admission
) -> None:
    content = bytes(range(256)) * 40_000
    answer = await gateway.submit(content, language="en", num_speakers="2", diarize="on", hotwords="")
    assert answer["status"] == "pending"
    assert answer["cached"] is False
    (recorded,) = await joblog.facts_of(answer["job_id"])
    fact = recorded.fact
    assert isinstance(fact, facts.JobAccepted)
    assert fact.parameters == Parameters(language="en", num_speakers=2)
    assert fact.filename == "talk.mp4"
    assert fact.source.digest == content_digest(content)
    assert fact.source.bytes == len(content)
    assert await store.get(fact.source.key) == content
    assert fact.token_sha256 == hashlib.sha256(answer["access_token"].encode()).hexdigest()
    place = (await admission.ledger()).places[answer["job_id"]]
    assert place.state is State.UPLOADING
    assert "127.0.0.1" not in place.counted_as


async def test_fields_may_stand_before_and_after_the_file(gateway: Gateway, joblog: JobLog) -> None:
    def part(name: str, value: str, extra: str = "") -> str:
        return f'--b\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n{value}\r\n'

    body = (
        part("language", "de")
        + part("file", "sound", '; filename="x.wav"')
        + part("task", "translate")
        + "--b--\r\nepilogue"
    )
    answer = await gateway.http.post(
        "/api/jobs/submit", content=body.encode(), headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    view = await joblog.view(answer.json()["job_id"])
    assert view is not None
    assert view.parameters == Parameters(language="de", task="translate")


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ('she said "hi".mp4', 'she said "hi".mp4'),
        ("two\nlines.mp4", "two lines.mp4"),
        ("🎬 fünf.mp4", "🎬 fünf.mp4"),
        ("../../etc/passwd", "passwd"),
        ("C:\\films\\a.mov", "a.mov"),
    ],
)
async def test_any_file_name_is_kept_as_far_as_it_is_a_name(
    gateway: Gateway, joblog: JobLog, name: str, stored: str
) -> None:
    answer = await gateway.http.post("/api/jobs/submit", files={"file": (name, b"sound")})
    view = await joblog.view(answer.json()["job_id"])
    assert view is not None
    assert view.filename == stored


@pytest.mark.parametrize(
    ("request_of", "status", "code", "field"),
    [
        ({"files": {"file": ("a", b"")}}, 400, "empty_file", "file"),
        ({"files": {"file": ("a", b"1")}, "data": {"colour": "red"}}, 400, "unknown_parameter", "colour"),
        ({"files": {"file": ("a", b"1")}, "data": {"num_speakers": "many"}}, 400, "invalid_parameter", "num_speakers"),
        ({"files": {"file": ("a", b"1")}, "data": {"language": "xx"}}, 400, "invalid_parameter", "language"),
        (
            {"files": {"file": ("a", b"1")}, "data": {"min_speakers": "3", "max_speakers": "2"}},
            400,
            "invalid_parameter",
            "min_speakers",
        ),
        ({"files": [("file", ("a", b"1")), ("file", ("b", b"2"))]}, 400, "several_files", "file"),
        ({"files": {"picture": ("a", b"1")}}, 400, "unknown_parameter", None),
        ({"files": {"language": ("a", b"en")}}, 400, "file_missing", "file"),
        ({"content": b"sound", "headers": {"Content-Type": "video/mp4"}}, 415, "not_a_form", None),
        ({"json": {}}, 400, "source_missing", "upload_id"),
        (
            {"content": b"--b\r\nrubbish", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
            400,
            "malformed_form",
            None,
        ),
    ],
)
async def test_a_wrong_form_is_refused_by_name_and_leaves_nothing(
    gateway: Gateway, joblog: JobLog, admission: Admission, artifacts_url: str,
    request_of: dict[str, Any], status: int, code: str, field: str | None,
) -> None:  # fmt: skip
    answer = await gateway.http.post("/api/jobs/submit", **request_of)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == status
    assert problem["detail"].endswith(".")
    if field is not None:
        assert problem["field"] == field
    assert await nothing_is_left(admission, joblog, artifacts_url)


async def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(
    gateway: Gateway, joblog: JobLog, admission: Admission, artifacts_url: str
) -> None:
    host, port = gateway.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /api/jobs/submit HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b"Content-Length: 50000000\r\n\r\n"
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"x" * 20_000_000
    )
    await writer.drain()

    async def begun() -> bool:
        return bool((await admission.ledger()).places)

    await until(begun)
    writer.close()

    async def gone() -> bool:
        return await nothing_is_left(admission, joblog, artifacts_url)

    await until(gone)


async def test_a_file_that_is_too_large_is_refused_announced_or_not(
    environ: dict[str, str], joblog: JobLog, admission: Admission, artifacts_url: str
) -> None:
    async with running_gateway(environ | {"SUBTIDE_GATEWAY_MAX_UPLOAD_BYTES": "1000"}) as gateway:
        exact = await gateway.http.post("/api/jobs/submit", files={"file": ("a", b"x" * 1000)})
        assert exact.status_code == 202
        over = await gateway.http.post("/api/jobs/submit", files={"file": ("a", b"x" * 1001)})
        announced = await gateway.http.post("/api/jobs/submit", files={"file": ("a", b"x" * 3_000_000)})

        async def endless() -> Any:
            yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
            for _ in range(100):
                yield b"x" * 100_000

        unannounced = await gateway.http.post(
            "/api/jobs/submit", content=endless(), headers={"Content-Type": "multipart/form-data; boundary=b"}
        )
    for answer in (over, announced, unannounced):
        assert (answer.status_code, answer.json()["code"]) == (413, "file_too_large")
        assert "1,000 bytes" in answer.json()["detail"]
    assert list((await admission.ledger()).places) == [exact.json()["job_id"]]


class TestRaw:
    """The body is the recording and nothing else, as `curl -T` sends it."""

    async def test_a_file_is_sent_as_it_is_with_its_settings_in_the_address(
        self, gateway: Gateway, joblog: JobLog, store: Store
    ) -> None:
        answer = await gateway.http.put(
            "/api/jobs/submit/my%20talk.mp4", content=b"sound", params={"language": "en", "diarize": "off"}
        )
        assert answer.status_code == 202
        view = await joblog.view(answer.json()["job_id"])
        assert view is not None
        assert (view.filename, view.parameters) == ("my talk.mp4", Parameters(language="en", diarize=False))
        assert await store.get(view.source.key) == b"sound"

    async def test_who_asks_first_is_told_to_go_on(self, gateway: Gateway) -> None:
        host, port = gateway.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"PUT /api/jobs/submit/a.mp4 HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 100 ")
        assert await reader.readline() == b"\r\n"
        writer.write(b"sound")
        assert (await reader.readline()).startswith(b"HTTP/1.1 202 ")
        writer.close()

    @pytest.mark.parametrize(
        ("query", "content", "status", "code"),
        [
            ("", b"", 400, "empty_file"),
            ("colour=red", b"x", 400, "unknown_parameter"),
            ("language=en&language=de", b"x", 400, "repeated_parameter"),
            ("num_speakers=0", b"x", 400, "invalid_parameter"),
        ],
    )
    async def test_what_is_wrong_is_refused_and_leaves_nothing(
        self, gateway: Gateway, admission: Admission, joblog: JobLog, artifacts_url: str,
        query: str, content: bytes, status: int, code: str,
    ) -> None:  # fmt: skip
        answer = await gateway.http.put(f"/api/jobs/submit/a.mp4?{query}", content=content)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert await nothing_is_left(admission, joblog, artifacts_url)

    async def test_it_is_as_large_as_a_form_may_be_and_no_larger(self, environ: dict[str, str]) -> None:
        async with running_gateway(environ | {"SUBTIDE_GATEWAY_MAX_UPLOAD_BYTES": "1000"}) as gateway:

            async def endless() -> Any:
                for _ in range(11):
                    yield b"x" * 100

            exact = await gateway.http.put("/api/jobs/submit/a", content=b"x" * 1000)
            over = await gateway.http.put("/api/jobs/submit/a", content=b"x" * 1001)
            unannounced = await gateway.http.put("/api/jobs/submit/a", content=endless())
        assert exact.status_code == 202
        for answer in (over, unannounced):
            assert (answer.status_code, answer.json()["code"]) == (413, "file_too_large")
            assert "1,000 bytes" in answer.json()["detail"]

    async def test_tries_with_one_key_are_one_job(self, environ: dict[str, str], joblog: JobLog) -> None:
        async with running_gateway(environ) as gateway:
            key = {"Idempotency-Key": "k"}
            answers = [
                await gateway.http.put("/api/jobs/submit/a", content=content, headers=key)
                for content in (b"x", b"x", b"y")
            ]
        assert [answer.status_code for answer in answers] == [202, 202, 422]
        assert answers[0].json()["access_token"] == answers[1].json()["access_token"]
        assert len(await joblog.read(1, 10)) == 1


async def test_a_full_queue_says_busy_and_when_to_come_back(environ: dict[str, str], admission: Admission) -> None:
    limits = {"SUBTIDE_MAX_ACTIVE_JOBS": "1", "SUBTIDE_MAX_QUEUED_JOBS": "1"}
    async with running_gateway(environ | limits) as gateway:
        first = await gateway.submit()
        second = await gateway.submit()
        assert "queue_position" not in first
        assert second["queue_position"] == 1
        refused = await gateway.http.post("/api/jobs/submit", files={"file": ("a", b"x")})
        capacity = (await gateway.http.get("/api/capacity")).json()
    assert refused.status_code == 429
    assert refused.json()["code"] == "queue_full"
    assert refused.json()["detail"].startswith("System busy: ")
    assert int(refused.headers["retry-after"]) > 0
    assert len((await admission.ledger()).places) == 2
    assert capacity["accepting"] is False
    assert capacity["waiting"] == 2


async def test_racing_submits_never_take_more_places_than_there_are(
    environ: dict[str, str], admission: Admission
) -> None:
    limits = {"SUBTIDE_MAX_ACTIVE_JOBS": "1", "SUBTIDE_MAX_QUEUED_JOBS": "3"}
    async with running_gateway(environ | limits) as gateway:
        answers = await asyncio.gather(
            *(gateway.http.post("/api/jobs/submit", files={"file": ("a", b"x")}) for _ in range(12))
        )
    assert sorted(answer.status_code for answer in answers) == [202] * 4 + [429] * 8
    assert len((await admission.ledger()).places) == 4


async def test_a_file_seen_before_is_announced_as_cached(gateway: Gateway, store: Store) -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    digest = content_digest(b"sound")
    await store.put_record(finished_key("anon", digest, Parameters(language="en")), {"completed_at": at})
    same = await gateway.submit(b"sound", language="en")
    other = await gateway.submit(b"sound", language="de")
    assert (same["cached"], same["cached_at"]) == (True, "2026-01-02T00:00:00Z")
    assert other["cached"] is False


class TestFullLog:
    """A log that cannot take one more fact."""

    @pytest.fixture
    def numbers(self) -> topology.Numbers:
        return topology.Numbers(jobs_max_bytes=1024)

    async def test_is_a_503_that_leaves_nothing_behind(
        self, gateway: Gateway, admission: Admission, artifacts_url: str
    ) -> None:
        answers = [await gateway.http.post("/api/jobs/submit", files={"file": ("a", b"x")}) for _ in range(4)]
        refused = answers[-1]
        assert (refused.status_code, refused.json()["code"]) == (503, "log_full")
        accepted = {answer.json()["job_id"] for answer in answers if answer.status_code == 202}
        assert set((await admission.ledger()).places) == accepted
        uploads = Path(artifacts_url.removeprefix("file://")) / "uploads" / "anon"
        assert {path.name for path in uploads.iterdir()} == accepted


async def test_without_a_broker_the_answer_is_503_and_afterwards_all_is_well(
    environ: dict[str, str], nats_server: NatsServer, admission: Admission
) -> None:
    async with running_gateway(environ) as gateway:
        nats_server.stop()
        try:
            answer = await gateway.http.post("/api/jobs/submit", files={"file": ("a", b"x")})
            ready = await gateway.http.get("/health/ready")
        finally:
            nats_server.start()
        assert (answer.status_code, answer.json()["code"]) == (503, "log_unavailable")
        assert ready.status_code == 503

        async def works() -> bool:
            return (await gateway.http.post("/api/jobs/submit", files={"file": ("a", b"x")})).status_code == 202

        await until(works, 20)

        async def only_one_place() -> bool:
            return len((await admission.ledger()).places) == 1

        await until(only_one_place)


async def test_every_answer_has_the_security_headers(gateway: Gateway) -> None:
    for path in ("/", "/docs", "/nowhere", "/api/capacity", "/assets/pages.css"):
        answer: httpx.Response = await gateway.http.get(path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'self'" in answer.headers["content-security-policy"]


async def test_the_api_is_described_and_no_page_loads_anything_from_elsewhere(gateway: Gateway) -> None:
    described = (await gateway.http.get("/schema/openapi.json")).json()
    submit = described["paths"]["/api/jobs/submit"]["post"]
    assert "file" in submit["requestBody"]["content"]["multipart/form-data"]["schema"]["required"]
    assert {"202", "400", "413", "422", "429", "503", "507"} <= set(submit["responses"])
    assert [(one["name"], one["in"], one.get("required", False)) for one in submit["parameters"]] == [
        ("token", "query", False),
        ("Idempotency-Key", "header", False),
    ]
    asyncapi = (await gateway.http.get("/asyncapi.json")).json()
    assert asyncapi["asyncapi"] == "3.0.0"
    assert asyncapi["channels"]["chunk-transcribed"]["address"] == "job.chunk-transcribed.{owner}.{job_id}.{run}.{n}"
    for path in ("/", "/docs", "/asyncapi"):
        page = (await gateway.http.get(path)).text
        assert "//" not in page.replace("http://localhost:8000", "")
