"""How many uploads a caller may have of which no job was made yet: exactly so many, whatever races and dies."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from nats.aio.client import Client

from chassis import buckets
from chassis.settings import SettingsError, load
from chassis.store import Store
from contracts import topology
from contracts.uploads import EVERY, OPEN_MAX, OpenUploads, Upload, bucket_key, open_key, upload_id_of
from services.gateway import idempotency
from services.gateway import unfinished as unfinished_module
from services.gateway import uploads as uploads_module
from services.gateway.entries import Changed, Entries
from services.gateway.idempotency import Identity
from services.gateway.problems import Problem
from services.gateway.settings import Settings
from services.gateway.uploads import Asked, Kept, Uploads
from tests.integration.conftest import Gateway, running_gateway, until
from tests.integration.test_gateway_uploads import TUS, begin, environ, registry, send, submit

__all__ = ["environ"]

CALLER = "c" * 32
ASKED = Asked(length=1, filename="talk.mp4", metadata="")
LONG_AGO = datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture
async def entries(client: Client) -> Entries:
    return Entries(client, await client.jetstream().key_value(topology.UPLOADS))


async def create(uploads: Uploads, identity: Identity | None = None, counted_as: str = CALLER) -> Kept:
    return await uploads.create(identity or idempotency.new(), ASKED, owner="anon", counted_as=counted_as)


async def refused(uploads: Uploads) -> Problem:
    with pytest.raises(Problem) as problem:
        await create(uploads)
    assert problem.value.document.code == "too_many_uploads"
    return problem.value


async def listed(entries: Entries) -> dict[str, datetime]:
    found = await entries.find(open_key(CALLER))
    assert found is not None
    return msgspec.json.decode(found[0], type=OpenUploads).begun_at


async def put(entries: Entries, begun_at: dict[str, datetime]) -> None:
    """What the list of the caller is to be."""
    found = await entries.find(open_key(CALLER))
    value = msgspec.json.encode(OpenUploads(begun_at=begun_at))
    await entries.put(open_key(CALLER), value, last=found[1] if found else 0)


async def unused(client: Client) -> set[str]:
    """Keys in the store of all uploads of which no job was made."""
    found = [value async for value in buckets.values(client.jetstream(), topology.UPLOADS, EVERY)]
    uploads = [msgspec.json.decode(value, type=Upload) for value in found]
    return {upload.key for upload in uploads if upload.used_by is None}


def an_id(n: int) -> str:
    return f"{CALLER[:16]}{n:032x}"


async def tried(gateway: Gateway) -> tuple[int, str]:
    answer = await gateway.http.post("/api/uploads", headers=TUS | {"Upload-Length": "1"})
    return answer.status_code, answer.json().get("detail", "")


async def test_of_150_creations_at_once_over_two_gateways_a_hundred_are_let_in(
    environ: dict[str, str], client: Client
) -> None:
    async with running_gateway(environ) as first, running_gateway(environ) as second:
        answers = await asyncio.gather(*(tried(gateway) for gateway in (first, second) * 75))
        assert Counter(status for status, _ in answers) == {201: 100, 429: 50}
        told = {detail for status, detail in answers if status == 429}
        assert len(told) == 1
        assert "100 uploads" in (detail := told.pop())
        assert "at most 100" in detail
        assert len(await unused(client)) == 100


async def test_the_last_place_is_given_and_the_one_after_it_is_not(environ: dict[str, str]) -> None:
    async with running_gateway(environ) as first, running_gateway(environ) as second:
        answers = await asyncio.gather(*(tried(gateway) for gateway in (first, second) * 49))
        at = await begin(first, 1)
        assert [status for status, _ in answers] == [201] * 98
        assert (await tried(second))[0] == 201
        assert (await tried(first))[0] == (await tried(second))[0] == 429
        assert (await second.http.delete(at, headers=TUS)).status_code == 204
        assert (await tried(first))[0] == 201
        assert (await tried(second))[0] == 429


async def test_a_submit_frees_a_place_and_so_does_every_upload_of_a_batch(environ: dict[str, str]) -> None:
    limit = {"SUBTIDE_GATEWAY_MAX_UNFINISHED_UPLOADS": "3"}
    async with running_gateway(environ | limit) as first, running_gateway(environ | limit) as second:
        ats = [await begin(first, 1) for _ in range(3)]
        for at in ats:
            assert (await send(first, at, b"x")).status_code == 204
        assert (await tried(second))[0] == 429
        assert (await submit(second, ats[0])).status_code == 202
        assert [(await tried(first))[0] for _ in range(2)] == [201, 429]
        items = [{"upload_id": at[13:61], "upload_token": at.partition("=")[2]} for at in ats[1:]]
        answer = await first.http.post("/api/batches", json={"items": items})
        assert answer.status_code == 202, answer.text
        assert [(await tried(second))[0] for _ in range(3)] == [201, 201, 429]


async def test_a_key_counts_once_however_often_it_is_sent(client: Client, store: Store, entries: Entries) -> None:
    one, other = [await registry(client, store, max_unfinished=2) for _ in range(2)]
    identity = idempotency.derived("k", "caller", b"secret")
    tries = await asyncio.gather(*(create(uploads, identity) for uploads in (one, other) * 10))
    assert len({(kept.upload_id, kept.upload.key) for kept in tries}) == 1
    await create(one)
    await refused(one)
    assert (await create(other, identity)).upload == tries[0].upload  # is there, though there is no room
    assert (await listed(entries))[tries[0].upload_id] == tries[0].upload.created_at
    await other.remove(tries[0])
    await create(one)
    await refused(other)


async def test_an_upload_that_is_begun_anew_by_its_key_counts_though_the_former_one_leaves_late(
    client: Client, store: Store, entries: Entries
) -> None:
    uploads = await registry(client, store, max_unfinished=1)
    identity = idempotency.derived("k", "caller", b"secret")
    former = await create(uploads, identity)
    await entries.delete(bucket_key(former.upload_id), last=former.revision)
    now = await create(uploads, identity)
    await unfinished_module.Unfinished(entries, 1).leave(CALLER, former.upload_id, former.upload.created_at)
    assert await listed(entries) == {now.upload_id: now.upload.created_at}
    await refused(uploads)


async def test_what_crashes_left_is_dropped_once_the_list_is_full(
    client: Client, store: Store, entries: Entries
) -> None:
    uploads = await registry(client, store, max_unfinished=5)
    living, used, over = [await create(uploads) for _ in range(3)]
    await uploads.save(used, msgspec.structs.replace(used.upload, used_by="a-job"))
    late = msgspec.structs.replace(over.upload, expires_at=LONG_AGO)
    await entries.put(bucket_key(over.upload_id), msgspec.json.encode(late), last=over.revision)
    begun = dict.fromkeys([kept.upload_id for kept in (living, used, over)], LONG_AGO)
    await put(entries, begun | {an_id(1): LONG_AGO, an_id(2): datetime.now(UTC)})
    new = await create(uploads)
    # The last one may be about to be created, by another gateway.
    assert set(await listed(entries)) == {living.upload_id, an_id(2), new.upload_id}
    assert [await create(uploads) for _ in range(2)]
    assert "5 uploads" in (await refused(uploads)).document.detail


async def test_a_full_list_costs_a_read_for_each_upload_in_it_and_not_for_each_request(
    client: Client, store: Store, entries: Entries
) -> None:
    uploads = await registry(client, store)
    await put(entries, {an_id(n): LONG_AGO for n in range(100)})
    asked = client.stats["out_msgs"]
    await create(uploads)
    assert client.stats["out_msgs"] - asked <= 103
    await asyncio.gather(*(create(uploads) for _ in range(99)))
    asked = client.stats["out_msgs"]
    await asyncio.gather(*(refused(uploads) for _ in range(50)))
    assert client.stats["out_msgs"] - asked <= 50 + 100


async def test_a_thousand_uploads_that_came_and_went_cost_nothing(
    client: Client, store: Store, entries: Entries
) -> None:
    uploads = await registry(client, store)

    async def asks(counted_as: str) -> int:
        asked = client.stats["out_msgs"]
        await create(uploads, counted_as=counted_as)
        return client.stats["out_msgs"] - asked

    async def comes_and_goes() -> None:
        await uploads.remove(await create(uploads))

    for _ in range(20):
        await asyncio.gather(*(comes_and_goes() for _ in range(50)))
    assert await listed(entries) == {}
    assert await asks(CALLER) <= await asks("f" * 32)


async def test_where_the_bucket_has_forgotten_the_list_the_uploads_themselves_count(
    client: Client, store: Store, entries: Entries
) -> None:
    uploads = await registry(client, store, max_unfinished=3)
    kept = [await create(uploads) for _ in range(3)]
    await uploads.remove(kept.pop())
    await client.jetstream().purge_stream(f"KV_{topology.UPLOADS}", subject=f"$KV.{topology.UPLOADS}.open.>")
    await create(uploads)
    await refused(uploads)
    await uploads.use(kept[0], "a-job")
    await create(uploads)
    await refused(uploads)


class Sleeping(Entries):
    """Those of a gateway that is suspended as it is about to create an upload."""

    woken = asyncio.Event()

    async def put(self, key: str, value: bytes, *, last: int) -> int:
        if key.startswith("upload."):
            await self.woken.wait()
        return await super().put(key, value, last=last)


@pytest.mark.parametrize("limit", [1, 2])
async def test_a_gateway_that_slept_between_list_and_upload_lets_in_nobody_too_many(
    client: Client, store: Store, entries: Entries, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    awake = await registry(client, store, max_unfinished=limit)
    monkeypatch.setattr(uploads_module, "CREATION", timedelta(0))
    monkeypatch.setattr(uploads_module, "Entries", Sleeping)
    Sleeping.woken = asyncio.Event()
    asleep = asyncio.create_task(create(await registry(client, store, max_unfinished=limit)))
    await until(lambda: entries.find(open_key(CALLER)))
    await put(entries, dict.fromkeys(await listed(entries), LONG_AGO))
    others = {(await create(awake)).upload.key for _ in range(limit)}
    Sleeping.woken.set()
    with pytest.raises(Problem) as refusal:
        await asleep
    assert refusal.value.document.code == "too_many_uploads"
    assert await unused(client) == others


class Silent(Entries):
    """Those of a broker that does not answer."""

    async def find(self, key: str) -> tuple[bytes, int] | None:
        await asyncio.Event().wait()
        return await super().find(key)


async def test_where_the_broker_is_silent_nobody_waits_for_all_who_came_before(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads_module, "Entries", Silent)
    monkeypatch.setattr(unfinished_module, "_TURN_S", 0.2)
    uploads = await registry(client, store)
    async with asyncio.timeout(5):
        tries = await asyncio.gather(*(create(uploads) for _ in range(100)), return_exceptions=True)
    assert {type(outcome) for outcome in tries} == {TimeoutError}


async def test_a_place_that_cannot_be_given_back_does_not_fail_what_was_done(
    client: Client, store: Store, entries: Entries, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = await registry(client, store, max_unfinished=2)
    kept, used = [await create(uploads) for _ in range(2)]

    async def lost(*_: object) -> None:
        raise TimeoutError

    with monkeypatch.context() as broken:
        broken.setattr(unfinished_module.Unfinished, "leave", lost)
        await uploads.remove(kept)
        await uploads.use(used, "a-job")
    assert len(await listed(entries)) == 2
    await put(entries, dict.fromkeys(await listed(entries), LONG_AGO))
    await create(uploads)


async def test_an_entry_is_only_changed_by_who_knows_it(entries: Entries) -> None:
    first = await entries.put("claim.a", b"1", last=0)
    with pytest.raises(Changed):
        await entries.put("claim.a", b"2", last=0)
    second = await entries.put("claim.a", b"2", last=first)
    with pytest.raises(Changed):
        await entries.put("claim.a", b"3", last=first)
    with pytest.raises(Changed):
        await entries.delete("claim.a", last=first)
    assert await entries.find("claim.a") == (b"2", second)
    await entries.delete("claim.a", last=second)
    assert await entries.find("claim.a") is None
    await entries.put("claim.a", b"4", last=0)


def test_the_id_of_an_upload_follows_from_its_key() -> None:
    assert upload_id_of(bucket_key(an_id(5))) == an_id(5)


def test_the_longest_list_is_small_enough_for_a_message() -> None:
    open_uploads = OpenUploads(begun_at={an_id(n): datetime.now(UTC) for n in range(OPEN_MAX)})
    assert len(msgspec.json.encode(open_uploads)) < 1 << 20


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [("max_unfinished_uploads", (1, 10_000), (0, 10_001)), ("max_receiving", (1, 1000), (0, -1))],
)
def test_a_limit_that_cannot_be_held_is_refused_by_name(name: str, good: tuple[int, ...], bad: tuple[int, ...]) -> None:
    variable = f"SUBTIDE_GATEWAY_{name.upper()}"
    for value in good:
        assert getattr(load(Settings, "SUBTIDE_GATEWAY_", {variable: str(value)}), name) == value
    for value in bad:
        with pytest.raises(SettingsError, match=variable):
            load(Settings, "SUBTIDE_GATEWAY_", {variable: str(value)})
