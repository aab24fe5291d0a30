"""Wiring of the fetcher."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

from chassis.service import Connected, serve_stage
from chassis.settings import load
from chassis.settle import Handler
from contracts import topology
from contracts.addresses import Rules
from services.fetcher.engine import Fetcher
from services.fetcher.handler import Fetching
from services.fetcher.settings import Settings


async def serve(environ: Mapping[str, str], stop: asyncio.Event) -> None:
    """Fetch recordings until told to stop."""
    settings = load(Settings, "SUBTIDE_FETCHER_", environ)
    rules = load(Rules, "SUBTIDE_FETCHER_", environ)

    async def build(connected: Connected, stack: AsyncExitStack) -> Handler:
        return Fetching(Fetcher(connected.store, rules, settings))

    await serve_stage(environ, stop, durable=topology.FETCHER, workers=settings.workers, build=build)
