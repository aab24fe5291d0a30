"""Media in, 16 kHz mono WAV, waveform peaks and media facts out."""

from collections.abc import Sequence
from datetime import UTC, datetime

from chassis.child import EnginePool
from chassis.sandbox import Reach
from chassis.settle import Work
from chassis.store import Missing, Store
from contracts import facts, progress
from contracts.artifacts import ArtifactRef, cache_key, recipe_digest
from contracts.failures import FailureCode, Permanent
from contracts.transcript import MediaFacts

STAGE = "extractor"


class Extraction:
    """Wakes on `started`, or, where that has only an address, on `fetched`.

    The media facts are stored last. Where they are, the WAV and the peaks should be too; what was lost is made anew.
    """

    def __init__(self, store: Store, engine: EnginePool) -> None:
        self._store = store
        self._engine = engine

    async def __call__(self, fact: facts.AnyFact, work: Work) -> Sequence[facts.Fact]:
        """Returns `extracted`; nothing as long as the recording is still to be fetched: that will wake us."""
        assert isinstance(fact, facts.JobStarted | facts.SourceFetched)
        if fact.source is None:
            return []
        identity = await self._engine.identity()
        digest = recipe_digest(STAGE, identity, {}, [fact.source.digest])
        wav, peaks, facts_key = (
            cache_key(fact.owner, STAGE, digest, suffix) for suffix in ("wav", "peaks.json", "media.json")
        )
        cached_at = None
        found = await self._store.record(facts_key, MediaFacts)
        if found is not None and await self._store.find(wav) and await self._store.find(peaks):
            media, cached_at = found[0], found[1].made_at
        else:
            media = await self._extract(fact.source, work, wav, peaks)
            media = await self._store.keep(facts_key, media, MediaFacts)
        return [
            facts.AudioExtracted(
                job_id=fact.job_id,
                run=fact.run,
                owner=fact.owner,
                at=datetime.now(UTC),
                audio=await self._ref(wav, digest),
                peaks=await self._ref(peaks, digest),
                media=media,
                parameters=fact.parameters,
                receipt=facts.StageReceipt(
                    engine=identity, seconds=work.elapsed_s(), attempts=work.attempt, cached_at=cached_at
                ),
            )
        ]

    async def _extract(self, source: ArtifactRef, work: Work, wav: str, peaks: str) -> MediaFacts:
        async def report(fraction: float, message: str) -> None:
            await work.report(progress.Stage.EXTRACTING, fraction, message)

        async with self._store.workspace() as folder:
            try:
                async with self._store.local_parts(source) as paths:
                    media = await self._engine.call_within(
                        Reach(read=paths, write=[folder]),
                        *("extract", paths, folder / "audio.wav", folder / "peaks.json"),
                        returns=MediaFacts,
                        report=report,
                    )
            except Missing as error:
                raise Permanent(FailureCode.SOURCE_MISSING, source.key) from error
            await self._store.put_file(wav, folder / "audio.wav")
            await self._store.put_file(peaks, folder / "peaks.json")
        return media

    async def _ref(self, key: str, digest: str) -> ArtifactRef:
        found = await self._store.find(key)
        if found is None:
            raise Missing(key)
        return ArtifactRef(key=key, digest=digest, bytes=found.bytes)
