"""All facts of a job in, subtitles out."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from chassis.settle import Work
from chassis.store import Missing, Store
from contracts import facts, progress
from contracts.artifacts import ArtifactRef, cache_key, finished_key, recipe_digest
from contracts.quality import QUALITY
from contracts.transcript import Segment, Turn
from services.exporter.engine import IDENTITY, Exported, export
from services.exporter.result import Receipt, StageLine
from services.exporter.versions import STAGE, ExportVersion

_WITHOUT_MODEL = ("fetcher", "extractor")

R = TypeVar("R")


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """The note that a job of some file and parameters was completed."""

    completed_at: datetime


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts the join waits for."""

    started: facts.JobStarted
    fetched: facts.SourceFetched | None
    source: ArtifactRef
    extracted: facts.AudioExtracted
    planned: facts.TranscriptionPlanned
    chunks: list[facts.ChunkTranscribed]
    diarized: facts.SpeakersDiarized


class Export:
    """Wakes on `planned`, `chunk-transcribed` and `diarized`; acts when the log has them all. And on `edited`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._version = ExportVersion(store)

    async def __call__(self, fact: facts.AnyFact, work: Work) -> Sequence[facts.Fact]:
        """Returns `completed`, or `exported`; or nothing while something is still missing: that fact will wake us."""
        if isinstance(fact, facts.TranscriptEdited):
            return await self._version(fact, work)
        parts = parts_of(work.facts())
        if parts is None:
            return []
        await work.report(progress.Stage.GENERATING, 0.1)
        refs, exported, cached_at = await self._exported(parts, work)
        receipts = [parts.extracted.receipt, parts.planned.receipt, parts.diarized.receipt]
        receipts += [chunk.receipt for chunk in parts.chunks]
        receipts += [parts.fetched.receipt] if parts.fetched else []
        whole = parts.diarized.failed is None
        cached = whole and cached_at is not None and all(one.cached_at or one.skipped for one in receipts)
        now = datetime.now(UTC)
        if whole:  # else the same file sent again may fare better
            note = finished_key(fact.owner, parts.source.digest, parts.started.parameters)
            await self._store.put_record(note, Finished(completed_at=now))
        return [
            facts.JobCompleted(
                job_id=fact.job_id,
                run=fact.run,
                owner=fact.owner,
                at=now,
                results=refs,
                language=parts.planned.language,
                duration_s=parts.extracted.media.duration_s,
                speakers=exported.speakers,
                words=exported.words,
                warnings=_warnings(parts),
                cached=cached,
                cached_at=cached_at if cached else None,
                receipt=facts.StageReceipt(
                    engine=IDENTITY, seconds=work.elapsed_s(), attempts=work.attempt, cached_at=cached_at
                ),
            )
        ]

    async def _exported(self, parts: Parts, work: Work) -> tuple[dict[str, ArtifactRef], Exported, datetime | None]:
        """The files, stored. The captions are shared by equal jobs; result.json and the quality report tell of this
        run, so they are not. Those of every preset are made, and so found, whichever the job is to be shown in.
        """
        owner = parts.started.owner
        inputs = [parts.planned.plan.digest, parts.diarized.turns.digest if parts.diarized.turns else ""]
        inputs += [chunk.segments.digest for chunk in parts.chunks]
        shared = recipe_digest(STAGE, IDENTITY, {}, inputs)
        own = recipe_digest(STAGE, IDENTITY, {"job_id": parts.started.job_id, "run": parts.started.run}, inputs)
        preset = parts.started.parameters.caption_preset
        chosen = recipe_digest(STAGE, IDENTITY, {"caption_preset": preset}, inputs)
        digests = {"srt": chosen, "vtt": chosen, "json": own, QUALITY: own}
        found = await self._store.find(cache_key(owner, STAGE, shared, "txt"))
        segments = [segment for chunk in parts.chunks for segment in await self._read(chunk.segments, list[Segment])]
        turns = await self._read(parts.diarized.turns, list[Turn]) if parts.diarized.turns else []
        exported = await asyncio.to_thread(
            export,
            segments=segments,
            turns=turns,
            language=parts.planned.language,
            duration_s=parts.extracted.media.duration_s,
            warnings=_warnings(parts),
            receipt=_receipt(parts),
            preset=preset,
        )
        refs = {}
        for name, content in exported.files.items():
            digest = digests.get(name, shared)
            key = cache_key(owner, STAGE, digest, name)
            await self._store.put(key, content)
            refs[name] = ArtifactRef(key=key, digest=digest, bytes=len(content))
        return refs, exported, found.made_at if found else None

    async def _read(self, ref: ArtifactRef, kind: type[R]) -> R:
        found = await self._store.record(ref.key, kind)
        if found is None:
            raise Missing(ref.key)
        return found[0]


def parts_of(known: Sequence[facts.AnyFact]) -> Parts | None:
    """The facts of a run that an export needs; None while one is missing."""
    started = fetched = extracted = planned = diarized = None
    chunks: dict[int, facts.ChunkTranscribed] = {}
    for fact in known:
        match fact:
            case facts.JobStarted():
                started = fact
            case facts.SourceFetched():
                fetched = fact
            case facts.AudioExtracted():
                extracted = fact
            case facts.TranscriptionPlanned():
                planned = fact
            case facts.SpeakersDiarized():
                diarized = fact
            case facts.ChunkTranscribed():
                chunks[fact.n] = fact
    if started is None or extracted is None or planned is None or diarized is None:
        return None
    source = fetched.source if fetched is not None else started.source
    if source is None or len(chunks) < planned.chunks:
        return None
    return Parts(
        started=started,
        fetched=fetched,
        source=source,
        extracted=extracted,
        planned=planned,
        chunks=[chunks[n] for n in range(planned.chunks)],
        diarized=diarized,
    )


def _warnings(parts: Parts) -> list[str]:
    return [
        *parts.extracted.media.warnings,
        *([] if parts.planned.chunks else [progress.NO_SPEECH]),
        *([progress.DIARIZATION_FAILED] if parts.diarized.failed else []),
    ]


def _receipt(parts: Parts) -> Receipt:
    stages = [
        *([_line("fetcher", [parts.fetched.receipt])] if parts.fetched else []),
        _line("extractor", [parts.extracted.receipt]),
        _line("planner", [parts.planned.receipt]),
        _line("transcriber", [chunk.receipt for chunk in parts.chunks]),
        _line("diarizer", [parts.diarized.receipt]),
    ]
    return Receipt(
        job_id=parts.started.job_id,
        run=parts.started.run,
        filename=parts.fetched.filename if parts.fetched else parts.started.filename,
        parameters=parts.started.parameters,
        models={line.stage: line.engine for line in stages if line.engine and line.stage not in _WITHOUT_MODEL},
        language_source=parts.planned.language_source,
        stages=stages,
    )


def _line(stage: str, receipts: list[facts.StageReceipt]) -> StageLine:
    return StageLine(
        stage=stage,
        engine=receipts[0].engine if receipts else "",
        seconds=round(sum(receipt.seconds for receipt in receipts), 3),
        attempts=sum(receipt.attempts for receipt in receipts),
        cached=bool(receipts) and all(receipt.cached_at for receipt in receipts),
        skipped=not receipts or all(receipt.skipped for receipt in receipts),
    )
