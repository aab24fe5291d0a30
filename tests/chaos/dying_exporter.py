"""An exporter that dies in the worst moment: everything is stored, nothing is published."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

from chassis.service import Connected, main, serve_stage
from chassis.settle import Handler, Work
from contracts import facts, topology
from services.exporter.handler import Export


async def serve(environ: Mapping[str, str], stop: asyncio.Event) -> None:
    """Export one job, and die."""

    async def build(connected: Connected, stack: AsyncExitStack) -> Handler:
        export = Export(connected.store)

        async def handler(fact: facts.AnyFact, work: Work) -> Sequence[facts.Fact]:
            published = await export(fact, work)
            if published:
                os.kill(os.getpid(), signal.SIGKILL)
            return published

        return handler

    await serve_stage(environ, stop, durable=topology.EXPORTER, workers=1, build=build)


if __name__ == "__main__":
    main({"exporter": serve})
