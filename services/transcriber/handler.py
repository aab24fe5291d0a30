"""Plans a transcription, and transcribes one chunk."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from chassis.child import EnginePool, Report
from chassis.settle import Work
from chassis.store import Missing, Store
from contracts import facts, progress
from contracts.artifacts import ArtifactRef, cache_key, recipe_digest
from contracts.transcript import Chunk, Segment
from services.transcriber.plan import Planned

PLAN = "planner"
CHUNK = "transcriber"

_WAV_HEADER_BYTES = 44
_SAMPLE_RATE = 16_000
_SAMPLE_BYTES = 2


class Transcription:
    """Wakes on `extracted` (plan: language and chunks) and on `chunk-requested` (words of one chunk).

    A job keeps at most `window` chunks requested: the one that finishes chunk i requests chunk i + window.
    """

    def __init__(self, store: Store, engine: EnginePool, *, window: int) -> None:
        self._store = store
        self._engine = engine
        self._window = window

    async def __call__(self, fact: facts.AnyFact, work: Work) -> Sequence[facts.Fact]:
        """Returns `planned` and the first requests, or `chunk-transcribed` and the next request."""
        if isinstance(fact, facts.AudioExtracted):
            return await self._plan(fact, work)
        assert isinstance(fact, facts.ChunkRequested)
        return await self._chunk(fact, work)

    async def _plan(self, fact: facts.AudioExtracted, work: Work) -> Sequence[facts.Fact]:
        asked = fact.parameters
        identity = await self._engine.identity(asked.model)
        options = {
            "language": asked.language,
            "force_language": asked.force_language,
        }
        digest = recipe_digest(PLAN, identity, options, [fact.audio.digest])
        key = cache_key(fact.owner, PLAN, digest, "plan.json")
        cached_at = None
        if (found := await self._store.record(key, Planned)) is not None:
            planned, cached_at = found[0], found[1].made_at
        else:

            async def report(fraction: float, message: str) -> None:
                await work.report(progress.Stage.TRANSCRIBING, fraction * progress.PLANNED_SHARE, message)

            async with self._store.local(fact.audio.key) as wav:
                planned = await self._engine.call("plan", asked.model, wav, returns=Planned, report=report, **options)
            planned = await self._store.keep(key, planned, Planned)
        ref = ArtifactRef(key=key, digest=digest, bytes=0)
        announced = facts.TranscriptionPlanned(
            job_id=fact.job_id,
            run=fact.run,
            owner=fact.owner,
            at=datetime.now(UTC),
            plan=ref,
            chunks=len(planned.chunks),
            chunk_speech_s=[_speech_s(chunk) for chunk in planned.chunks],
            language=planned.language,
            language_probability=planned.language_probability,
            language_source=planned.language_source,
            speech_s=planned.speech_s,
            receipt=facts.StageReceipt(
                engine=identity, seconds=work.elapsed_s(), attempts=work.attempt, cached_at=cached_at
            ),
        )
        first = [self._request(fact, planned, chunk, ref, fact.audio) for chunk in planned.chunks[: self._window]]
        return [announced, *first]

    async def _chunk(self, fact: facts.ChunkRequested, work: Work) -> Sequence[facts.Fact]:
        asked = fact.parameters
        identity = await self._engine.identity(asked.model)
        options: dict[str, Any] = {
            "language": fact.language,
            "task": asked.task,
            "initial_prompt": asked.initial_prompt,
            "hotwords": asked.hotwords,
            "multilingual": asked.multilingual,
        }
        span = msgspec.to_builtins(fact.chunk)
        digest = recipe_digest(CHUNK, identity, {**options, "chunk": span}, [fact.audio.digest])
        key = cache_key(fact.owner, CHUNK, digest, "segments.json")
        cached_at = None
        if (found := await self._store.record(key, list[Segment])) is not None:
            segments, cached_at = found[0], found[1].made_at
        else:
            pcm = await self._store.get(fact.audio.key, **_byte_range(fact.chunk, fact.audio.bytes))
            segments = await self._engine.call(
                *("transcribe", asked.model, pcm, fact.chunk),
                returns=list[Segment],
                report=_chunk_report(fact, work),
                **options,
            )
            segments = await self._store.keep(key, segments, list[Segment])
        transcribed = facts.ChunkTranscribed(
            job_id=fact.job_id,
            run=fact.run,
            owner=fact.owner,
            at=datetime.now(UTC),
            n=fact.n,
            segments=ArtifactRef(key=key, digest=digest, bytes=0),
            captions=[
                facts.Caption(start=segment.start, end=segment.end, text=segment.text.strip()) for segment in segments
            ],
            receipt=facts.StageReceipt(
                engine=identity, seconds=work.elapsed_s(), attempts=work.attempt, cached_at=cached_at
            ),
        )
        following = fact.n + self._window
        if following >= fact.chunks:
            return [transcribed]
        found_plan = await self._store.record(fact.plan.key, Planned)
        if found_plan is None:
            raise Missing(fact.plan.key)
        planned = found_plan[0]
        return [transcribed, self._request(fact, planned, planned.chunks[following], fact.plan, fact.audio)]

    def _request(
        self,
        fact: facts.AudioExtracted | facts.ChunkRequested,
        planned: Planned,
        chunk: Chunk,
        plan: ArtifactRef,
        audio: ArtifactRef,
    ) -> facts.ChunkRequested:
        return facts.ChunkRequested(
            job_id=fact.job_id,
            run=fact.run,
            owner=fact.owner,
            at=datetime.now(UTC),
            n=chunk.n,
            chunk=chunk,
            chunks=len(planned.chunks),
            language=planned.language,
            audio=audio,
            plan=plan,
            parameters=fact.parameters,
        )


def _speech_s(chunk: Chunk) -> float:
    return round(sum(region.end - region.start for region in chunk.regions), 3)


def _byte_range(chunk: Chunk, wav_bytes: int) -> dict[str, int]:
    def at(seconds: float) -> int:
        return _WAV_HEADER_BYTES + round(seconds * _SAMPLE_RATE) * _SAMPLE_BYTES

    return {"start": at(chunk.start), "end": min(at(chunk.end), wav_bytes)}


def _chunk_report(fact: facts.ChunkRequested, work: Work) -> Report:
    """Progress inside a chunk, as progress of the job's whole transcription."""
    known = work.facts()
    planned = next((known for known in known if isinstance(known, facts.TranscriptionPlanned)), None)
    weights = planned.chunk_speech_s if planned else [1.0] * fact.chunks
    done = sum(weights[known.n] for known in known if isinstance(known, facts.ChunkTranscribed))
    total = sum(weights) or 1.0

    async def report(fraction: float, message: str) -> None:
        share = (done + fraction * weights[fact.n]) / total
        whole = progress.PLANNED_SHARE + (1.0 - progress.PLANNED_SHARE) * share
        await work.report(progress.Stage.TRANSCRIBING, whole, message)

    return report
