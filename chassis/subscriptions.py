"""The browsers that wait for the end of a job, in their bucket (docs/adr/0011)."""

import msgspec
from nats.js import JetStreamContext
from nats.js.kv import KeyValue

from chassis import buckets
from contracts.notifications import Subscription, bucket_key, bucket_keys_of
from contracts.topology import NOTIFICATIONS


class Subscriptions:
    """Every method raises nats.errors.Error or TimeoutError where the broker cannot be reached."""

    def __init__(self, js: JetStreamContext, bucket: KeyValue) -> None:
        self._js = js
        self._bucket = bucket

    async def of(self, job_id: str) -> list[Subscription]:
        """All that wait for a job."""
        found = buckets.values(self._js, NOTIFICATIONS, bucket_keys_of(job_id))
        return [msgspec.json.decode(value, type=Subscription) async for value in found]

    async def add(self, job_id: str, subscription: Subscription) -> None:
        """It waits; the same browser twice waits once."""
        await self._bucket.put(bucket_key(job_id, subscription.endpoint), msgspec.json.encode(subscription))

    async def remove(self, job_id: str, subscription: Subscription) -> None:
        """It was used up, or is of no use."""
        await self._bucket.purge(bucket_key(job_id, subscription.endpoint))

    async def forget(self, job_id: str) -> None:
        """Nobody waits for the job."""
        for subscription in await self.of(job_id):
            await self.remove(job_id, subscription)
