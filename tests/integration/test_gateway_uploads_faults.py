"""Uploads when connections break, gateways die, requests race and callers overdo it."""

import asyncio
import base64
import hashlib
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from nats.aio.client import Client

from chassis import buckets
from chassis.joblog import JobLog
from chassis.store import Store
from contracts import topology
from contracts.artifacts import LEAF_BYTES, part_key, part_keys
from contracts.uploads import EVERY, Upload
from services.gateway import idempotency
from services.gateway.entries import Changed
from services.gateway.problems import Problem
from services.gateway.receiving import Checksum, Pace, Receiving
from services.gateway.uploads import Asked, Kept, Uploads
from tests.integration.conftest import running_gateway, until
from tests.integration.test_gateway_uploads import (
    CONTENT,
    PART,
    TUS,
    accepted,
    begin,
    content_of,
    digest,
    environ,
    half_open,
    metadata,
    offset_of,
    registry,
    send,
    submit,
)

__all__ = ["environ"]

PACE = Pace(part_bytes=PART, lease_s=30)


@pytest.fixture
async def uploads(client: Client, store: Store) -> Uploads:
    return await registry(client, store)


async def created(uploads: Uploads, length: int = len(CONTENT)) -> Kept:
    asked = Asked(length=length, filename="talk.mp4", metadata="")
    return await uploads.create(idempotency.new(), asked, owner="anon", counted_as="c" * 32)


async def blocks(*content: bytes) -> AsyncIterator[bytes]:
    for block in content:
        yield block


async def then_broken(content: bytes) -> AsyncIterator[bytes]:
    yield content
    raise Problem(400, "upload_interrupted", "The upload broke off.")


class Dying(Store):
    """A store whose process dies once a part is stored, before anybody has said so."""

    async def put_part(self, key: str, content: bytes | bytearray) -> None:
        await super().put_part(key, content)
        await asyncio.Event().wait()


async def test_a_client_that_breaks_off_goes_on_after_its_last_byte(environ: dict[str, str]) -> None:
    async with running_gateway(environ) as gateway:
        at = await begin(gateway)
        writer = await half_open(gateway, at, CONTENT[: PART + 12_345])
        writer.close()

        async def kept() -> bool:
            return await offset_of(gateway, at) == PART + 12_345

        await until(kept)
        assert (await send(gateway, at, CONTENT[PART + 12_345 :], PART + 12_345)).status_code == 204
        assert (await submit(gateway, at)).status_code == 202


async def test_one_request_at_a_time_and_a_silent_one_is_taken_over(
    environ: dict[str, str], joblog: JobLog, store: Store
) -> None:
    async with running_gateway(environ) as first, running_gateway(environ) as second:
        at = await begin(first)
        writer = await half_open(first, at, CONTENT[: PART + 5])

        async def begun() -> bool:
            return await offset_of(second, at) >= PART

        await until(begun)
        locked = await send(second, at, b"", await offset_of(second, at))
        assert (locked.status_code, locked.json()["code"]) == (423, "upload_locked")
        assert int(locked.headers["retry-after"]) >= 1

        async def taken_over() -> bool:
            offset = await offset_of(second, at)
            return (await send(second, at, CONTENT[offset:], offset)).status_code == 204

        await until(taken_over)
        writer.write(b"x" * PART)  # the old one wakes up, and is told that it is over
        answer = await submit(second, at)
        assert answer.status_code == 202
        fact = await accepted(joblog, answer.json()["job_id"])
        assert await content_of(store, fact.source) == CONTENT
        assert fact.source.digest == digest(CONTENT)
        writer.close()


async def test_of_racing_requests_one_is_heard(environ: dict[str, str], store: Store, joblog: JobLog) -> None:
    async with running_gateway(environ) as first, running_gateway(environ) as second:
        at = await begin(first)
        answers = await asyncio.gather(
            *(send(gateway, at, CONTENT) for gateway in (first, second, first, second, first))
        )
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses[0] == 204
        assert set(statuses[1:]) <= {409, 413, 423}
        answer = await submit(second, at)
        fact = await accepted(joblog, answer.json()["job_id"])
        assert await content_of(store, fact.source) == CONTENT


async def test_a_gateway_killed_between_a_part_and_its_count_costs_that_part_only(
    uploads: Uploads, store: Store, artifacts_url: str
) -> None:
    kept = await created(uploads)
    await Receiving(uploads, store, PACE).receive(kept, 0, blocks(CONTENT[:PART]), announced=None)
    kept = await uploads.again(kept)
    short = Pace(part_bytes=PART, lease_s=0.2)
    dying = asyncio.create_task(
        Receiving(uploads, Dying(artifacts_url), short).receive(
            kept, PART, blocks((b"lost" * PART)[: 2 * PART]), announced=None
        )
    )
    lost = part_key(kept.upload.key, 1)
    await until(lambda: store.find(lost))

    async def goes_on() -> bool:
        try:
            await Receiving(uploads, store, PACE).receive(
                await uploads.again(kept), PART, blocks(CONTENT[PART:]), announced=None
            )
        except Problem:  # its lease has not run out yet
            return False
        return True

    await until(goes_on)
    dying.cancel()
    whole = (await uploads.again(kept)).upload
    assert whole.parts == [PART, 0, 0, PART, PART]  # of both that were left it may have begun to store
    assert lost not in part_keys(whole.source)
    assert await content_of(store, whole.source) == CONTENT
    assert whole.digest == digest(CONTENT)


