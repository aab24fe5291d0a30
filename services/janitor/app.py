"""Wiring of the janitor."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

from chassis.service import Connected, serve_stage
from chassis.settings import load
from chassis.settle import Handler
from contracts import topology
from services.janitor.handler import Tidying
from services.janitor.settings import Settings


async def serve(environ: Mapping[str, str], stop: asyncio.Event) -> None:
    """Tidy up until told to stop."""
    settings = load(Settings, "SUBTIDE_JANITOR_", environ)

    async def build(connected: Connected, stack: AsyncExitStack) -> Handler:
        return Tidying(connected.store)

    await serve_stage(environ, stop, durable=topology.JANITOR, workers=settings.workers, build=build)
