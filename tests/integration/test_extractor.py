"""What the extractor finds stored, on a real broker and with the real decoder."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chassis.joblog import JobLog
from chassis.store import Store
from contracts import facts
from contracts.artifacts import ArtifactRef
from services.extractor.app import serve
from tests.integration.conftest import until
from tests.media import Sound, record
from tests.runs import Run

SOURCE = ArtifactRef(key="uploads/anon/recording", digest="a" * 64, bytes=1)


@asynccontextmanager
async def extractor(environ: dict[str, str]) -> AsyncIterator[None]:
    """An extractor in this process."""
    stop = asyncio.Event()
    task = asyncio.create_task(serve(environ, stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)


async def extracted(joblog: JobLog, job_id: str) -> facts.AudioExtracted:
    """What comes of another job of the recording."""
    started = Run(job_id).started
    await joblog.append(
        facts.JobStarted(**Run(job_id).of_job, filename=started.filename, source=SOURCE, parameters=started.parameters)
    )

    async def said() -> facts.AnyFact | None:
        known = [one.fact for one in await joblog.facts_of(job_id)]
        return next((fact for fact in known if isinstance(fact, facts.AudioExtracted | facts.JobFailed)), None)

    fact = await until(said, 60)
    assert isinstance(fact, facts.AudioExtracted)
    return fact


@pytest.mark.parametrize("lost", ["wav", "peaks.json", "media.json"])
async def test_a_result_of_which_a_part_was_lost_is_made_anew(
    joblog: JobLog, store: Store, environ: dict[str, str], tmp_path: Path, lost: str
) -> None:
    await store.put(SOURCE.key, record(tmp_path / "talk.wav", [Sound(seconds=1.0)]).read_bytes())
    async with extractor(environ):
        first = await extracted(joblog, "first")
        stem = first.audio.key.removesuffix("wav")
        files = {suffix: await store.get(stem + suffix) for suffix in ("wav", "peaks.json", "media.json")}
        # given one of its files is gone
        await store.delete(stem + lost)
        # when the same recording comes again
        second = await extracted(joblog, "second")
        assert second.receipt.cached_at is None
        # then all of it is there, and is found from then on
        assert {suffix: await store.get(stem + suffix) for suffix in files} == files
        third = await extracted(joblog, "third")
        assert third.receipt.cached_at is not None
    assert (first.audio, first.peaks, first.media) == (third.audio, third.peaks, third.media)
