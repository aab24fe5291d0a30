"""The facts of a run, made one by one: what each stage would say of a recording in two chunks."""

from datetime import UTC, datetime
from typing import Any

from contracts import facts
from contracts.artifacts import ArtifactRef, fetched_folder
from contracts.failures import FailureCode
from contracts.parameters import Parameters
from contracts.transcript import Chunk, MediaFacts, MediaTrack, Region

MEDIA = MediaFacts(
    duration_s=10.0, container="mp4", tracks=[MediaTrack(index=0, kind="audio", codec="aac")], audio_track=0
)
RECEIPT = facts.StageReceipt(engine="test/1", seconds=0.25)


class Run:
    """One run of one job. Recordings with the same `content` have the same artifacts."""

    def __init__(
        self,
        job_id: str,
        *,
        run: int = 1,
        owner: str = "anon",
        content: str = "a",
        chunks: int = 2,
        at: datetime | None = None,
        source_url: str | None = None,
        **parameters: Any,
    ) -> None:
        self.job_id = job_id
        self.owner = owner
        self.content = content
        self.chunks = chunks
        self.source_url = source_url
        self.parameters = Parameters(**parameters)
        self.of_job: dict[str, Any] = {"job_id": job_id, "run": run, "owner": owner, "at": at or datetime.now(UTC)}

    @property
    def accepted(self) -> facts.JobAccepted:
        return facts.JobAccepted(
            **self.of_job,
            filename="talk.mp4",
            source=self._given,
            source_url=self.source_url,
            parameters=self.parameters,
            token_sha256=self.content * 64,
        )

    @property
    def started(self) -> facts.JobStarted:
        return facts.JobStarted(
            **self.of_job,
            filename="talk.mp4",
            source=self._given,
            source_url=self.source_url,
            parameters=self.parameters,
        )

    @property
    def fetched(self) -> facts.SourceFetched:
        folder = fetched_folder(self.owner, self.job_id)
        return facts.SourceFetched(
            **self.of_job,
            filename="talk.mp4",
            source=ArtifactRef(key=f"{folder}{self.content}", digest=self.content * 64, bytes=9, parts=[8, 1]),
            parameters=self.parameters,
            receipt=RECEIPT,
        )

    @property
    def extracted(self) -> facts.AudioExtracted:
        return facts.AudioExtracted(
            **self.of_job,
            audio=self.ref("extractor", "wav"),
            peaks=self.ref("extractor", "peaks.json"),
            media=MEDIA,
            parameters=self.parameters,
            receipt=RECEIPT,
        )

    @property
    def planned(self) -> facts.TranscriptionPlanned:
        return facts.TranscriptionPlanned(
            **self.of_job,
            plan=self.ref("planner", "plan.json"),
            chunks=self.chunks,
            chunk_speech_s=[1.0] * self.chunks,
            language="en",
            language_probability=0.9,
            language_source="detected",
            speech_s=float(self.chunks),
            receipt=RECEIPT,
        )

    def requested(self, n: int) -> facts.ChunkRequested:
        return facts.ChunkRequested(
            **self.of_job,
            n=n,
            chunk=Chunk(n=n, start=5.0 * n, end=5.0 * n + 5.0, regions=[Region(5.0 * n, 5.0 * n + 1.0)]),
            chunks=self.chunks,
            language="en",
            audio=self.ref("extractor", "wav"),
            plan=self.ref("planner", "plan.json"),
            parameters=self.parameters,
        )

    def transcribed(self, n: int) -> facts.ChunkTranscribed:
        return facts.ChunkTranscribed(
            **self.of_job, n=n, segments=self.ref("transcriber", f"{n}.segments.json"), captions=[], receipt=RECEIPT
        )

    @property
    def diarized(self) -> facts.SpeakersDiarized:
        return facts.SpeakersDiarized(
            **self.of_job, turns=self.ref("diarizer", "turns.json"), speakers=2, receipt=RECEIPT
        )

    @property
    def completed(self) -> facts.JobCompleted:
        return facts.JobCompleted(
            **self.of_job,
            results={name: self.ref("exporter", name) for name in ("srt", "vtt")},
            language="en",
            duration_s=10.0,
            speakers=2,
            words=20,
            receipt=RECEIPT,
        )

    def edited(self, n: int) -> facts.TranscriptEdited:
        key = f"edits/{self.owner}/{self.job_id}/{n}.json"
        transcript = ArtifactRef(key=key, digest=f"{n}", bytes=1)
        return facts.TranscriptEdited(**self.of_job, n=n, based_on=n - 1, transcript=transcript, words=1)

    def exported(self, n: int) -> facts.VersionExported:
        results = {name: self.ref("exporter", f"{n}.{name}") for name in ("srt", "vtt")}
        return facts.VersionExported(**self.of_job, n=n, results=results, speakers=2, words=20, receipt=RECEIPT)

    def failed(self, code: FailureCode = FailureCode.INTERNAL) -> facts.JobFailed:
        return facts.JobFailed(**self.of_job, code=code, stage="extractor", reference="0123456789ab", attempts=1)

    @property
    def cancelled(self) -> facts.JobCancelled:
        return facts.JobCancelled(**self.of_job)

    @property
    def expired(self) -> facts.JobExpired:
        return facts.JobExpired(**self.of_job)

    @property
    def work(self) -> list[facts.AnyFact]:
        """Everything from `accepted` up to, and without, the end."""
        return [
            self.accepted,
            self.started,
            *([self.fetched] if self.source_url else []),
            self.extracted,
            self.planned,
            *(self.requested(n) for n in range(self.chunks)),
            *(self.transcribed(n) for n in range(self.chunks)),
            self.diarized,
        ]

    def ref(self, stage: str, suffix: str) -> ArtifactRef:
        """A result of a stage."""
        return ArtifactRef(key=f"cache/{self.owner}/{stage}/{self.content}.{suffix}", digest=self.content * 64, bytes=1)

    @property
    def _given(self) -> ArtifactRef | None:
        return None if self.source_url else self._source

    @property
    def _source(self) -> ArtifactRef:
        return ArtifactRef(key=f"uploads/{self.owner}/{self.job_id}", digest=self.content * 64, bytes=1)
