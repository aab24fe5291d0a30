"""Resumable uploads: the protocol, answer by answer, and what becomes of an upload whatever dies."""

import asyncio
import base64
import hashlib
from typing import Any

import httpx
import pytest
from nats.aio.client import Client

from chassis import buckets
from chassis.joblog import JobLog
from chassis.store import Store
from contracts import facts, topology
from contracts.artifacts import ContentDigest
from contracts.parameters import Parameters
from contracts.uploads import EVERY
from services.gateway import access
from services.gateway.uploads import Uploads
from tests.integration.conftest import Gateway, running_gateway

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = TUS | {"Content-Type": "application/offset+octet-stream"}
PART = 1 << 20
CONTENT = bytes(range(256)) * 12_288  # three parts


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    """Parts of a megabyte, a lease that tests can wait for, and a secret that two gateways share."""
    return environ | {
        "SUBTIDE_GATEWAY_UPLOAD_PART_BYTES": str(PART),
        "SUBTIDE_GATEWAY_UPLOAD_LEASE_S": "0.5",
        "SUBTIDE_GATEWAY_SECRET": "a secret of the tests",
    }


def digest(content: bytes) -> str:
    made = ContentDigest()
    made.update(content)
    return made.hexdigest()


def metadata(**pairs: str) -> str:
    return ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in pairs.items())


async def begin(gateway: Gateway, length: int = len(CONTENT), **headers: str) -> str:
    """A new upload; returns its address, token included."""
    said = TUS | {"Upload-Length": str(length), "Upload-Metadata": metadata(filename="talk.mp4")} | headers
    answer = await gateway.http.post("/api/uploads", headers=said)
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


async def send(gateway: Gateway, at: str, content: Any, offset: int = 0, **headers: str) -> httpx.Response:
    return await gateway.http.patch(at, content=content, headers=BYTES | {"Upload-Offset": str(offset)} | headers)


async def offset_of(gateway: Gateway, at: str) -> int:
    answer = await gateway.http.head(at, headers=TUS)
    assert answer.status_code == 200
    return int(answer.headers["upload-offset"])


def named(at: str, **more: Any) -> dict[str, Any]:
    upload_id, token = at.removeprefix("/api/uploads/").split("?token=")
    return {"upload_id": upload_id, "upload_token": token, **more}


async def submit(gateway: Gateway, at: str, **more: Any) -> httpx.Response:
    headers = {"Idempotency-Key": more.pop("key")} if "key" in more else {}
    return await gateway.http.post("/api/jobs/submit", json=named(at, **more), headers=headers)


async def content_of(store: Store, source: Any) -> bytes:
    return b"".join([block async for block in store.read(source)])


async def accepted(joblog: JobLog, job_id: str) -> facts.JobAccepted:
    (recorded,) = await joblog.facts_of(job_id)
    assert isinstance(recorded.fact, facts.JobAccepted)
    return recorded.fact


async def half_open(gateway: Gateway, at: str, content: bytes, length: int = len(CONTENT)) -> asyncio.StreamWriter:
    """A request that has sent some of its bytes, and then nothing, and does not close."""
    host, port = gateway.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = "".join(f"{name}: {value}\r\n" for name, value in (BYTES | {"Upload-Offset": "0"}).items())
    lines = f"PATCH {at} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{head}\r\n"
    writer.write(lines.encode() + content)
    await writer.drain()
    return writer


async def test_an_upload_in_pieces_becomes_a_job_of_the_whole_file(
    gateway: Gateway, joblog: JobLog, store: Store
) -> None:
    at = await begin(gateway)
    for start, end in ((0, 700_000), (700_000, 2_500_001), (2_500_001, len(CONTENT))):
        answer = await send(gateway, at, CONTENT[start:end], start)
        assert (answer.status_code, answer.headers["upload-offset"]) == (204, str(end))
        assert answer.headers["upload-expires"].endswith("GMT")
    answer = await submit(gateway, at, language="en", diarize=False)
    assert answer.status_code == 202, answer.text
    fact = await accepted(joblog, answer.json()["job_id"])
    assert (fact.filename, fact.parameters) == ("talk.mp4", Parameters(language="en", diarize=False))
    assert (fact.source.digest, fact.source.bytes) == (digest(CONTENT), len(CONTENT))
    assert await content_of(store, fact.source) == CONTENT
    assert max(fact.source.parts) <= PART
    assert fact.token_sha256 == access.digest(answer.json()["access_token"])
    async with store.local_parts(fact.source) as paths:
        assert b"".join(path.read_bytes() for path in paths) == CONTENT


