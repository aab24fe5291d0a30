"""Wiring of the extractor."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

from chassis.child import EnginePool, EngineSpec
from chassis.service import Connected, serve_stage
from chassis.settings import load
from chassis.settle import Handler
from contracts import topology
from contracts.failures import FailureCode
from services.extractor.handler import Extraction
from services.extractor.settings import Settings


def decoding_pool(settings: Settings) -> EnginePool:
    """Children that decode one recording each, in a sandbox. Close it."""
    spec = EngineSpec(
        target=settings.engine,
        arguments={"limits": settings.limits},
        threads=1,
        fresh=True,
        sandbox=settings.sandbox,
    )
    return EnginePool(spec, workers=settings.workers, crash_code=FailureCode.DECODER_CRASHED)


async def serve(environ: Mapping[str, str], stop: asyncio.Event) -> None:
    """Extract sound until told to stop."""
    settings = load(Settings, "SUBTIDE_EXTRACTOR_", environ)

    async def build(connected: Connected, stack: AsyncExitStack) -> Handler:
        engine = decoding_pool(settings)
        stack.push_async_callback(engine.close)
        engine.warm_up()
        return Extraction(connected.store, engine)

    await serve_stage(environ, stop, durable=topology.EXTRACTOR, workers=settings.workers, build=build)
