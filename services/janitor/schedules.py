"""Sets the schedules of what is to come: one message per job, which the broker delivers when it is due."""

from datetime import UTC

from nats.aio.client import Client

from contracts import facts, subjects, topology


class Schedules:
    """The stream `SCHEDULES`."""

    def __init__(self, client: Client) -> None:
        self._js = client.jetstream(timeout=10.0)

    async def arrange(self, expired: facts.JobExpired) -> None:
        """Have a job expire at its time; idempotency key: the subject, whose last schedule is the one that counts."""
        headers = {
            "Nats-Schedule": f"@at {expired.at.astimezone(UTC).isoformat()}",
            "Nats-Schedule-Target": subjects.due(expired),
        }
        await self._js.publish(subjects.schedule(expired), facts.encode(expired), headers=headers)

    async def subjects(self) -> set[str]:
        """Everything that is scheduled, and what was due and is kept still."""
        info = await self._js.stream_info(topology.SCHEDULES, subjects_filter=">")
        return set(info.state.subjects or {})