@pytest.mark.parametrize("cuts", [(1,), (PART, 2 * PART), (LEAF_BYTES - 1, LEAF_BYTES, LEAF_BYTES + 1)])
async def test_the_digest_is_that_of_the_file_wherever_it_was_cut(
    uploads: Uploads, store: Store, cuts: tuple[int, ...]
) -> None:
    content = CONTENT * 4
    kept = await created(uploads, len(content))
    for start, end in itertools.pairwise((0, *cuts, len(content))):
        kept = await uploads.again(kept)
        await Receiving(uploads, store, PACE).receive(kept, start, blocks(content[start:end]), announced=None)
    upload = (await uploads.again(kept)).upload
    assert upload.digest == digest(content)
    assert await content_of(store, upload.source) == content
    assert upload.lease is None


async def test_what_broke_off_with_a_checksum_is_not_kept(uploads: Uploads, store: Store) -> None:
    kept = await created(uploads)
    right = Checksum("sha1", hashlib.sha1(CONTENT).digest())
    with pytest.raises(Problem):
        await Receiving(uploads, store, PACE).receive(
            kept, 0, then_broken(CONTENT[: 2 * PART]), announced=None, checksum=right
        )
    kept = await uploads.again(kept)
    assert (kept.upload.offset, kept.upload.lease) == (0, None)
    assert [file async for file in store.list("uploads/")] == []
    upload = await Receiving(uploads, store, PACE).receive(kept, 0, blocks(CONTENT), announced=None, checksum=right)
    assert upload.digest == digest(CONTENT)


async def test_a_request_that_lost_its_lease_changes_nothing(uploads: Uploads, store: Store) -> None:
    kept = await created(uploads)
    until_now = asyncio.Event()

    async def waiting() -> AsyncIterator[bytes]:
        yield CONTENT[:PART]
        await until_now.wait()
        yield CONTENT[PART : 3 * PART]

    old = asyncio.create_task(Receiving(uploads, store, PACE).receive(kept, 0, waiting(), announced=None))

    async def stored() -> bool:
        return (await uploads.again(kept)).upload.offset == PART

    await until(stored)
    now = await uploads.again(kept)
    assert now.upload.lease is not None
    lapsed = msgspec.structs.replace(now.upload.lease, until=datetime.now(UTC) - timedelta(seconds=1))
    now = await uploads.save(now, msgspec.structs.replace(now.upload, lease=lapsed))
    await Receiving(uploads, store, PACE).receive(now, PART, blocks(CONTENT[PART : PART + 7]), announced=None)
    until_now.set()
    with pytest.raises(Problem) as over:
        await old
    assert over.value.document.code == "upload_taken_over"
    upload = (await uploads.again(kept)).upload
    assert upload.offset == PART + 7
    assert await content_of(store, upload.source) == CONTENT[: PART + 7]


async def test_an_upload_comes_in_a_limited_number_of_pieces(uploads: Uploads, store: Store) -> None:
    receiving = Receiving(uploads, store, Pace(part_bytes=PART, lease_s=30, parts_max=3))
    kept = await created(uploads, 10)
    for offset in range(3):
        await receiving.receive(await uploads.again(kept), offset, blocks(b"x"), announced=1)
    with pytest.raises(Problem) as refused:
        await receiving.receive(await uploads.again(kept), 3, blocks(b"x"), announced=1)
    assert refused.value.document.code == "too_many_parts"
    assert "3 pieces" in refused.value.document.detail
    assert "at most 3" in refused.value.document.detail


async def test_the_store_that_is_full_keeps_what_it_has(uploads: Uploads, store: Store, artifacts_url: str) -> None:
    from chassis.store import StoreFull

    class Full(Store):
        async def put_part(self, key: str, content: bytes | bytearray) -> None:
            if key.endswith("1"):
                raise StoreFull("no room")
            await super().put_part(key, content)

    kept = await created(uploads)
    with pytest.raises(StoreFull):
        await Receiving(uploads, Full(artifacts_url), PACE).receive(kept, 0, blocks(CONTENT), announced=None)
    kept = await uploads.again(kept)
    assert (kept.upload.parts, kept.upload.lease) == ([PART, 0], None)
    upload = await Receiving(uploads, store, PACE).receive(kept, PART, blocks(CONTENT[PART:]), announced=None)
    assert upload.digest == digest(CONTENT)
    assert await content_of(store, upload.source) == CONTENT


async def test_an_upload_that_is_changed_meanwhile_is_not_overwritten(uploads: Uploads) -> None:
    kept = await created(uploads)
    await uploads.save(kept, kept.upload)
    with pytest.raises(Changed):
        await uploads.save(kept, kept.upload)


