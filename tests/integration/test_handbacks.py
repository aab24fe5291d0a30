"""Deliveries that were no tries are counted beside the message, and a count of another message makes no try undone."""

import pytest
from nats.aio.client import Client

from chassis.handbacks import Handbacks
from contracts import topology


@pytest.fixture
async def handbacks(client: Client) -> Handbacks:
    return Handbacks(await client.jetstream().key_value(topology.HANDBACKS))


async def test_hand_backs_are_counted_for_each_message(handbacks: Handbacks) -> None:
    for _ in range(2):
        await handbacks.add("extractor", 7)
    assert await handbacks.count("extractor", 7, 3) == 2
    assert await handbacks.count("extractor", 7, 6) == 2
    assert await handbacks.count("extractor", 8, 6) == 0
    assert await handbacks.count("exporter", 7, 6) == 0


async def test_a_count_that_outlived_its_durable_leaves_one_try_at_least(handbacks: Handbacks) -> None:
    # given a message that was handed back often, when its stream or durable was made anew
    for _ in range(9):
        await handbacks.add("extractor", 7)
    # then no delivery of the message that has its number now is less than a first try
    assert [deliveries - await handbacks.count("extractor", 7, deliveries) for deliveries in range(1, 13)] == [
        *[1] * 10, 2, 3
    ]  # fmt: skip