async def test_the_same_file_by_any_way_has_the_same_digest(gateway: Gateway, joblog: JobLog) -> None:
    content = CONTENT * 6  # more than two leaves
    by_form = await gateway.submit(content)
    raw = await gateway.http.put("/api/jobs/submit/talk.mp4", content=content)
    at = await begin(gateway, len(content))
    await send(gateway, at, content[:5_000_000])
    await send(gateway, at, content[5_000_000:], 5_000_000)
    by_upload = (await submit(gateway, at)).json()
    digests = {(await accepted(joblog, answer["job_id"])).source.digest for answer in (by_form, raw.json(), by_upload)}
    assert digests == {digest(content)}


async def test_what_is_spoken_is_told(gateway: Gateway) -> None:
    answer = await gateway.http.request("OPTIONS", "/api/uploads")
    assert answer.status_code == 204
    assert answer.headers["tus-version"] == "1.0.0"
    assert answer.headers["tus-extension"] == "creation,creation-with-upload,termination,expiration,checksum"
    assert answer.headers["tus-checksum-algorithm"] == "sha1,sha256"
    assert int(answer.headers["tus-max-size"]) == 2 << 30


async def test_a_creation_answers_in_headers_and_in_json(gateway: Gateway) -> None:
    answer = await gateway.http.post("/api/uploads", headers=BYTES | {"Upload-Length": "10"}, content=b"12345")
    body = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/uploads/{body['upload_id']}?token={body['upload_token']}"
    assert (answer.headers["upload-offset"], body["offset"], body["length"]) == ("5", 5, 10)
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert await offset_of(gateway, answer.headers["location"]) == 5


async def test_looking_tells_how_far_it_is_and_is_never_cached(gateway: Gateway) -> None:
    at = await begin(gateway)
    answer = await gateway.http.head(at, headers=TUS)
    assert answer.headers["upload-offset"] == "0"
    assert answer.headers["upload-length"] == str(len(CONTENT))
    assert answer.headers["upload-metadata"] == metadata(filename="talk.mp4")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["tus-resumable"] == "1.0.0"


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        ({"Tus-Resumable": "0.2.2"}, 412, "tus_version"),
        ({"Tus-Resumable": ""}, 412, "tus_version"),
        ({"Upload-Length": ""}, 400, "invalid_header"),
        ({"Upload-Length": "-1"}, 400, "invalid_header"),
        ({"Upload-Length": "ten"}, 400, "invalid_header"),
        ({"Upload-Length": "9" * 101}, 400, "invalid_header"),
        ({"Upload-Length": str((2 << 30) + 1)}, 413, "file_too_large"),
        ({"Upload-Length": "9" * 25}, 413, "file_too_large"),
        ({"Upload-Length": "9" * 100}, 413, "file_too_large"),
        ({"Upload-Defer-Length": "1"}, 400, "not_supported"),
        ({"Upload-Concat": "partial"}, 400, "not_supported"),
        ({"Upload-Metadata": "filename !!!"}, 400, "invalid_metadata"),
        ({"Upload-Metadata": "filename YQ==,filename YQ=="}, 400, "invalid_metadata"),
        ({"Upload-Metadata": "a " + "A" * 4096}, 400, "metadata_too_long"),
        ({"Upload-Checksum": "md5 AAAA"}, 400, "unknown_checksum"),
        ({"Idempotency-Key": "a b"}, 400, "invalid_idempotency_key"),
    ],
)
async def test_a_wrong_creation_is_refused(gateway: Gateway, said: dict[str, str], status: int, code: str) -> None:
    answer = await gateway.http.post("/api/uploads", headers=TUS | {"Upload-Length": "10"} | said)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["tus-resumable"] == "1.0.0"
    if status == 412:
        assert answer.headers["tus-version"] == "1.0.0"
    if status == 413:
        assert answer.headers["tus-max-size"] == str(2 << 30)
        assert f"{int(said['Upload-Length']):,} bytes" in answer.json()["detail"]
        assert "at most 2,147,483,648" in answer.json()["detail"]


