"""Sound in, who spoke when out."""

from collections.abc import Sequence
from datetime import UTC, datetime

from chassis.child import EnginePool
from chassis.settle import Work
from chassis.store import Store
from contracts import facts, progress
from contracts.artifacts import ArtifactRef, cache_key, recipe_digest
from contracts.transcript import Turn

STAGE = "diarizer"


class Diarization:
    """Wakes on `extracted`, beside the transcriber."""

    def __init__(self, store: Store, engine: EnginePool) -> None:
        self._store = store
        self._engine = engine

    async def __call__(self, fact: facts.AnyFact, work: Work) -> Sequence[facts.Fact]:
        """Returns `diarized`, at once where the job did not ask for speakers."""
        assert isinstance(fact, facts.AudioExtracted)
        if not fact.parameters.diarize:
            receipt = facts.StageReceipt(engine="", seconds=0.0, skipped=True)
            return [self._diarized(fact, None, 0, receipt)]
        identity = await self._engine.identity()
        parameters = {
            "num_speakers": fact.parameters.num_speakers,
            "min_speakers": fact.parameters.min_speakers,
            "max_speakers": fact.parameters.max_speakers,
        }
        digest = recipe_digest(STAGE, identity, parameters, [fact.audio.digest])
        key = cache_key(fact.owner, STAGE, digest, "turns.json")
        cached_at = None
        if (found := await self._store.record(key, list[Turn])) is not None:
            turns, cached_at = found[0], found[1].made_at
        else:

            async def report(fraction: float, message: str) -> None:
                await work.report(progress.Stage.DIARIZING, fraction, message)

            async with self._store.local(fact.audio.key) as wav:
                turns = await self._engine.call("diarize", wav, returns=list[Turn], report=report, **parameters)
            turns = await self._store.keep(key, turns, list[Turn])
        stored = await self._store.find(key)
        receipt = facts.StageReceipt(
            engine=identity, seconds=work.elapsed_s(), attempts=work.attempt, cached_at=cached_at
        )
        ref = ArtifactRef(key=key, digest=digest, bytes=stored.bytes if stored else 0)
        return [self._diarized(fact, ref, len({turn.speaker for turn in turns}), receipt)]

    def _diarized(
        self, fact: facts.AudioExtracted, turns: ArtifactRef | None, speakers: int, receipt: facts.StageReceipt
    ) -> facts.SpeakersDiarized:
        return facts.SpeakersDiarized(
            job_id=fact.job_id,
            run=fact.run,
            owner=fact.owner,
            at=datetime.now(UTC),
            turns=turns,
            speakers=speakers,
            receipt=receipt,
        )
