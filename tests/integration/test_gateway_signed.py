"""Uploads whose parts go straight to the store: a folder, behind the gateway's own addresses, and a bucket."""

import asyncio
import base64
import hashlib
import json
import math
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from moto.server import ThreadedMotoServer
from nats.aio.client import Client

from chassis.joblog import JobLog
from chassis.settings import SettingsError, load
from chassis.store import Store, Stored
from contracts import topology
from contracts.artifacts import ArtifactRef, staged_key, staging_folder
from contracts.uploads import PARTS_MAX, Upload, bucket_key
from services.gateway import signing
from services.gateway.problems import Problem
from services.gateway.receiving import Pace, Receiving, lease_left_s
from services.gateway.settings import Settings
from services.gateway.staging import Staging
from services.gateway.uploads import Kept
from tests.integration.conftest import Gateway, running_gateway, until
from tests.integration.test_gateway_uploads import TUS, accepted, content_of, digest, metadata, registry

PART = 1 << 20
CONTENT = bytes(range(256)) * 10_000
SIZES = [PART, PART, len(CONTENT) - 2 * PART]
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SECRET = "a secret of the tests"
OTHER_PART = b"z" * PART


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    """Parts of a megabyte, stored in pieces of half a one, and a secret that outlives a gateway."""
    return environ | {
        "SUBTIDE_GATEWAY_UPLOAD_SIGNED_PART_BYTES": str(PART),
        "SUBTIDE_GATEWAY_UPLOAD_PART_BYTES": str(PART // 2),
        "SUBTIDE_GATEWAY_UPLOAD_LEASE_S": "0.5",
        "SUBTIDE_GATEWAY_SECRET": SECRET,
    }


@pytest.fixture(scope="module")
def bucket_environ() -> Iterator[dict[str, str]]:
    """A bucket on a server that speaks S3, and how to reach it."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    httpx.put(f"{endpoint}/recordings").raise_for_status()
    yield {
        "AWS_ENDPOINT": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }
    server.stop()


@pytest.fixture(params=["disk", "bucket"])
def artifacts_url(request: pytest.FixtureRequest, artifacts_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both kinds of store."""
    if request.param == "disk":
        return artifacts_url
    for name, value in request.getfixturevalue("bucket_environ").items():
        monkeypatch.setenv(name, value)
    return "s3://recordings"


_CREATIONS: list[tuple[Any, int, str | None, str | None]] = [
    ({}, 400, "invalid_parameter", "length"),
    ({"length": 0}, 400, "invalid_parameter", "length"),
    ({"length": -1}, 400, "invalid_parameter", "length"),
    ({"length": "10"}, 400, "invalid_parameter", "length"),
    ({"length": 10.0}, 201, None, None),
    ({"length": 1e300}, 413, "file_too_large", "length"),
    ({"length": 10.5}, 400, "invalid_parameter", "length"),
    ({"length": True}, 400, "invalid_parameter", "length"),
    ({"length": (1 << 53) - 1}, 413, "file_too_large", "length"),
    ({"length": 1 << 53}, 413, "file_too_large", "length"),
    ({"length": 1 << 70}, 413, "file_too_large", "length"),
    ({"length": -(1 << 70)}, 400, "invalid_parameter", "length"),
    ({"length": 10, "filename": 5}, 400, "invalid_parameter", "filename"),
    ({"length": 10, "filename": "x" * 1024}, 201, None, None),
    ({"length": 10, "filename": "x" * 1025}, 400, "invalid_parameter", "filename"),
    ({"length": 10, "lenght": 10}, 400, "unknown_parameter", "lenght"),
    ({"length": 10, "x" * 100: 10}, 400, "unknown_parameter", "x" * 64),
    ([], 400, "malformed_json", None),
    (b"{", 400, "malformed_json", None),
    (b"", 400, "malformed_json", None),
    (b"[" * 60_000, 400, "malformed_json", None),
    (b'{"length":10}'.ljust(64 << 10), 201, None, None),
    (b'{"length":10}'.ljust((64 << 10) + 1), 413, "request_too_large", None),
]
_COMPLETIONS: list[tuple[Any, str]] = [
    ({"sha256": "0" * 63}, "invalid_parameter"),
    ({"sha256": "0" * 65}, "invalid_parameter"),
    ({"sha256": "0" * 64 + "\n"}, "invalid_parameter"),
    ({"sha256": "g" * 64}, "invalid_parameter"),
    ({"sha256": ""}, "invalid_parameter"),
    ({"sha256": None}, "invalid_parameter"),
    ({"sha256": 1}, "invalid_parameter"),
    ({"sha1": "0" * 40}, "unknown_parameter"),
    ([], "malformed_json"),
]
on_disk = pytest.mark.parametrize("artifacts_url", ["disk"], indirect=True)


async def begin(gateway: Gateway, length: int = len(CONTENT), **headers: str) -> dict[str, Any]:
    """What a new upload was answered."""
    answer = await gateway.http.post(
        "/api/uploads/signed", json={"length": length, "filename": "talk.mp4"}, headers=headers
    )
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def put(part: dict[str, Any], content: Any) -> httpx.Response:
    """A part at its address, as any client of HTTP does it."""
    async with httpx.AsyncClient(timeout=20) as http:
        return await http.request(part["method"], part["url"], content=content, headers=part["headers"])


async def put_all(begun: dict[str, Any], content: bytes = CONTENT) -> None:
    start = 0
    for part in begun["parts"]:
        answer = await put(part, content[start : start + part["bytes"]])
        assert answer.status_code == 200, answer.text
        start += part["bytes"]


async def look(gateway: Gateway, begun: dict[str, Any]) -> dict[str, Any]:
    answer = await gateway.http.get(f"/api/uploads/{begun['upload_id']}/signed", headers=bearer(begun))
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def complete(gateway: Gateway, begun: dict[str, Any], **said: str) -> httpx.Response:
    return await gateway.http.post(begun["complete"], json=said, headers=bearer(begun))


async def submitted(gateway: Gateway, begun: dict[str, Any]) -> httpx.Response:
    return await gateway.http.post("/api/jobs/submit", json={"upload_id": begun["upload_id"]}, headers=bearer(begun))


def bearer(begun: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {begun['upload_token']}"}


async def kept(client: Client, begun: dict[str, Any]) -> Upload:
    bucket = await client.jetstream().key_value(topology.UPLOADS)
    entry = await bucket.get(bucket_key(begun["upload_id"]))
    assert entry.value is not None
    return msgspec.json.decode(entry.value, type=Upload)


async def staged(store: Store, upload: Upload) -> list[str]:
    return sorted([found.key async for found in store.list(f"{staging_folder(upload.key)}/")])


async def test_what_is_put_at_the_addresses_and_completed_becomes_a_job(
    gateway: Gateway, joblog: JobLog, store: Store, client: Client
) -> None:
    begun = await begin(gateway)
    assert [(part["number"], part["method"], part["bytes"]) for part in begun["parts"]] == [
        (1, "PUT", SIZES[0]), (2, "PUT", SIZES[1]), (3, "PUT", SIZES[2]),
    ]  # fmt: skip
    assert (begun["length"], begun["part_bytes"], begun["completed"]) == (len(CONTENT), PART, False)
    assert (await submitted(gateway, begun)).json()["code"] == "upload_unfinished"
    await put_all(begun)
    assert (await submitted(gateway, begun)).json()["code"] == "upload_unfinished"
    answer = await complete(gateway, begun, sha256=SHA256)
    assert (answer.status_code, answer.json()) == (200, {"upload_id": begun["upload_id"], "length": len(CONTENT)})
    assert await staged(store, await kept(client, begun)) == []
    job = await submitted(gateway, begun)
    assert job.status_code == 202, job.text
    fact = await accepted(joblog, job.json()["job_id"])
    assert fact.filename == "talk.mp4"
    assert (fact.source.digest, fact.source.bytes) == (digest(CONTENT), len(CONTENT))
    assert await content_of(store, fact.source) == CONTENT


async def test_new_addresses_tell_what_is_there_and_another_gateway_goes_on(
    environ: dict[str, str], joblog: JobLog, store: Store
) -> None:
    async with running_gateway(environ) as first:
        begun = await begin(first)
        assert (await put(begun["parts"][1], CONTENT[PART : 2 * PART])).status_code == 200
    async with running_gateway(environ) as second:
        again = await look(second, begun)
        assert [part["bytes_there"] for part in again["parts"]] == [0, PART, 0]
        assert again["expires_at"] > begun["expires_at"]
        assert "upload_token" not in again
        assert (await put(again["parts"][0], CONTENT[:PART])).status_code == 200
        assert (await put(again["parts"][2], CONTENT[2 * PART :])).status_code == 200
        assert (await complete(second, begun)).status_code == 200
        whole = await look(second, begun)
        assert (whole["completed"], whole["parts"]) == (True, [])
        fact = await accepted(joblog, (await submitted(second, begun)).json()["job_id"])
    assert await content_of(store, fact.source) == CONTENT


@pytest.mark.parametrize("content", [b"", CONTENT[: PART - 1], CONTENT[: PART + 1]], ids=["none", "short", "long"])
async def test_a_part_that_is_not_there_as_announced_is_named_and_can_be_put_again(
    gateway: Gateway, client: Client, store: Store, content: bytes
) -> None:
    begun = await begin(gateway)
    await put_all(begun)
    upload = await kept(client, begun)
    await store.delete(staged_key(upload.key, 2))
    if content:
        await store.put_part(staged_key(upload.key, 2), content)
    answer = await complete(gateway, begun, sha256=SHA256)
    code = "part_wrong" if content else "part_missing"
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (409, code, "parts[2]")
    assert f"Part 2 has {PART:,} bytes, and {len(content):,} are there" in answer.json()["detail"]
    assert (await kept(client, begun)).offset == 0
    assert (await put(begun["parts"][1], CONTENT[PART : 2 * PART])).status_code == 200
    assert (await complete(gateway, begun, sha256=SHA256)).status_code == 200


async def test_the_sha256_decides_and_the_parts_stay_to_be_put_right(
    gateway: Gateway, client: Client, store: Store, joblog: JobLog
) -> None:
    begun = await begin(gateway)
    await put_all(begun, CONTENT[: 2 * PART] + b"x" * SIZES[2])
    refused = await complete(gateway, begun, sha256=SHA256)
    assert (refused.status_code, refused.json()["code"]) == (460, "checksum_mismatch")
    upload = await kept(client, begun)
    assert (upload.offset, upload.lease, len(await staged(store, upload))) == (0, None, 3)
    assert [found.key async for found in store.list(f"{upload.key}/")] == []
    assert (await submitted(gateway, begun)).json()["code"] == "upload_unfinished"
    assert (await put(begun["parts"][2], CONTENT[2 * PART :])).status_code == 200
    assert (await complete(gateway, begun, sha256=SHA256.upper())).status_code == 200
    fact = await accepted(joblog, (await submitted(gateway, begun)).json()["job_id"])
    assert await content_of(store, fact.source) == CONTENT


async def test_a_completion_sent_again_answers_the_same_and_no_other_sha256(gateway: Gateway) -> None:
    for first in ({}, {"sha256": SHA256}):
        begun = await begin(gateway)
        await put_all(begun)
        answers = [await complete(gateway, begun, **said) for said in (first, {}, {"sha256": SHA256})]
        assert {(answer.status_code, answer.text) for answer in answers} == {(200, answers[0].text)}
        other = await complete(gateway, begun, sha256="0" * 64)
        assert (other.status_code, other.json()["code"]) == (460, "checksum_mismatch")
        assert (await submitted(gateway, begun)).status_code == 202
        assert (await complete(gateway, begun)).text == answers[0].text


async def test_what_is_put_after_the_completion_changes_nothing(
    gateway: Gateway, client: Client, store: Store, joblog: JobLog, artifacts_url: str
) -> None:
    begun = await begin(gateway)
    await put_all(begun)
    assert (await complete(gateway, begun)).status_code == 200
    late = await put(begun["parts"][0], OTHER_PART)  # a bucket takes it: it knows of no upload
    if artifacts_url.startswith("file://"):
        assert (late.status_code, late.json()["code"]) == (409, "upload_completed")
    assert (await complete(gateway, begun, sha256=SHA256)).status_code == 200
    assert await staged(store, await kept(client, begun)) == []
    await put(begun["parts"][0], OTHER_PART)
    fact = await accepted(joblog, (await submitted(gateway, begun)).json()["job_id"])
    assert await content_of(store, fact.source) == CONTENT
    assert fact.source.digest == digest(CONTENT)


async def test_of_two_completions_at_once_one_is_heard(environ: dict[str, str], store: Store, joblog: JobLog) -> None:
    async with running_gateway(environ) as first, running_gateway(environ) as second:
        begun = await begin(first)
        await put_all(begun)
        answers = await asyncio.gather(*(complete(gateway, begun) for gateway in (first, second, first, second)))
        assert {answer.status_code for answer in answers} <= {200, 423}
        assert 200 in {answer.status_code for answer in answers}
        assert {answer.json()["code"] for answer in answers if answer.status_code == 423} <= {"upload_locked"}
        fact = await accepted(joblog, (await submitted(second, begun)).json()["job_id"])
    assert await content_of(store, fact.source) == CONTENT


class TestASha256ThatIsAskedForLate:
    """Of an upload that was completed without one."""

    @pytest.fixture
    async def begun(self, gateway: Gateway) -> dict[str, Any]:
        begun = await begin(gateway)
        await put_all(begun)
        assert (await complete(gateway, begun)).status_code == 200
        return begun

    async def test_it_is_made_once_however_many_ask_for_it(
        self, client: Client, artifacts_url: str, begun: dict[str, Any]
    ) -> None:
        assert (await kept(client, begun)).sha256 == ""
        uploads, counting = await registry(client, Counting(artifacts_url)), Counting(artifacts_url)
        receivings = [Receiving(uploads, counting, Pace(lease_s=30)) for _ in range(2)]  # of two gateways
        stagings = [Staging(uploads, receiving, counting) for receiving in receivings]
        found = await uploads.named(begun["upload_id"])
        asked = (staging.complete(found, sha256) for staging in stagings * 5 for sha256 in (SHA256, "0" * 64))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        codes = [answer.document.code if isinstance(answer, Problem) else answer for answer in answers]
        assert set(codes) <= {None, "upload_locked", "checksum_mismatch"}
        assert {code for code in codes if code != "upload_locked"}
        for sha256, is_wrong in ((SHA256, False), ("0" * 64, True)):
            for _ in range(3):
                now = await uploads.named(begun["upload_id"])
                with pytest.raises(Problem, match="SHA-256") if is_wrong else nullcontext():
                    await stagings[0].complete(now, sha256)
        assert counting.reads == 1
        upload = await kept(client, begun)
        assert (upload.sha256, upload.lease) == (SHA256, None)

    async def test_a_wrong_one_changes_nothing(
        self, gateway: Gateway, begun: dict[str, Any], joblog: JobLog, store: Store
    ) -> None:
        for _ in range(2):
            wrong = await complete(gateway, begun, sha256="0" * 64)
            assert (wrong.status_code, wrong.json()["code"]) == (460, "checksum_mismatch")
        assert (await complete(gateway, begun, sha256=SHA256)).status_code == 200
        assert (await complete(gateway, begun)).status_code == 200
        fact = await accepted(joblog, (await submitted(gateway, begun)).json()["job_id"])
        assert await content_of(store, fact.source) == CONTENT

    async def test_a_job_may_be_made_meanwhile_and_others_are_told_that_it_is_locked_for_as_long_as_it_takes(
        self, gateway: Gateway, client: Client, artifacts_url: str, begun: dict[str, Any]
    ) -> None:
        slow = Slow(artifacts_url)
        uploads = await registry(client, slow)
        staging = Staging(uploads, Receiving(uploads, slow, Pace(lease_s=3)), slow)
        making = asyncio.create_task(staging.complete(await uploads.named(begun["upload_id"]), SHA256))
        await slow.is_read.wait()
        assert (await submitted(gateway, begun)).status_code == 202
        locked = await complete(gateway, begun, sha256=SHA256)
        assert (locked.status_code, locked.json()["code"]) == (423, "upload_locked")
        assert int(locked.headers["retry-after"]) >= 1
        assert (await complete(gateway, begun)).status_code == 200  # who asks for none need not wait
        first = await kept(client, begun)
        await until(lambda: lease_left_s(first) < 1.5)
        slow.goes_on.release()
        await until(lambda: slow.blocks == 2)
        second = await kept(client, begun)
        assert first.lease is not None
        assert second.lease is not None
        assert first.lease.writer == second.lease.writer
        assert first.lease.until < second.lease.until
        for _ in range(2):
            slow.goes_on.release()
        await making
        upload = await kept(client, begun)
        assert (upload.sha256, upload.lease, upload.used_by is None) == (SHA256, None, False)

    async def test_one_that_broke_off_is_gone_on_for(
        self, gateway: Gateway, client: Client, artifacts_url: str, begun: dict[str, Any]
    ) -> None:
        slow = Slow(artifacts_url)
        uploads = await registry(client, slow)
        staging = Staging(uploads, Receiving(uploads, slow, Pace(lease_s=0.4)), slow)
        killed = asyncio.create_task(staging.complete(await uploads.named(begun["upload_id"]), SHA256))
        await slow.is_read.wait()
        killed.cancel()

        async def completed() -> bool:
            return (await complete(gateway, begun, sha256=SHA256)).status_code == 200

        await until(completed)
        upload = await kept(client, begun)
        assert (upload.sha256, upload.lease) == (SHA256, None)


class Counting(Store):
    """A store that knows how often a file was read."""

    reads = 0

    async def read(self, ref: ArtifactRef, *, start: int = 0) -> AsyncIterator[bytes]:
        self.reads += 1
        async for block in super().read(ref, start=start):
            yield block


class Slow(Store):
    """A store that gives out the next block when it is told."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.is_read = asyncio.Event()
        self.goes_on = asyncio.Semaphore(0)
        self.blocks = 0

    async def read(self, ref: ArtifactRef, *, start: int = 0) -> AsyncIterator[bytes]:
        content = b"".join([block async for block in super().read(ref, start=start)])
        for begin in range(0, len(content), PART):
            self.is_read.set()
            self.blocks += 1
            await self.goes_on.acquire()
            yield content[begin : begin + PART]


class Dying(Store):
    """A store whose process dies once the second piece of what was staged is stored, before anybody has said so."""

    async def put_part(self, key: str, content: bytes | bytearray) -> None:
        await super().put_part(key, content)
        if key.endswith("/00001"):
            await asyncio.Event().wait()


@pytest.mark.parametrize("said", [{}, {"sha256": SHA256}], ids=["plain", "sha256"])
@pytest.mark.parametrize("replaced", [False, True], ids=["the same", "replaced"])
async def test_a_gateway_killed_in_mid_completion_is_gone_on_for(
    gateway: Gateway, client: Client, store: Store, artifacts_url: str, said: dict[str, str], replaced: bool
) -> None:
    begun = await begin(gateway)
    await put_all(begun, OTHER_PART + CONTENT[PART:] if replaced else CONTENT)
    uploads = await registry(client, store)
    dying = Dying(artifacts_url)
    receiving = Receiving(uploads, dying, Pace(part_bytes=PART // 2, lease_s=0.2))
    found = await uploads.opened(begun["upload_id"], begun["upload_token"])
    killed = asyncio.create_task(Staging(uploads, receiving, dying).complete(found, said.get("sha256", "")))
    await until(lambda: store.find(f"{found.upload.key}/00001"))
    if replaced:
        assert (await put(begun["parts"][0], CONTENT[:PART])).status_code == 200

    async def completed() -> bool:
        answer = await complete(gateway, begun, **said)
        assert answer.status_code in (200, 423), answer.text
        return answer.status_code == 200

    await until(completed)
    killed.cancel()
    upload = await kept(client, begun)
    assert await content_of(store, upload.source) == CONTENT
    assert upload.digest == digest(CONTENT)
    assert (upload.parts[0] > 0) == (not replaced and not said)  # what was counted is not read again


class Overtaken(Store):
    """A store that is so slow to tell what is there that somebody else completes the upload meanwhile."""

    faster: Staging
    kept: Kept

    async def list(self, prefix: str) -> AsyncIterator[Stored]:
        found = [one async for one in super().list(prefix)]
        await self.faster.complete(self.kept, "")
        for one in found:
            yield one


@on_disk
@pytest.mark.parametrize("sha256", ["", SHA256])
async def test_a_completion_that_is_overtaken_undoes_nothing(
    gateway: Gateway, client: Client, store: Store, artifacts_url: str, sha256: str
) -> None:
    begun = await begin(gateway)
    await put_all(begun)
    uploads = await registry(client, store)
    slow = Overtaken(artifacts_url)
    slow.kept = await uploads.named(begun["upload_id"])
    slow.faster = Staging(uploads, Receiving(uploads, store, Pace()), store)
    await Staging(uploads, Receiving(uploads, slow, Pace()), slow).complete(slow.kept, sha256)
    upload = await kept(client, begun)
    assert (upload.digest, upload.lease) == (digest(CONTENT), None)
    assert await content_of(store, upload.source) == CONTENT


async def test_a_client_that_has_gone_stops_no_completion(gateway: Gateway, client: Client, store: Store) -> None:
    begun = await begin(gateway)
    await put_all(begun)
    host, port = gateway.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {begun['complete']} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
    writer.write(f"{head}Authorization: {bearer(begun)['Authorization']}\r\n\r\n".encode())
    await writer.drain()

    async def heard() -> bool:
        return bool((await kept(client, begun)).staged)

    async def completed() -> bool:
        return bool((await look(gateway, begun))["completed"])

    await until(heard)
    writer.close()

    await until(completed)
    assert await content_of(store, (await kept(client, begun)).source) == CONTENT


class Changing(Store):
    """A store whose second part is put anew, and other, just before it is read."""

    async def stream(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        if key.endswith(".signed/00002"):
            await self.put_part(key, CONTENT[: PART + self.more])
        async for block in super().stream(key, start=start, end=end):
            yield block

    more = 0


@on_disk
@pytest.mark.parametrize("more", [-1, 1])
async def test_a_part_that_changes_while_it_is_read_is_never_more_than_was_announced(
    gateway: Gateway, client: Client, store: Store, artifacts_url: str, more: int
) -> None:
    begun = await begin(gateway)
    await put_all(begun)
    changing = Changing(artifacts_url)
    changing.more = more
    uploads = await registry(client, store)
    receiving = Receiving(uploads, store, Pace(part_bytes=PART // 2, lease_s=0.2))
    with pytest.raises(Problem) as refused:
        await Staging(uploads, receiving, changing).complete(await uploads.named(begun["upload_id"]), "")
    assert refused.value.document.code == "part_wrong"
    assert (await put(begun["parts"][1], CONTENT[PART : 2 * PART])).status_code == 200
    assert (await complete(gateway, begun)).status_code == 200
    assert await content_of(store, (await kept(client, begun)).source) == CONTENT


async def test_an_ended_upload_is_gone_and_so_are_its_parts(gateway: Gateway, client: Client, store: Store) -> None:
    begun = await begin(gateway)
    await put_all(begun)
    upload = await kept(client, begun)
    at, headers = f"/api/uploads/{begun['upload_id']}", TUS | bearer(begun)
    told = await gateway.http.head(at, headers=headers)
    assert (told.status_code, told.headers["upload-offset"]) == (200, "0")
    assert (await gateway.http.delete(at, headers=headers)).status_code == 204
    assert await staged(store, upload) == []
    assert (await complete(gateway, begun)).json()["code"] == "upload_not_found"


class TestAtTheGateway:
    """The addresses that the gateway serves itself, of a store on a disk."""

    @pytest.fixture
    def artifacts_url(self, tmp_path: Any) -> str:
        return str((tmp_path / "artifacts").as_uri())

    @pytest.mark.parametrize("announced", [True, False], ids=["announced", "of unknown length"])
    async def test_a_part_has_its_size_and_not_a_byte_more_or_less(
        self, gateway: Gateway, client: Client, store: Store, announced: bool
    ) -> None:
        begun = await begin(gateway)
        for part, size in zip(begun["parts"], SIZES, strict=True):
            for wrong, status, code in ((size + 1, 413, "part_too_long"), (size - 1, 400, "part_too_short")):
                answer = await put(part, body(b"x" * wrong, announced))
                assert (answer.status_code, answer.json()["code"]) == (status, code)
                assert f"{size:,} bytes" in answer.json()["detail"]
                assert f"{wrong:,}" in answer.json()["detail"]
        assert await staged(store, await kept(client, begun)) == []
        for part, size in zip(begun["parts"], SIZES, strict=True):
            answer = await put(part, body(b"x" * size, announced))
            assert (answer.status_code, answer.content) == (200, b"")
        assert [part["bytes_there"] for part in (await look(gateway, begun))["parts"]] == SIZES

    async def test_a_part_that_breaks_off_leaves_what_was_there(
        self, gateway: Gateway, client: Client, store: Store
    ) -> None:
        begun = await begin(gateway)
        await put_all(begun)

        async def broken() -> AsyncIterator[bytes]:
            yield b"x" * (PART // 2)
            raise ConnectionError

        with pytest.raises(ConnectionError):
            await put(begun["parts"][0], broken())
        upload = await kept(client, begun)
        assert await store.get(staged_key(upload.key, 1)) == CONTENT[:PART]
        assert (await complete(gateway, begun, sha256=SHA256)).status_code == 200

    async def test_an_address_is_good_for_that_part_of_that_upload_until_its_time_is_over(
        self, gateway: Gateway, client: Client, store: Store
    ) -> None:
        begun, other = await begin(gateway), await begin(gateway)
        part = begun["parts"][0]
        base, query = part["url"].split("?")
        given = {name: value[0] for name, value in parse_qs(query).items()}
        signature, expires = given["signature"], given["expires"]
        found = Kept(begun["upload_id"], await kept(client, begun), 0)
        over = await signing.addresses(store, found, hold_s=0, base_url=gateway.url, secret=SECRET.encode())
        foreign = await signing.addresses(store, found, hold_s=60, base_url=gateway.url, secret=b"another secret")
        wrong = [
            base,
            f"{base}?expires={expires}",
            f"{base}?signature={signature}",
            f"{base}?expires={expires}&signature=",
            f"{base}?expires={expires}&signature={signature[:-1]}",
            f"{base}?expires={expires}&signature={signature.swapcase()}",
            f"{base}?expires={expires}&signature={'0' * 64}",
            f"{base}?expires={expires}&signature=%C3%A9%ED%A0%80",
            f"{base}?expires={int(expires) + 1}&signature={signature}",
            f"{base}?expires=0{expires}&signature={signature}",
            f"{base}?expires={'9' * 5000}&signature={signature}",
            f"{base}?expires=soon&signature={signature}",
            f"{base[:-1]}2?{query}",
            f"{base[:-1]}{'9' * 30}?{query}",
            f"{base.replace(begun['upload_id'], other['upload_id'])}?{query}",
            f"{base.replace(begun['upload_id'], 'f' * 48)}?{query}",
            f"{base.replace(begun['upload_id'], 'nothing')}?{query}",
            over.urls[0],
            foreign.urls[0],
        ]
        answers = [await put(part | {"url": url}, CONTENT[:PART]) for url in wrong]
        assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(404, "address_not_found")}
        assert len({answer.content for answer in answers}) == 1
        assert await staged(store, found.upload) == []
        assert (await put(part | {"method": "POST"}, CONTENT[:PART])).status_code == 405
        assert (await put(part, CONTENT[:PART])).status_code == 200
        assert (await put(part, OTHER_PART)).status_code == 200
        assert await store.get(staged_key(found.upload.key, 1)) == OTHER_PART

    async def test_an_address_of_an_upload_that_is_gone_leads_nowhere(
        self, gateway: Gateway, client: Client, store: Store
    ) -> None:
        begun = await begin(gateway)
        upload = await kept(client, begun)
        headers = TUS | bearer(begun)
        assert (await gateway.http.delete(f"/api/uploads/{begun['upload_id']}", headers=headers)).status_code == 204
        answer = await put(begun["parts"][0], CONTENT[:PART])
        assert (answer.status_code, answer.json()["code"]) == (404, "upload_not_found")
        assert await staged(store, upload) == []

    async def test_an_upload_is_as_long_as_the_server_allows_and_not_a_byte_longer(
        self, environ: dict[str, str]
    ) -> None:
        async with running_gateway(environ | {"SUBTIDE_GATEWAY_MAX_UPLOAD_BYTES": str(PART)}) as gateway:
            assert [part["bytes"] for part in (await begin(gateway, PART))["parts"]] == [PART]
            over = await gateway.http.post("/api/uploads/signed", json={"length": PART + 1})
        assert (over.status_code, over.json()["code"], over.json()["field"]) == (413, "file_too_large", "length")
        assert f"{PART + 1:,} bytes" in over.json()["detail"]
        assert f"at most {PART:,}" in over.json()["detail"]

    @pytest.mark.parametrize(
        ("length", "sizes"), [(1, [1]), (PART - 1, [PART - 1]), (PART, [PART]), (PART + 1, [PART, 1])]
    )
    async def test_a_file_is_cut_into_parts_of_one_size_and_what_is_left(
        self, gateway: Gateway, length: int, sizes: list[int]
    ) -> None:
        begun = await begin(gateway, length)
        assert [part["bytes"] for part in begun["parts"]] == sizes
        await put_all(begun, CONTENT[:length])
        assert (await complete(gateway, begun, sha256=hashlib.sha256(CONTENT[:length]).hexdigest())).status_code == 200

    async def test_a_wrong_creation_is_refused_by_name(self, gateway: Gateway) -> None:
        headers = {"Content-Type": "application/json"}
        for sent, status, code, field in _CREATIONS:
            content = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
            answer = await gateway.http.post("/api/uploads/signed", content=content, headers=headers)
            told = answer.json()
            assert (answer.status_code, told.get("code"), told.get("field")) == (status, code, field), (sent, told)
            if code == "file_too_large":
                assert f"The file has {int(sent['length']):,} bytes" in told["detail"]
                assert f"at most {2 << 30:,}" in told["detail"]
        answer = await gateway.http.post("/api/uploads/signed", content=b'{"length":10}')
        assert (answer.status_code, answer.json()["code"]) == (415, "not_json")

    async def test_a_wrong_completion_is_refused(self, gateway: Gateway) -> None:
        begun = await begin(gateway)
        for sent, code in _COMPLETIONS:
            answer = await gateway.http.post(begun["complete"], json=sent, headers=bearer(begun))
            assert (answer.status_code, answer.json()["code"]) == (400, code), sent
        answer = await gateway.http.post(begun["complete"], content=b"{}", headers=bearer(begun))
        assert (answer.status_code, answer.json()["code"]) == (415, "not_json")

    async def test_a_completion_need_not_say_anything(self, gateway: Gateway) -> None:
        begun = await begin(gateway)
        await put_all(begun)
        assert (await gateway.http.post(begun["complete"], headers=bearer(begun))).status_code == 200

    async def test_tries_of_one_creation_make_one_upload(self, gateway: Gateway) -> None:
        key = {"Idempotency-Key": "k"}
        first, again = await begin(gateway, **key), await begin(gateway, **key)
        assert (first["upload_id"], first["upload_token"]) == (again["upload_id"], again["upload_token"])
        assert (await begin(gateway))["upload_id"] != first["upload_id"]
        other_length = await gateway.http.post(
            "/api/uploads/signed", json={"length": 10, "filename": "talk.mp4"}, headers=key
        )
        other_name = await gateway.http.post("/api/uploads/signed", json={"length": len(CONTENT)}, headers=key)
        by_tus = await gateway.http.post(
            "/api/uploads",
            headers=key | TUS | {"Upload-Length": str(len(CONTENT)), "Upload-Metadata": metadata(filename="talk.mp4")},
        )
        for refused in (other_length, other_name, by_tus):
            assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
        malformed = await gateway.http.post(
            "/api/uploads/signed", json={"length": 10}, headers={"Idempotency-Key": "a b"}
        )
        assert (malformed.status_code, malformed.json()["code"]) == (400, "invalid_idempotency_key")

    async def test_one_way_of_sending_is_not_the_other(self, gateway: Gateway) -> None:
        begun = await begin(gateway)
        sent = await gateway.http.patch(
            f"/api/uploads/{begun['upload_id']}",
            content=b"x",
            headers=TUS | bearer(begun) | {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"},
        )
        assert (sent.status_code, sent.json()["code"]) == (409, "upload_signed")
        by_tus = (await gateway.http.post("/api/uploads", headers=TUS | {"Upload-Length": "5"})).json()
        by_tus |= {"complete": f"/api/uploads/{by_tus['upload_id']}/complete"}
        looked = await gateway.http.get(f"/api/uploads/{by_tus['upload_id']}/signed", headers=bearer(by_tus))
        for answer in (looked, await complete(gateway, by_tus)):
            assert (answer.status_code, answer.json()["code"]) == (409, "upload_not_signed")

    async def test_every_other_token_is_answered_as_an_upload_that_is_not_there(self, gateway: Gateway) -> None:
        begun, other = await begin(gateway), await begin(gateway)
        answers = []
        for upload_id in (begun["upload_id"], "f" * 48, "nothing"):
            for headers in ({}, bearer(other)):
                at = f"/api/uploads/{upload_id}"
                answers.append(await gateway.http.get(f"{at}/signed", headers=headers))
                answers.append(await gateway.http.post(f"{at}/complete", json={}, headers=headers))
        assert {(answer.status_code, answer.text) for answer in answers} == {(404, answers[0].text)}
        assert answers[0].json()["code"] == "upload_not_found"

    async def test_the_addresses_are_those_under_which_users_reach_the_gateway(self, environ: dict[str, str]) -> None:
        async with running_gateway(environ | {"SUBTIDE_GATEWAY_PUBLIC_URL": "https://subs.example.org/"}) as gateway:
            url = urlsplit((await begin(gateway))["parts"][0]["url"])
        assert (url.scheme, url.netloc) == ("https", "subs.example.org")
        assert url.path.startswith("/api/uploads/")


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("upload_signed_part_bytes", (215_000, 4 << 30), (0, (4 << 30) + 1)),
        ("upload_signed_part_bytes", (math.ceil((2 << 30) / PARTS_MAX),), ((2 << 30) // PARTS_MAX,)),
        ("upload_signed_s", (1, 604_800), (0, 604_801)),
    ],
)
def test_a_setting_beyond_what_stores_take_is_refused_by_name(
    name: str, good: tuple[int, ...], bad: tuple[int, ...]
) -> None:
    variable = f"SUBTIDE_GATEWAY_{name.upper()}"
    for value in good:
        assert getattr(load(Settings, "SUBTIDE_GATEWAY_", {variable: str(value)}), name) == value
    for value in bad:
        with pytest.raises(SettingsError, match=variable):
            load(Settings, "SUBTIDE_GATEWAY_", {variable: str(value)})


async def test_every_kind_of_bucket_signs_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account",
        "client_email": "a@example.iam.gserviceaccount.com",
        "private_key_id": "k",
        "private_key": pem.decode(),
    }
    for variable, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AZURE_STORAGE_ACCOUNT_NAME": "account",
        "AZURE_STORAGE_ACCOUNT_KEY": base64.b64encode(b"k" * 32).decode(),
        "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(account),
    }.items():
        monkeypatch.setenv(variable, value)
    for url, headers in (
        ("s3://recordings/in", {}),
        ("gs://recordings/in", {}),
        ("az://recordings/in", {"x-ms-blob-type": "BlockBlob"}),
    ):
        store = Store(url)
        assert (store.signs, store.put_headers) == (True, headers)
        one, two = await store.put_addresses(["uploads/a/00001", "uploads/a/00002"], timedelta(hours=1))
        assert urlsplit(one).path.endswith("/in/uploads/a/00001")
        assert urlsplit(two).path.endswith("/in/uploads/a/00002")
        assert re.search(r"[Ss]ig(nature)?=\S{20,}", one)
    assert not Store("memory:///").signs


def body(content: bytes, announced: bool) -> Any:
    """A body that says how long it is, or does not."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 300_000):
            yield content[start : start + 300_000]

    return content if announced else pieces()
