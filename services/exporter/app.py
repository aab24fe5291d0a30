"""Wiring of the exporter."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

from chassis.service import Connected, serve_stage
from chassis.settings import load
from chassis.settle import Handler
from contracts import topology
from services.exporter.handler import Export
from services.exporter.settings import Settings


async def serve(environ: Mapping[str, str], stop: asyncio.Event) -> None:
    """Make subtitles until told to stop."""
    settings = load(Settings, "SUBTIDE_EXPORTER_", environ)

    async def build(connected: Connected, stack: AsyncExitStack) -> Handler:
        return Export(connected.store)

    await serve_stage(environ, stop, durable=topology.EXPORTER, workers=settings.workers, build=build)