async def test_a_caller_has_so_many_uploads_and_no_more(environ: dict[str, str]) -> None:
    async with running_gateway(environ | {"SUBTIDE_GATEWAY_MAX_UNFINISHED_UPLOADS": "2"}) as gateway:
        first, _ = await begin(gateway, 1), await begin(gateway, 1)
        over = await gateway.http.post("/api/uploads", headers=TUS | {"Upload-Length": "1"})
        assert (over.status_code, over.json()["code"]) == (429, "too_many_uploads")
        assert "2 uploads" in over.json()["detail"]
        assert "at most 2" in over.json()["detail"]
        assert int(over.headers["retry-after"]) > 0
        await send(gateway, first, b"x")
        await submit(gateway, first)
        await begin(gateway, 1)
        assert (await gateway.http.post("/api/uploads", headers=TUS | {"Upload-Length": "1"})).status_code == 429


async def test_an_upload_is_as_long_as_the_server_allows_and_not_a_byte_longer(environ: dict[str, str]) -> None:
    async with running_gateway(environ | {"SUBTIDE_GATEWAY_MAX_UPLOAD_BYTES": "1000"}) as gateway:
        await begin(gateway, 1000)
        over = await gateway.http.post("/api/uploads", headers=TUS | {"Upload-Length": "1001"})
    assert (over.status_code, over.headers["tus-max-size"]) == (413, "1000")
    assert "1,001 bytes" in over.json()["detail"]
    assert "at most 1,000" in over.json()["detail"]


async def test_metadata_has_4096_bytes_and_no_more(environ: dict[str, str]) -> None:
    async with running_gateway(environ) as gateway:
        exact = "a " + base64.b64encode(b"x" * 3069).decode() + "  "
        assert len(exact) == 4096
        said = TUS | {"Upload-Length": "1"}
        fits = await gateway.http.post("/api/uploads", headers=said | {"Upload-Metadata": exact[:-2].ljust(4094, "=")})
        over = await gateway.http.post("/api/uploads", headers=said | {"Upload-Metadata": exact[:-2] + ",b YQ=="})
    assert fits.status_code == 201
    assert (over.status_code, over.json()["code"]) == (400, "metadata_too_long")
    assert "may have 4,096" in over.json()["detail"]


async def test_tries_of_one_creation_make_one_upload(environ: dict[str, str], client: Client) -> None:
    said = TUS | {"Upload-Length": "10", "Idempotency-Key": "k", "Upload-Metadata": metadata(filename="a.mp4")}
    async with running_gateway(environ) as first, running_gateway(environ) as second:
        answers = await asyncio.gather(
            *(gateway.http.post("/api/uploads", headers=said) for gateway in (first, second, first, second))
        )
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.headers["location"] for answer in answers}) == 1
        await send(first, answers[0].headers["location"], b"12345")
        again = await second.http.post("/api/uploads", headers=said)
        assert again.headers["upload-offset"] == "5"
        for other in ({"Upload-Length": "11"}, {"Upload-Metadata": metadata(filename="b.mp4")}):
            refused = await second.http.post("/api/uploads", headers=said | other)
            assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
    assert len([value async for value in buckets.values(client.jetstream(), topology.UPLOADS, EVERY)]) == 1


async def test_another_gateway_goes_on_where_one_was_stopped(
    environ: dict[str, str], store: Store, joblog: JobLog
) -> None:
    async with running_gateway(environ) as first:
        at = await begin(first)
        await send(first, at, CONTENT[:1_500_000])
    async with running_gateway(environ) as second:
        assert await offset_of(second, at) == 1_500_000
        await send(second, at, CONTENT[1_500_000:], 1_500_000)
        fact = await accepted(joblog, (await submit(second, at)).json()["job_id"])
    assert await content_of(store, fact.source) == CONTENT


class TestExpiry:
    """Uploads that nobody goes on with."""

    @pytest.fixture
    def numbers(self) -> topology.Numbers:
        return topology.Numbers(jobs_max_bytes=64 << 20, abandoned_s=1.0)

    async def test_an_abandoned_upload_is_as_if_it_had_never_been(self, environ: dict[str, str]) -> None:
        async with running_gateway(environ | {"SUBTIDE_ABANDONED_S": "1"}) as gateway:
            at = await begin(gateway, 5)
            await send(gateway, at, b"12345")

            async def gone() -> bool:
                return (await gateway.http.head(at, headers=TUS)).status_code == 404

            await until(gone)
            assert (await submit(gateway, at)).json()["code"] == "upload_not_found"
            answer: Any = await send(gateway, at, b"", 5)
            assert answer.status_code == 404


def test_the_state_of_an_upload_is_small_enough_for_a_message() -> None:
    now = datetime.now(UTC)
    upload = Upload(
        owner="anon", counted_as="c" * 32, token_sha256="a" * 64, key="uploads/anon/" + "b" * 32, length=2 << 30,
        filename="x" * 255, metadata="m" * 4096, created_at=now, expires_at=now,
        parts=[PACE.part_bytes] * PACE.parts_max,
        leaves=bytes(32) * 256,
    )  # fmt: skip
    assert len(msgspec.json.encode(upload)) < 1 << 20
