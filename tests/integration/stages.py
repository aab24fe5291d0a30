"""Plays the stages on the log: the facts that a job would get from them, and what they store."""

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import msgspec

from chassis.joblog import JobLog
from chassis.store import Store
from contracts import facts
from contracts.artifacts import ArtifactRef
from contracts.failures import FailureCode
from contracts.progress import JobView
from contracts.quality import Quality
from contracts.transcript import MediaFacts, MediaTrack

RECEIPT = facts.StageReceipt(engine="test/1", seconds=0.1)
RESULTS = {
    "srt": b"1\n00:00:00,000 --> 00:00:01,000\nhello\n",
    "vtt": b"WEBVTT\n\n00:00.000 --> 00:01.000\n<v Speaker 1>hello\n",
    "json": b'{"language":"en","segments":[{"id":0,"start":0.0,"end":1.0,"text":"hello"}]}',
    "txt": b"hello\n",
}

MORE = {
    "social.srt": b"1\n00:00:00,000 --> 00:00:01,000\nhel\n",
    "social.vtt": b"WEBVTT\n\n00:00.000 --> 00:01.000\nhel\n",
    "quality": msgspec.json.encode(
        Quality(
            words=1, mean_probability=0.9, doubtful_words=0, doubtful_below=0.4, attributed=1.0, longest_silence_s=9.0,
            longest_silence_at=1.0, warnings=[], presets=[],
        )
    ),
}  # fmt: skip
"""What an exporter stores beside them; one of long ago did not."""


def ref(key: str, content: bytes = b"x") -> ArtifactRef:
    """A reference to an artifact that nobody reads."""
    return ArtifactRef(key=key, digest="d" * 64, bytes=len(content))


class Stages:
    """All stages after the gateway, for one job."""

    def __init__(self, joblog: JobLog, job_id: str, run: int = 1) -> None:
        self.joblog = joblog
        self.job_id = job_id
        self.run = run

    @property
    def of_job(self) -> dict[str, Any]:
        """What every fact says."""
        return {"job_id": self.job_id, "run": self.run, "owner": "anon", "at": datetime.now(UTC)}

    async def view(self) -> JobView:
        """The job."""
        view = await self.joblog.view(self.job_id)
        assert view is not None
        return view

    async def start(self) -> int:
        """The dispatcher starts the job."""
        view = await self.view()
        return await self._append(
            facts.JobStarted(**self.of_job, filename=view.filename, source=view.source, parameters=view.parameters)
        )

    async def extract(self) -> int:
        """The extractor is done."""
        media = MediaFacts(
            duration_s=10.0, container="mp4", tracks=[MediaTrack(index=0, kind="audio", codec="aac")], audio_track=0
        )
        view = await self.view()
        return await self._append(
            facts.AudioExtracted(
                **self.of_job,
                audio=ref("cache/anon/extractor/a.wav"),
                peaks=ref("cache/anon/extractor/a.json"),
                media=media,
                parameters=view.parameters,
                receipt=RECEIPT,
            )
        )

    async def plan(self, chunks: int) -> int:
        """The transcriber has a plan."""
        return await self._append(
            facts.TranscriptionPlanned(
                **self.of_job,
                plan=ref("cache/anon/planner/p.json"),
                chunks=chunks,
                chunk_speech_s=[1.0] * chunks,
                language="en",
                language_probability=0.9,
                language_source="detected",
                speech_s=float(chunks),
                receipt=RECEIPT,
            )
        )

    async def transcribe(self, n: int) -> int:
        """The transcriber is done with a chunk."""
        return await self._append(
            facts.ChunkTranscribed(
                **self.of_job,
                n=n,
                segments=ref(f"cache/anon/transcriber/{n}.json"),
                captions=[facts.Caption(start=float(n), end=n + 1.0, text=f"chunk {n}")],
                receipt=RECEIPT,
            )
        )

    async def complete(self, store: Store, more: Mapping[str, bytes] = MappingProxyType({})) -> int:
        """The exporter stores the results."""
        results = {}
        for name, content in {**RESULTS, **more}.items():
            key = f"cache/anon/exporter/{self.job_id}.{name}"
            await store.put(key, content)
            results[name] = ref(key, content)
        return await self._append(
            facts.JobCompleted(
                **self.of_job, results=results, language="en", duration_s=10.0, speakers=1, words=1, receipt=RECEIPT
            )
        )

    async def fail(self) -> int:
        """A stage gives up."""
        return await self._append(
            facts.JobFailed(
                **self.of_job,
                code=FailureCode.NO_AUDIO,
                stage="extractor",
                reference="abc123",
                attempts=1,
                detail="/secret/path has no audio",
            )
        )

    async def _append(self, fact: facts.Fact) -> int:
        seq = await self.joblog.append(fact)
        assert seq is not None
        return seq
