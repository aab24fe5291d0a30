"""Wiring of the transcriber."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

from chassis.child import EnginePool, EngineSpec
from chassis.models import models_dir
from chassis.service import Connected, serve_stage
from chassis.settings import load
from chassis.settle import Handler
from contracts import topology
from services.transcriber.handler import Transcription
from services.transcriber.settings import Settings


async def serve(environ: Mapping[str, str], stop: asyncio.Event) -> None:
    """Transcribe until told to stop."""
    settings = load(Settings, "SUBTIDE_TRANSCRIBER_", environ)
    numbers = load(topology.Numbers, "SUBTIDE_", environ)

    async def build(connected: Connected, stack: AsyncExitStack) -> Handler:
        spec = EngineSpec(
            target=settings.engine,
            arguments={"models": models_dir(environ), "device": settings.device, "threads": settings.threads},
            threads=settings.threads,
        )
        engine = EnginePool(spec, workers=settings.workers)
        stack.push_async_callback(engine.close)
        engine.warm_up(settings.default_model)
        return Transcription(connected.store, engine, window=numbers.window)

    await serve_stage(environ, stop, durable=topology.TRANSCRIBER, workers=settings.workers, build=build)