@pytest.mark.parametrize(("digits", "status"), [(100, 201), (101, 400)])
async def test_a_number_has_a_hundred_digits_at_most(gateway: Gateway, digits: int, status: int) -> None:
    answer = await gateway.http.post("/api/uploads", headers=TUS | {"Upload-Length": "5".zfill(digits)})
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["code"] == "invalid_header"
        assert "101 digits, and may have 100" in answer.json()["detail"]


@pytest.mark.parametrize(("characters", "status"), [(255, 201), (256, 400)])
async def test_a_name_in_the_metadata_has_255_characters_at_most(
    gateway: Gateway, characters: int, status: int
) -> None:
    said = TUS | {"Upload-Length": "5", "Upload-Metadata": f"{'a' * characters} YQ=="}
    answer = await gateway.http.post("/api/uploads", headers=said)
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["code"] == "invalid_metadata"
        assert "256 characters, and may have 255" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/api/uploads", "/api/uploads/"])
async def test_the_protocol_is_spoken_with_and_without_a_slash_at_the_end(gateway: Gateway, path: str) -> None:
    answer = await gateway.http.post(path, headers={"Upload-Length": "5"})
    assert (answer.status_code, answer.headers["tus-resumable"]) == (412, "1.0.0")
    at = await begin(gateway, 5)
    slashed = at.replace("?", "/?") if path.endswith("/") else at
    headers = BYTES | {"Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    sent = await gateway.http.post(slashed, content=b"12345", headers=headers)
    assert (sent.status_code, sent.headers["tus-resumable"]) == (204, "1.0.0")


@pytest.mark.parametrize(
    ("said", "content", "status", "code"),
    [
        ({"Tus-Resumable": "2.0.0"}, b"1", 412, "tus_version"),
        ({"Content-Type": "application/octet-stream"}, b"1", 415, "wrong_content_type"),
        ({"Upload-Offset": ""}, b"1", 400, "invalid_header"),
        ({"Upload-Offset": "1"}, b"1", 409, "upload_offset_mismatch"),
        ({}, b"12345678901", 413, "upload_too_long"),
        ({"Upload-Checksum": "sha1"}, b"1", 400, "invalid_checksum"),
        ({"Upload-Checksum": "sha1 %%%"}, b"1", 400, "invalid_checksum"),
        ({"Upload-Checksum": "crc32 AAAA"}, b"1", 400, "unknown_checksum"),
    ],
)
async def test_a_wrong_piece_is_refused_and_changes_nothing(
    gateway: Gateway, said: dict[str, str], content: bytes, status: int, code: str
) -> None:
    at = await begin(gateway, 10)
    answer = await send(gateway, at, content, **said)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert await offset_of(gateway, at) == 0


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "of unknown length"])
async def test_a_body_is_as_long_as_what_is_left_and_not_a_byte_longer(gateway: Gateway, announced: bool) -> None:
    at = await begin(gateway, 10_000)
    await send(gateway, at, b"x" * 4000)

    async def body(length: int) -> Any:
        yield b"x" * length

    answer = await send(gateway, at, b"x" * 6001 if announced else body(6001), 4000)
    assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_long")
    has = "6,001." if announced else "6,001 or more."
    assert answer.json()["detail"].endswith(f"10,000 bytes, of which 6,000 were left, and this request has {has}")
    assert await offset_of(gateway, at) == 4000
    assert (await send(gateway, at, b"x" * 6000 if announced else body(6000), 4000)).status_code == 204


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
async def test_bytes_with_a_checksum_are_kept_only_if_it_is_theirs(
    gateway: Gateway, joblog: JobLog, store: Store, algorithm: str
) -> None:
    at = await begin(gateway)

    def of(content: bytes) -> str:
        return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, content).digest()).decode()}"

    half = len(CONTENT) // 2
    right = await send(gateway, at, CONTENT[:half], **{"Upload-Checksum": of(CONTENT[:half])})
    assert right.status_code == 204
    wrong = await send(gateway, at, b"x" * half, half, **{"Upload-Checksum": of(CONTENT[half:])})
    assert (wrong.status_code, wrong.json()["code"]) == (460, "checksum_mismatch")
    assert await offset_of(gateway, at) == half
    again = await send(gateway, at, CONTENT[half:], half, **{"Upload-Checksum": of(CONTENT[half:])})
    assert again.status_code == 204
    fact = await accepted(joblog, (await submit(gateway, at)).json()["job_id"])
    assert await content_of(store, fact.source) == CONTENT
    assert fact.source.digest == digest(CONTENT)


