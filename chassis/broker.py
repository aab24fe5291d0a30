"""The connection to NATS: reconnects for ever, subscribes a stage to its durable, one message in flight per worker."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import msgspec
import nats.errors
from fast_depends.msgspec import MsgSpecSerializer
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from nats.aio.client import Client
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError

from chassis import telemetry
from chassis.provision import provision
from contracts import topology

_PULL_S = 5.0
_ABSENT_POLL_S = 1.0
_LOST_POLL_S = 5.0
_AWAY_SAID_S = 10.0
_AFTER_HAND_BACK_S = 0.1
"""FastStream would wait for handlers to end; ours have handed back by then."""

CONNECT_OPTIONS: dict[str, Any] = {
    "allow_reconnect": True,
    "max_reconnect_attempts": -1,
    "reconnect_time_wait": 1,
    "ping_interval": 10,
    "max_outstanding_pings": 2,
}
"""nats-py gives up after 60 tries unless told otherwise."""


def saying_who_is_away(nats_url: str) -> Callable[[Exception], Awaitable[None]]:
    """What the client is to do with its errors: say one in ten seconds, in a sentence; it tries again by itself."""
    said_at = -_AWAY_SAID_S
    address = urlsplit(nats_url)

    async def say(error: Exception) -> None:
        nonlocal said_at
        now = time.monotonic()
        if now - said_at >= _AWAY_SAID_S:
            said_at = now
            telemetry.logger().warning(
                "waiting_for_broker",
                address=f"{address.hostname}:{address.port}",
                error=repr(error),
                hint="is nats-server up, and NATS_URL its address?",
            )

    return say


class _Names(msgspec.Struct):
    streams: list[str] | None = None


def make_broker(nats_url: str, service: str, **options: Any) -> NatsBroker:
    """A FastStream broker that is not connected yet."""
    return NatsBroker(
        nats_url,
        name=f"subtide-{service}",
        serializer=MsgSpecSerializer(),
        logger=None,
        error_cb=saying_who_is_away(nats_url),
        graceful_timeout=_AFTER_HAND_BACK_S,
        **CONNECT_OPTIONS,
        **options,
    )


def subscribe(
    broker: NatsBroker,
    durable: topology.Durable,
    handler: Callable[[bytes, NatsMessage], Awaitable[None]],
    *,
    workers: int,
) -> None:
    """Register a handler `workers` times on one durable, each with a pull of its own.

    FastStream's `max_workers` would fetch one message more than it works on, and that one gets no heartbeat
    (faststream#2563).
    """
    for _ in range(workers):

        async def consume(body: bytes, message: NatsMessage) -> None:
            await handler(body, message)

        broker.subscriber(
            durable.filter_subjects[0],
            durable=durable.name,
            stream=JStream(durable.stream, declare=False),
            pull_sub=PullSub(batch_size=1, timeout=_PULL_S),
            ack_policy=AckPolicy.MANUAL,
            decoder=_raw,
            no_reply=True,
        )(consume)


async def until_provisioned(client: Client, durable: topology.Durable) -> None:
    """Wait for the durable: a pull on an absent one would make nats-py create it, with the wrong settings."""
    log = telemetry.logger(durable=durable.name)
    js = client.jetstream()
    while True:
        try:
            await js.consumer_info(durable.stream, durable.name)
        except (JetStreamError, nats.errors.Error) as error:
            log.warning("waiting_for_provision", error=repr(error), hint="run `subtide provision`")
            await asyncio.sleep(_ABSENT_POLL_S)
        else:
            return


async def until_lost(client: Client, durable: topology.Durable, numbers: topology.Numbers) -> None:
    """Wait until the durable is gone: a subscriber says nothing then, it only never hears anything again.

    A stream or bucket that somebody deleted, or that went from memory with a restart of the broker, is made again
    meanwhile.
    """
    js = client.jetstream()
    while True:
        await asyncio.sleep(_LOST_POLL_S)
        try:
            await js.consumer_info(durable.stream, durable.name)
        except NotFoundError:
            return
        except (JetStreamError, nats.errors.Error, OSError):
            continue  # the broker is away, which is another matter
        with suppress(JetStreamError, nats.errors.Error, OSError):
            await make_whole(client, numbers)


async def make_whole(client: Client, numbers: topology.Numbers) -> None:
    """Make again what is missing beside a durable that is there."""
    answer = await client.request("$JS.API.STREAM.NAMES", b"{}", timeout=_LOST_POLL_S)  # nats-py has no call for it
    if lost := topology.STREAMS - set(msgspec.json.decode(answer.data, type=_Names).streams or []):
        telemetry.logger().warning("stream_lost", streams=sorted(lost), hint="made again")
        await provision(client, numbers)


async def _raw(message: NatsMessage) -> bytes:
    """Bodies are decoded where the message is settled, so that poison has an outcome too."""
    return bytes(message.body)
