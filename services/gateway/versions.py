"""The versions of a transcript: what was heard, and every correction of it since (docs/adr/0012).

A correction is a fact under the next number, published create-only: of two that correct the same version one is told
that it came second. The exporter makes its subtitles; until they are there, the version before it is the latest.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from chassis.joblog import JobLog
from chassis.store import Missing, Store
from contracts import facts
from contracts.artifacts import ArtifactRef, recipe_digest, version_key
from contracts.failures import FAILURES
from contracts.progress import JobView, Status
from contracts.transcript import Transcript
from services.gateway import idempotency
from services.gateway.corrections import Corrected, Correction, corrected, differing
from services.gateway.idempotency import Identity
from services.gateway.problems import Problem

VERSIONS_MAX = 200
"""Corrections of one job: each keeps a transcript and its subtitles."""
_SOON_S = 1
_NOWHERE = ArtifactRef(key="", digest="", bytes=0)
"""For a fact that only stands for its subject."""


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One version of the transcript. 0 is what was heard."""

    version: int
    at: datetime
    based_on: int | None
    """The version that was corrected; null for 0."""
    words: int
    """How many words were corrected, and `speakers` renamed."""
    speakers: int
    restored: int | None
    """The version that was brought back, where it was that."""
    ready: bool
    """Whether its subtitles are there."""
    error: str | None
    """Why there will be none."""


class Versions:
    """Reads and adds versions."""

    def __init__(self, joblog: JobLog, store: Store) -> None:
        self._joblog = joblog
        self._store = store

    async def listed(self, view: JobView) -> list[Version]:
        """Every version of a completed job, 0 first. Raises Problem where it is not completed."""
        return (await self._told(view)).listed()

    async def at(self, view: JobView, version: int | None) -> JobView:
        """The job with the results of a version; without one, of the latest. Raises Problem where there are none."""
        if version is None or (version == view.version and view.status is Status.COMPLETED):
            return view
        results = (await self._told(view)).results(version)
        return msgspec.structs.replace(view, results=results, version=version)

    async def correct(self, view: JobView, correction: Correction, identity: Identity | None) -> Version:
        """Add a version. A further try with the same key finds the one that the first made.

        Raises Problem where the correction does not fit the transcript, or the version is not the latest.
        """
        told = await self._told(view)
        asked = hashlib.sha256(msgspec.json.encode(correction, order="deterministic")).hexdigest()
        if identity is not None:
            for edited in told.edited.values():
                if _is_by(edited, identity):
                    return told.version(_same(edited, asked))
        if correction.based_on > told.latest:  # a copy of the log may be behind: its leader is not
            told.add(await self._joblog.stored(_edited(view, correction.based_on, 0, _NOWHERE)))
        if correction.based_on != told.latest:
            raise _conflict(correction.based_on, told.latest)
        n = told.last + 1
        if n > VERSIONS_MAX:
            raise Problem(
                409,
                "too_many_versions",
                f"A transcript can be corrected {VERSIONS_MAX} times, and this one has been.",
            )
        made = await self._made(told, correction)
        edited = msgspec.structs.replace(
            _edited(view, n, correction.based_on, await self._kept(view, n, made.transcript)),
            words=made.words,
            speakers=made.speakers,
            restored=correction.restore,
            edited_as=identity.token_sha256 if identity else None,
            asked=asked if identity else None,
        )
        if await self._joblog.append(edited) is not None:
            return _version(edited, None)
        taken = await self._joblog.stored(edited)
        if isinstance(taken, facts.TranscriptEdited) and identity and _is_by(taken, identity):
            return _version(_same(taken, asked), None)
        raise _conflict(correction.based_on, n)

    async def _told(self, view: JobView) -> "_Told":
        kinds = (facts.JobCompleted, facts.TranscriptEdited, facts.VersionExported)
        recorded = await self._joblog.facts_of(view.job_id, *kinds)
        told = _Told([one.fact for one in recorded if one.fact.run == view.run])
        if view.status is not Status.COMPLETED or told.completed is None:
            raise Problem(409, "not_finished", f"The job has no subtitles yet; it is {view.status}.")
        return told

    async def _made(self, told: "_Told", correction: Correction) -> Corrected:
        base = await self._transcript(told.transcript(correction.based_on))
        if correction.restore is None:
            return await asyncio.to_thread(corrected, base, correction)
        if correction.restore > told.last:
            raise Problem(
                422,
                "unknown_version",
                f"There is no version {correction.restore:,}: the latest is version {told.latest}.",
                field="restore",
            )
        earlier = await self._transcript(told.transcript(correction.restore))
        return differing(base, Corrected(transcript=earlier, words=0, speakers=0))

    async def _transcript(self, ref: ArtifactRef) -> Transcript:
        content = await self._store.get(ref.key)
        return await asyncio.to_thread(msgspec.json.decode, content, type=Transcript)

    async def _kept(self, view: JobView, n: int, transcript: Transcript) -> ArtifactRef:
        """The transcript, stored. The content is part of the key: who comes second overwrites nobody."""
        content = await asyncio.to_thread(msgspec.json.encode, transcript, order="deterministic")
        inputs = [hashlib.sha256(content).hexdigest()]
        digest = recipe_digest("version", "", {"job_id": view.job_id, "run": view.run, "n": n}, inputs)
        key = version_key(view.owner, view.job_id, digest)
        await self._store.put(key, content)
        return ArtifactRef(key=key, digest=digest, bytes=len(content))


