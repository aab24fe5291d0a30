"""A corrected transcript in, its subtitles out: everything that is made of a transcript, made of this one.

What the machines made is not touched: a version's files have keys of their own, and what it does not change (language,
warnings, how it came about) is taken from the result that it corrects.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from chassis.settle import Work
from chassis.store import Missing, Store
from contracts import facts
from contracts.artifacts import ArtifactRef, cache_key, recipe_digest
from contracts.transcript import Transcript
from services.exporter.engine import IDENTITY, write
from services.exporter.result import Result

STAGE = "exporter"


class ExportVersion:
    """Wakes on `edited`. Keys follow from the correction, so that a redelivery finds what was stored before it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def __call__(self, fact: facts.TranscriptEdited, work: Work) -> Sequence[facts.Fact]:
        """Returns `exported`, or nothing where it was said before, or where nobody can ask for it any more."""
        known = work.facts()
        completed = next((one for one in known if isinstance(one, facts.JobCompleted)), None)
        expired = any(isinstance(one, facts.JobExpired) for one in known)
        done = any(isinstance(one, facts.VersionExported) and one.n == fact.n for one in known)
        if completed is None or expired or done:
            work.log.info("version_not_exported", version=fact.n, expired=expired, done=done)
            return []
        made = msgspec.json.decode(await self._store.get(completed.results["json"].key), type=Result)
        found = await self._store.record(fact.transcript.key, Transcript)
        if found is None:
            raise Missing(fact.transcript.key)
        transcript = found[0]
        result = msgspec.structs.replace(
            made, segments=transcript.segments, speakers=transcript.speakers, turns=transcript.turns
        )
        exported = await asyncio.to_thread(write, result, made.receipt.parameters.caption_preset)
        digest = recipe_digest(
            STAGE,
            IDENTITY,
            {"job_id": fact.job_id, "run": fact.run, "version": fact.n},
            [fact.transcript.digest, completed.results["json"].digest],
        )
        refs = {}
        for name, content in exported.files.items():
            key = cache_key(fact.owner, STAGE, digest, name)
            await self._store.put(key, content)
            refs[name] = ArtifactRef(key=key, digest=digest, bytes=len(content))
        return [
            facts.VersionExported(
                job_id=fact.job_id,
                run=fact.run,
                owner=fact.owner,
                at=datetime.now(UTC),
                n=fact.n,
                results=refs,
                speakers=exported.speakers,
                words=exported.words,
                receipt=facts.StageReceipt(engine=IDENTITY, seconds=work.elapsed_s(), attempts=work.attempt),
            )
        ]
