"""Wiring of the notifier."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

import httpcore

from chassis import telemetry
from chassis.connecting import resolve
from chassis.service import Connected, serve_stage
from chassis.settings import load
from chassis.settle import Handler
from chassis.subscriptions import Subscriptions
from contracts import topology
from contracts.addresses import Rules
from services.notifier.engine import Pusher
from services.notifier.handler import Notifying
from services.notifier.settings import Settings


async def serve(environ: Mapping[str, str], stop: asyncio.Event) -> None:
    """Tell of ends until told to stop."""
    settings = load(Settings, "SUBTIDE_NOTIFIER_", environ)
    rules = load(Rules, "SUBTIDE_NOTIFIER_", environ)
    numbers = load(topology.Numbers, "SUBTIDE_", environ)
    pusher = Pusher(settings, rules, resolve, httpcore.AnyIOBackend()) if settings.private_key else None
    if pusher is None:
        telemetry.logger(stage=topology.NOTIFIER.name).info("notifications_off", hint="there is no private key")

    async def build(connected: Connected, stack: AsyncExitStack) -> Handler:
        subscriptions = Subscriptions(connected.js, await connected.bucket(topology.NOTIFICATIONS))
        return Notifying(subscriptions, connected.joblog, pusher, retries=numbers.retries)

    await serve_stage(environ, stop, durable=topology.NOTIFIER, workers=settings.workers, build=build)
