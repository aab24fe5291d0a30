"""What the facts of a run call for and the log does not have: which durable should have acted, and on which fact.

A pure function. That something is owed is no fault by itself, since work takes time: it is one if the durable is done
with the fact all the same.
"""

from collections.abc import Sequence

import msgspec

from contracts import facts
from contracts.topology import DIARIZER, EXPORTER, EXTRACTOR, FETCHER, TRANSCRIBER


class Owed(msgspec.Struct, frozen=True, kw_only=True):
    """A durable owes the result of a fact."""

    durable: str
    fact: facts.AnyFact


def owed(known: Sequence[facts.AnyFact], *, window: int) -> list[Owed]:
    """The steps of a run that lack their result, given all its facts in log order.

    Once the run has ended these are the versions of its transcript; once it has expired there are none.
    """
    if any(isinstance(fact, facts.JobExpired) for fact in known):
        return []
    if any(facts.ends_run(fact) for fact in known):
        return _versions(known)
    run = _Run(known)
    sound = [*_fetching(run), *_extraction(run)]
    return [*sound, *_planning(run), *_chunks(run, window), *_diarization(run), *_export(run)]


class _Run:
    """The facts of a run by kind."""

    def __init__(self, known: Sequence[facts.AnyFact]) -> None:
        self.started: facts.JobStarted | None = None
        self.fetched: facts.SourceFetched | None = None
        self.extracted: facts.AudioExtracted | None = None
        self.planned: facts.TranscriptionPlanned | None = None
        self.diarized: facts.SpeakersDiarized | None = None
        self.requested: dict[int, facts.ChunkRequested] = {}
        self.transcribed: dict[int, facts.ChunkTranscribed] = {}
        self.joined: facts.AnyFact | None = None
        """The last of those that the exporter wakes on."""
        for fact in known:
            match fact:
                case facts.JobStarted():
                    self.started = fact
                case facts.SourceFetched():
                    self.fetched = fact
                case facts.AudioExtracted():
                    self.extracted = fact
                case facts.ChunkRequested():
                    self.requested[fact.n] = fact
                case facts.TranscriptionPlanned():
                    self.planned = self.joined = fact
                case facts.ChunkTranscribed():
                    self.transcribed[fact.n] = self.joined = fact
                case facts.SpeakersDiarized():
                    self.diarized = self.joined = fact


def _fetching(run: _Run) -> list[Owed]:
    if run.started is None or run.started.source is not None or run.fetched is not None or run.extracted is not None:
        return []
    return [Owed(durable=FETCHER.name, fact=run.started)]


def _extraction(run: _Run) -> list[Owed]:
    if run.started is None or run.extracted is not None:
        return []
    if run.started.source is not None:
        return [Owed(durable=EXTRACTOR.name, fact=run.started)]
    return [Owed(durable=EXTRACTOR.name, fact=run.fetched)] if run.fetched else []


def _planning(run: _Run) -> list[Owed]:
    return [Owed(durable=TRANSCRIBER.name, fact=run.extracted)] if run.extracted and not run.planned else []


def _chunks(run: _Run, window: int) -> list[Owed]:
    """The first chunks are requested with the plan, each further one by the chunk that is `window` before it."""
    if run.extracted is None or run.planned is None:
        return []
    first = range(min(window, run.planned.chunks))
    lacking: list[facts.AnyFact] = [run.extracted] if any(n not in run.requested for n in first) else []
    for n, request in sorted(run.requested.items()):
        following = n + window
        unrequested = following < run.planned.chunks and following not in run.requested
        if n not in run.transcribed or unrequested:
            lacking.append(request)
    return [Owed(durable=TRANSCRIBER.name, fact=fact) for fact in lacking]


def _diarization(run: _Run) -> list[Owed]:
    return [Owed(durable=DIARIZER.name, fact=run.extracted)] if run.extracted and not run.diarized else []


def _export(run: _Run) -> list[Owed]:
    whole = run.started and run.extracted and run.planned and run.diarized
    if not whole or run.planned is None or run.joined is None:
        return []
    if any(n not in run.transcribed for n in range(run.planned.chunks)):
        return []
    return [Owed(durable=EXPORTER.name, fact=run.joined)]


def _versions(known: Sequence[facts.AnyFact]) -> list[Owed]:
    exported = {fact.n for fact in known if isinstance(fact, facts.VersionExported)}
    return [
        Owed(durable=EXPORTER.name, fact=fact)
        for fact in known
        if isinstance(fact, facts.TranscriptEdited) and fact.n not in exported
    ]
