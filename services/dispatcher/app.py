"""Wiring of the dispatcher."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

from chassis.admission import Admission, Limits
from chassis.service import Connected, serve_stage
from chassis.settings import load
from chassis.settle import Handler
from contracts import topology
from services.dispatcher.handler import Dispatcher
from services.dispatcher.settings import Settings


async def serve(environ: Mapping[str, str], stop: asyncio.Event) -> None:
    """Order the work until told to stop."""
    settings = load(Settings, "SUBTIDE_DISPATCHER_", environ)
    limits = load(Limits, "SUBTIDE_", environ)

    async def build(connected: Connected, stack: AsyncExitStack) -> Handler:
        admission = Admission(await connected.bucket(topology.ADMISSION))
        dispatcher = Dispatcher(connected.joblog, admission, limits, ageing_s=settings.ageing_s)
        stack.push_async_callback(dispatcher.close)
        return dispatcher

    await serve_stage(environ, stop, durable=topology.DISPATCHER, workers=settings.workers, build=build)