async def test_a_creation_whose_bytes_are_refused_leaves_nothing(gateway: Gateway, store: Store) -> None:
    answer = await gateway.http.post(
        "/api/uploads",
        headers=BYTES | {"Upload-Length": "5", "Upload-Checksum": "sha1 " + base64.b64encode(b"x" * 20).decode()},
        content=b"12345",
    )
    assert answer.status_code == 460
    assert [file async for file in store.list("uploads/")] == []


class TestCreationsWithBytesThatAreSentAgain:
    """A key stands for one recording, however much of it came with the creation."""

    async def create(self, gateway: Gateway, content: Any, length: int = len(CONTENT)) -> httpx.Response:
        said = BYTES | {"Upload-Length": str(length), "Idempotency-Key": "k"}
        return await gateway.http.post("/api/uploads", content=content, headers=said)

    @pytest.mark.parametrize("again", [1, 70_000, 2 * PART, 2 * PART + 1, len(CONTENT)])
    async def test_the_same_bytes_are_answered_as_before(self, gateway: Gateway, again: int) -> None:
        first = await self.create(gateway, CONTENT[: 2 * PART])
        second = await self.create(gateway, CONTENT[:again])
        assert (first.status_code, second.status_code) == (201, 201)
        assert first.headers["location"] == second.headers["location"]
        assert first.headers["upload-offset"] == second.headers["upload-offset"] == str(2 * PART)
        assert (await send(gateway, first.headers["location"], CONTENT[2 * PART :], 2 * PART)).status_code == 204
        assert (await self.create(gateway, CONTENT[:again])).headers["upload-offset"] == str(len(CONTENT))

    @pytest.mark.parametrize("at", [0, PART - 1, PART, 2 * PART - 1])
    async def test_other_bytes_are_refused(self, gateway: Gateway, joblog: JobLog, store: Store, at: int) -> None:
        first = await self.create(gateway, CONTENT[: 2 * PART])
        other = bytearray(CONTENT)
        other[at] ^= 1
        for content in (bytes(other), bytes(other[: at + 1])):
            refused = await self.create(gateway, content)
            assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
        assert await offset_of(gateway, first.headers["location"]) == 2 * PART
        await send(gateway, first.headers["location"], CONTENT[2 * PART :], 2 * PART)
        job = await submit(gateway, first.headers["location"])
        assert await content_of(store, (await accepted(joblog, job.json()["job_id"])).source) == CONTENT

    async def test_only_what_is_there_is_compared(self, gateway: Gateway) -> None:
        await self.create(gateway, CONTENT[:PART])
        assert (await self.create(gateway, CONTENT[:PART] + b"other bytes")).status_code == 201

    async def test_where_nothing_has_come_the_bytes_are_taken(self, gateway: Gateway) -> None:
        await self.create(gateway, b"")
        assert (await self.create(gateway, CONTENT[:5])).headers["upload-offset"] == "5"

    async def test_where_the_job_is_deleted_nothing_can_be_compared(self, gateway: Gateway, store: Store) -> None:
        first = await self.create(gateway, CONTENT)
        await submit(gateway, first.headers["location"])
        async for part in store.list("uploads/"):
            await store.delete(part.key)
        assert (await self.create(gateway, CONTENT)).headers["upload-offset"] == str(len(CONTENT))


async def test_an_ended_upload_is_gone_and_so_are_its_bytes(gateway: Gateway, store: Store) -> None:
    at = await begin(gateway)
    await send(gateway, at, CONTENT[: 2 * PART])
    assert [file async for file in store.list("uploads/")]
    assert (await gateway.http.delete(at, headers=TUS)).status_code == 204
    assert [file async for file in store.list("uploads/")] == []
    for method in ("HEAD", "PATCH", "DELETE"):
        assert (await gateway.http.request(method, at, headers=BYTES | {"Upload-Offset": "0"})).status_code == 404
    assert (await submit(gateway, at)).status_code == 404


