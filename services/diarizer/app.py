"""Wiring of the diarizer."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

from chassis.child import EnginePool, EngineSpec
from chassis.models import models_dir
from chassis.service import Connected, serve_stage
from chassis.settings import load
from chassis.settle import Handler
from contracts import topology
from services.diarizer.handler import Diarization
from services.diarizer.settings import Settings


async def serve(environ: Mapping[str, str], stop: asyncio.Event) -> None:
    """Tell speakers apart until told to stop."""
    settings = load(Settings, "SUBTIDE_DIARIZER_", environ)

    async def build(connected: Connected, stack: AsyncExitStack) -> Handler:
        spec = EngineSpec(
            target=settings.engine,
            arguments={"models": models_dir(environ), "device": settings.device, "threads": settings.threads},
            threads=settings.threads,
        )
        engine = EnginePool(spec, workers=settings.workers)
        stack.push_async_callback(engine.close)
        engine.warm_up()
        return Diarization(connected.store, engine)

    await serve_stage(environ, stop, durable=topology.DIARIZER, workers=settings.workers, build=build)
