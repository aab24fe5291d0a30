"""One example of every fact, with every field set; their bytes are in `golden/`."""

from datetime import UTC, datetime

from contracts import facts
from contracts.artifacts import ArtifactRef
from contracts.failures import FailureCode
from contracts.parameters import Parameters
from contracts.transcript import Chunk, MediaFacts, MediaTrack, Region

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
OF_JOB = {"job_id": "0123456789abcdef0123456789abcdef", "run": 1, "owner": "anon", "at": AT}
SOURCE = ArtifactRef(key="uploads/anon/0123", digest="5" * 64, bytes=960_044)
AUDIO = ArtifactRef(key="cache/anon/extractor/aa.wav", digest="a" * 64, bytes=960_044)
PLAN = ArtifactRef(key="cache/anon/planner/bb.plan.json", digest="b" * 64, bytes=321)
PARAMETERS = Parameters(
    language="en", model="base", initial_prompt="Hello.", hotwords="Subtide", min_speakers=1, max_speakers=4
)
RECEIPT = facts.StageReceipt(engine="engine/1", seconds=1.5, attempts=2, cached_at=AT)
MEDIA = MediaFacts(
    duration_s=30.0,
    container="mov,mp4",
    tracks=[
        MediaTrack(index=0, kind="video", codec="h264", width=640, height=360),
        MediaTrack(index=1, kind="audio", codec="aac", language="eng", default=True, sample_rate=48_000, channels=2),
    ],
    audio_track=1,
    warnings=["truncated"],
)
CHUNK = Chunk(n=0, start=0.0, end=29.5, regions=[Region(0.5, 12.25), Region(13.0, 29.0)])

EXAMPLES: list[facts.Fact] = [
    facts.JobAccepted(
        **OF_JOB,
        filename='a "b"\n😀.mp4',
        source=SOURCE,
        parameters=PARAMETERS,
        token_sha256="c" * 64,
        tier=1,
        cached_at=AT,
    ),
    facts.BatchAccepted(
        **OF_JOB,
        items=[
            facts.BatchItem(job_id="1" * 32, filename="a.mp4", source=SOURCE, token_sha256="d" * 64),
            facts.BatchItem(
                job_id="2" * 32, filename="b.mp4", source_url="https://example.org/b.mp4", token_sha256="e" * 64
            ),
        ],
        parameters=PARAMETERS,
        token_sha256="f" * 64,
    ),
    facts.JobStarted(**OF_JOB, filename="talk.mp4", source=SOURCE, parameters=PARAMETERS),
    facts.SourceFetched(
        **OF_JOB,
        filename="talk.mp4",
        source=ArtifactRef(
            key="uploads/anon/0123.fetched/ee", digest="e" * 64, bytes=9 << 20, parts=[8 << 20, 1 << 20]
        ),
        parameters=PARAMETERS,
        receipt=RECEIPT,
    ),
    facts.AudioExtracted(**OF_JOB, audio=AUDIO, peaks=AUDIO, media=MEDIA, parameters=PARAMETERS, receipt=RECEIPT),
    facts.TranscriptionPlanned(
        **OF_JOB,
        plan=PLAN,
        chunks=1,
        chunk_speech_s=[27.75],
        language="en",
        language_probability=0.98,
        language_source="detected",
        speech_s=27.75,
        receipt=RECEIPT,
    ),
    facts.ChunkRequested(
        **OF_JOB, n=0, chunk=CHUNK, chunks=1, language="en", audio=AUDIO, plan=PLAN, parameters=PARAMETERS
    ),
    facts.ChunkTranscribed(
        **OF_JOB,
        n=0,
        segments=PLAN,
        captions=[facts.Caption(start=0.5, end=2.0, text="Hello?")],
        receipt=RECEIPT,
    ),
    facts.SpeakersDiarized(**OF_JOB, turns=PLAN, speakers=2, receipt=RECEIPT),
    facts.JobCompleted(
        **OF_JOB,
        results={"srt": PLAN, "vtt": PLAN},
        language="en",
        duration_s=30.0,
        speakers=2,
        words=80,
        warnings=["truncated"],
        cached=True,
        cached_at=AT,
        receipt=RECEIPT,
    ),
    facts.JobFailed(
        **OF_JOB, code=FailureCode.NO_AUDIO, stage="extractor", reference="0123456789ab", attempts=1, detail="2 tracks"
    ),
    facts.JobCancelled(**OF_JOB),
    facts.JobExpired(**OF_JOB),
    facts.ShareMinted(**OF_JOB, n=1, token_sha256="d" * 64),
    facts.ShareRevoked(**OF_JOB, n=1),
    facts.TranscriptEdited(
        **OF_JOB, n=2, based_on=1, transcript=PLAN, words=3, speakers=1, restored=0, edited_as="e" * 64, asked="f" * 64
    ),
    facts.VersionExported(
        **OF_JOB,
        n=2,
        results={"srt": PLAN, "social.srt": PLAN},
        speakers=2,
        words=81,
        receipt=RECEIPT,
        failed=FailureCode.SOURCE_MISSING,
        reference="0123456789ab",
    ),
]