class _Told:
    """What the log tells of the versions of a run."""

    def __init__(self, known: Sequence[facts.AnyFact]) -> None:
        self.completed: facts.JobCompleted | None = None
        self.edited: dict[int, facts.TranscriptEdited] = {}
        self.exported: dict[int, facts.VersionExported] = {}
        for fact in known:
            self.add(fact)

    def add(self, fact: facts.AnyFact | None) -> None:
        """One more fact."""
        match fact:
            case facts.JobCompleted():
                self.completed = fact
            case facts.TranscriptEdited():
                self.edited[fact.n] = fact
            case facts.VersionExported():
                self.exported[fact.n] = fact

    @property
    def last(self) -> int:
        """The highest number there is."""
        return max(self.edited, default=0)

    @property
    def latest(self) -> int:
        """What is to be corrected next: the last version, unless there will be no subtitles of it."""
        failed = {n for n, exported in self.exported.items() if exported.failed is not None}
        return max(self.edited.keys() - failed, default=0)

    def listed(self) -> list[Version]:
        assert self.completed is not None
        original = Version(
            version=0, at=self.completed.at, based_on=None, words=0, speakers=0, restored=None, ready=True, error=None
        )
        return [original, *(self.version(self.edited[n]) for n in sorted(self.edited))]

    def version(self, edited: facts.TranscriptEdited) -> Version:
        return _version(edited, self.exported.get(edited.n))

    def results(self, version: int) -> dict[str, ArtifactRef]:
        """The subtitles of a version. Raises Problem where there are none."""
        assert self.completed is not None
        if version == 0:
            return self.completed.results
        exported = self.exported.get(version)
        if exported is None and version not in self.edited:
            raise Problem(
                404,
                "version_not_found",
                f"There is no version {version:,}: the latest is version {self.latest}.",
                field="version",
            )
        if exported is None:
            raise Problem(
                409,
                "version_not_ready",
                f"The subtitles of version {version} are being made. Try again in a second.",
                headers={"Retry-After": str(_SOON_S)},
            )
        if exported.failed is not None:
            raise Problem(409, "version_failed", f"There are no subtitles of version {version}: {_why(exported)}")
        return exported.results

    def transcript(self, version: int) -> ArtifactRef:
        """Where the transcript of a version lies: that of 0 is in the result itself. Raises Missing."""
        assert self.completed is not None
        if version in self.edited:
            return self.edited[version].transcript
        if version or "json" not in self.completed.results:
            raise Missing(f"version {version} of job {self.completed.job_id}")
        return self.completed.results["json"]


def _edited(view: JobView, n: int, based_on: int, transcript: ArtifactRef) -> facts.TranscriptEdited:
    return facts.TranscriptEdited(
        job_id=view.job_id,
        run=view.run,
        owner=view.owner,
        at=datetime.now(UTC),
        n=n,
        based_on=based_on,
        transcript=transcript,
    )


def _version(edited: facts.TranscriptEdited, exported: facts.VersionExported | None) -> Version:
    failed = exported is not None and exported.failed is not None
    return Version(
        version=edited.n,
        at=edited.at,
        based_on=edited.based_on,
        words=edited.words,
        speakers=edited.speakers,
        restored=edited.restored,
        ready=exported is not None and not failed,
        error=_why(exported) if exported is not None and failed else None,
    )


def _why(exported: facts.VersionExported) -> str:
    assert exported.failed is not None
    return f"{FAILURES[exported.failed].sentence} Reference {exported.reference}."


def _is_by(edited: facts.TranscriptEdited, identity: Identity) -> bool:
    """Whether a version was made with the same key."""
    return hmac.compare_digest(edited.edited_as or "", identity.token_sha256)


def _same(edited: facts.TranscriptEdited, asked: str) -> facts.TranscriptEdited:
    """The version that was made with a key. Raises Problem where something else was asked with it."""
    if edited.asked != asked:
        raise Problem(
            422,
            "idempotency_key_reused",
            f"This {idempotency.HEADER} was used for another correction. Send a new one.",
        )
    return edited


def _conflict(based_on: int, latest: int) -> Problem:
    return Problem(
        409,
        "version_conflict",
        f"This corrects version {based_on:,}, and the transcript is at version {latest}. Load that, and correct it.",
        field="based_on",
        version=latest,
    )
