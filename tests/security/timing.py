"""How long a refusal takes where there is something, and where there is nothing, beside each other.

    python -m tests.security.timing [--requests N]

Printed, not judged: a machine that does other things as well is no witness. What the code does alike in both cases is
held by tests/security/test_constant_time.py.
"""

import argparse
import asyncio
import logging
import statistics
import time
from datetime import UTC, datetime

import structlog

from contracts import facts
from contracts.artifacts import ArtifactRef
from tests.integration.stages import RECEIPT
from tests.security.callers import TUS, World, absent, bearer, world

_CHUNKS = 300
"""Of a long recording: what a refusal would read too much of."""


async def main(requests: int) -> None:
    """Ask for each kind of thing with a wrong token, in turn with one that is not there."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    async with world() as there:
        await _lengthen(there)
        print(f"{'a wrong token, median of ' + str(requests):<40}{'is there':>12}{'is not':>12}{'difference':>12}")
        for what, thing, path, method in (
            ("job", "job", "/api/jobs/{}", "GET"),
            (f"job of {_CHUNKS} chunks", "job of another", "/api/jobs/{}", "GET"),
            ("upload", "upload", "/api/uploads/{}", "HEAD"),
            ("batch", "batch", "/api/batches/{}", "GET"),
        ):
            taken: dict[bool, list[float]] = {True: [], False: []}
            for n in range(2 * requests):
                there_is = n % 2 == 0
                address = path.format(there.ids[thing] if there_is else absent(thing))
                began = time.perf_counter()
                answer = await there.gateway.http.request(
                    method, address, headers=TUS | bearer(there.tokens["wrong token"])
                )
                taken[there_is].append(time.perf_counter() - began)
                assert answer.status_code == 404
            is_there, is_not = (1e3 * statistics.median(taken[kind]) for kind in (True, False))
            print(f"{what:<40}{is_there:>9.3f} ms{is_not:>9.3f} ms{is_there - is_not:>9.3f} ms", flush=True)


async def _lengthen(there: World) -> None:
    """Make a job as long as that of twelve hours is."""
    for n in range(_CHUNKS):
        await there.joblog.append(
            facts.ChunkTranscribed(
                job_id=there.ids["job of another"],
                run=1,
                owner="anon",
                at=datetime.now(UTC),
                n=n,
                segments=ArtifactRef(key=f"cache/anon/transcriber/{n}.json", digest="d" * 64, bytes=1),
                captions=[
                    facts.Caption(start=float(line), end=line + 1.0, text="what was said in a line of it")
                    for line in range(40)
                ],
                receipt=RECEIPT,
            )
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=300, help="of each kind")
    asyncio.run(main(parser.parse_args().requests))