async def test_a_client_without_patch_names_it_in_a_header(gateway: Gateway) -> None:
    at = await begin(gateway, 5)
    sent = await gateway.http.post(
        at, content=b"12345", headers=BYTES | {"Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    )
    assert (sent.status_code, sent.headers["upload-offset"]) == (204, "5")
    ended = await gateway.http.post(at, headers=TUS | {"X-HTTP-Method-Override": "DELETE"})
    assert ended.status_code == 204


class TestAccess:
    """An upload is used by id only with its own token."""

    async def test_every_other_token_is_answered_as_an_upload_that_is_not_there(self, gateway: Gateway) -> None:
        at, other = await begin(gateway, 5), await begin(gateway, 5)
        await send(gateway, at, b"12345")
        job = await gateway.submit()
        path = at.partition("?")[0]
        answers = set()
        for credential in ("", f"?token={job['access_token']}", f"?token={other.partition('=')[2]}", "?token=x"):
            for address in (path, f"/api/uploads/{'0' * 48}", "/api/uploads/nothing"):
                for method in ("PATCH", "DELETE"):
                    answer = await gateway.http.request(
                        method, address + credential, headers=BYTES | {"Upload-Offset": "5"}
                    )
                    answers.add((answer.status_code, answer.text))
                assert (await gateway.http.head(address + credential, headers=TUS)).status_code == 404
                body = {"upload_id": address.rpartition("/")[2], "upload_token": credential.partition("=")[2]}
                answer = await gateway.http.post("/api/jobs/submit", json=body)
                answers.add((answer.status_code, answer.text))
        assert len(answers) == 1
        assert answers.pop()[0] == 404
        assert await offset_of(gateway, at) == 5

    async def test_the_token_opens_in_the_address_in_a_header_and_in_the_body(self, gateway: Gateway) -> None:
        at = await begin(gateway, 5)
        path, _, token = at.partition("?token=")
        bearer = {"Authorization": f"Bearer {token}"}
        sent = await gateway.http.patch(path, content=b"12345", headers=BYTES | bearer | {"Upload-Offset": "0"})
        assert sent.status_code == 204
        by_header = await gateway.http.post(
            "/api/jobs/submit", json={"upload_id": path.rpartition("/")[2]}, headers=bearer
        )
        assert by_header.status_code == 202

    async def test_the_token_is_stored_nowhere(
        self, gateway: Gateway, client: Client, capsys: pytest.CaptureFixture[str]
    ) -> None:
        at = await begin(gateway, 5)
        await send(gateway, at, b"12345")
        token = at.partition("?token=")[2]
        stored = [value async for value in buckets.values(client.jetstream(), topology.UPLOADS, EVERY)]
        assert stored
        for value in stored:
            assert token.encode() not in value
            assert access.digest(token).encode() in value
        logged = capsys.readouterr()
        assert token not in logged.out + logged.err


class TestSubmit:
    """A job is made of a whole upload, once."""

    async def test_an_unfinished_upload_is_no_recording_yet(self, gateway: Gateway) -> None:
        at = await begin(gateway, 10)
        await send(gateway, at, b"123456789")
        early = await submit(gateway, at)
        assert (early.status_code, early.json()["code"]) == (409, "upload_unfinished")
        assert "9 of the 10 bytes" in early.json()["detail"]
        await send(gateway, at, b"0", 9)
        assert (await submit(gateway, at)).status_code == 202

    async def test_an_empty_upload_is_no_recording(self, gateway: Gateway) -> None:
        answer = await submit(gateway, await begin(gateway, 0))
        assert (answer.status_code, answer.json()["code"]) == (400, "empty_file")

    async def test_an_upload_is_used_once(self, gateway: Gateway, joblog: JobLog) -> None:
        at = await begin(gateway, 5)
        await send(gateway, at, b"12345")
        answers = await asyncio.gather(*(submit(gateway, at) for _ in range(5)))
        assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409, 409]
        assert {answer.json().get("code") for answer in answers} == {None, "upload_used"}
        assert len(await joblog.read(1, 10)) == 1
        ended = await gateway.http.delete(at, headers=TUS)
        assert (ended.status_code, ended.json()["code"]) == (409, "upload_used")

    async def test_tries_with_one_key_get_one_answer(self, gateway: Gateway, joblog: JobLog) -> None:
        at = await begin(gateway, 5)
        await send(gateway, at, b"12345")
        first, second = await submit(gateway, at, key="k"), await submit(gateway, at, key="k")
        assert (first.status_code, second.status_code) == (202, 202)
        assert first.json()["access_token"] == second.json()["access_token"]
        assert first.json()["job_id"] == second.json()["job_id"]
        for key, status in (("k", 422), ("other", 409)):
            assert (await submit(gateway, at, key=key, language="en")).status_code == status
        assert len(await joblog.read(1, 10)) == 1

    async def test_a_key_is_good_for_one_recording_however_it_is_sent(self, gateway: Gateway) -> None:
        one, two = await begin(gateway, 5), await begin(gateway, 5)
        for at in (one, two):
            await send(gateway, at, b"12345")
        assert (await submit(gateway, one, key="k")).status_code == 202
        assert (await submit(gateway, two, key="k")).status_code == 422
        by_form = await gateway.http.post(
            "/api/jobs/submit", files={"file": ("a", b"12345")}, headers={"Idempotency-Key": "k"}
        )
        assert (by_form.status_code, by_form.json()["code"]) == (422, "idempotency_key_reused")
        await gateway.http.post("/api/jobs/submit", files={"file": ("a", b"1")}, headers={"Idempotency-Key": "f"})
        assert (await submit(gateway, two, key="f")).status_code == 422
        assert (await submit(gateway, two)).status_code == 202

    async def test_a_full_queue_leaves_the_upload_to_be_submitted_later(self, environ: dict[str, str]) -> None:
        limits = {"SUBTIDE_MAX_ACTIVE_JOBS": "1", "SUBTIDE_MAX_QUEUED_JOBS": "0"}
        async with running_gateway(environ | limits) as gateway:
            job = await gateway.submit()
            at = await begin(gateway, 5)
            await send(gateway, at, b"12345")
            refused = await submit(gateway, at)
            assert (refused.status_code, refused.json()["code"]) == (429, "queue_full")
            await gateway.http.delete(f"/api/jobs/{job['job_id']}", params={"token": job["access_token"]})
            ended = await gateway.http.delete(at, headers=TUS)
        assert ended.status_code == 204

    async def test_a_crash_between_mark_and_fact_neither_loses_the_upload_nor_uses_it_twice(
        self, gateway: Gateway, client: Client, store: Store, joblog: JobLog
    ) -> None:
        at = await begin(gateway, 5)
        await send(gateway, at, b"12345")
        uploads = await registry(client, store)
        kept = await uploads.opened(named(at)["upload_id"], named(at)["upload_token"])
        await uploads.use(kept, "a-job-that-never-came")
        answers = [await submit(gateway, at), await submit(gateway, at)]
        assert [answer.status_code for answer in answers] == [202, 409]
        assert len(await joblog.read(1, 10)) == 1

    @pytest.mark.parametrize(
        ("body", "code", "field"),
        [
            (b"[]", "malformed_json", None),
            (b"{", "malformed_json", None),
            (b'{"a":"\\ud800"}', "malformed_json", None),
            (b"{}", "source_missing", "upload_id"),
            (b'{"upload_id": 5}', "invalid_parameter", "upload_id"),
            (b'{"upload_id": "x", "colour": "red"}', "unknown_parameter", "colour"),
            (b'{"upload_id": "x", "num_speakers": 0}', "invalid_parameter", "num_speakers"),
            (b'{"upload_id": "x", "diarize": "perhaps"}', "invalid_parameter", "diarize"),
            (b'{"upload_id": "x", "language": ["en"]}', "invalid_parameter", "language"),
        ],
    )
    async def test_a_wrong_request_is_refused_by_name(
        self, gateway: Gateway, body: bytes, code: str, field: str | None
    ) -> None:
        answer = await gateway.http.post(
            "/api/jobs/submit", content=body, headers={"Content-Type": "application/json; charset=utf-8"}
        )
        assert (answer.status_code, answer.json()["code"]) == (400, code)
        assert answer.json().get("field") == field

    async def test_a_request_beyond_64_kib_is_too_large(self, gateway: Gateway) -> None:
        json = {"Content-Type": "application/json"}
        exact = await gateway.http.post("/api/jobs/submit", content=b"{}" + b" " * (65536 - 2), headers=json)
        over = await gateway.http.post("/api/jobs/submit", content=b"{}" + b" " * (65536 - 1), headers=json)
        assert exact.json()["code"] == "source_missing"
        assert (over.status_code, over.json()["code"]) == (413, "request_too_large")
        assert "65,536" in over.json()["detail"]


async def registry(client: Client, store: Store, *, max_unfinished: int = 100) -> Uploads:
    """The uploads without a gateway."""
    bucket = await client.jetstream().key_value(topology.UPLOADS)
    return Uploads(client, bucket, store, abandoned_s=60, max_unfinished=max_unfinished)
