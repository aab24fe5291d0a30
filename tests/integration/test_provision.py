"""What the topology is made to be, on a real broker."""

from nats.aio.client import Client

from chassis.provision import provision
from contracts import topology

DAY_S = 86400.0


async def test_facts_are_kept_for_a_job_that_takes_weeks_and_is_kept_from_then_on(
    client: Client, numbers: topology.Numbers
) -> None:
    """Its `accepted` is needed until it expires (docs/adr/0014)."""
    js = client.jetstream()
    for stream in (topology.JOBS, f"KV_{topology.NOTIFICATIONS}"):
        age_s = (await js.stream_info(stream)).config.max_age
        assert age_s is not None
        assert age_s >= numbers.retention_s + 7 * DAY_S


async def test_a_log_of_an_earlier_version_is_given_the_age_of_today(client: Client, numbers: topology.Numbers) -> None:
    js = client.jetstream()
    ages = {}
    for stream in (topology.JOBS, f"KV_{topology.NOTIFICATIONS}"):
        config = (await js.stream_info(stream)).config
        ages[stream] = config.max_age
        await js.update_stream(config.evolve(max_age=numbers.retention_s + DAY_S))
    await provision(client, numbers)
    assert {stream: (await js.stream_info(stream)).config.max_age for stream in ages} == ages
