"""Reading buckets on a real broker."""

import pytest
from nats.aio.client import Client

from chassis import buckets
from contracts import topology


@pytest.fixture
async def names(client: Client) -> list[bytes]:
    """Two values under one prefix: one was written twice, two more were removed, and one lies elsewhere."""
    bucket = await client.jetstream().key_value(topology.NOTIFICATIONS)
    for key in ("job.a", "job.b", "job.c", "job.d", "other.a"):
        await bucket.put(key, key.encode())
    await bucket.put("job.a", b"job.a again")
    await bucket.purge("job.d")
    await bucket.delete("job.c")
    return [b"job.b", b"job.a again"]


async def test_what_is_there_is_found_under_its_keys_alone(client: Client, names: list[bytes]) -> None:
    assert [value async for value in buckets.values(client.jetstream(), topology.NOTIFICATIONS, "job.*")] == names
    assert [value async for value in buckets.values(client.jetstream(), topology.NOTIFICATIONS, "nobody.*")] == []


async def test_reading_leaves_nothing_behind_at_the_broker(client: Client, names: list[bytes]) -> None:
    js = client.jetstream()
    for _ in range(20):
        assert len([value async for value in buckets.values(js, topology.NOTIFICATIONS, "job.*")]) == len(names)
    assert (await js.stream_info(f"KV_{topology.NOTIFICATIONS}")).state.consumer_count == 0
