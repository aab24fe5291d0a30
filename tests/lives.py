"""Whole lives of jobs, as facts: the same ones for the same number."""

from datetime import UTC, datetime, timedelta
from typing import Any

from contracts import facts
from contracts.artifacts import ArtifactRef
from contracts.failures import FailureCode
from contracts.parameters import Parameters
from contracts.transcript import Chunk, MediaFacts, MediaTrack, Region

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RECEIPT = facts.StageReceipt(engine="test/1", seconds=0.25)
MEDIA = MediaFacts(
    duration_s=10.0, container="mp4", tracks=[MediaTrack(index=0, kind="audio", codec="aac")], audio_track=0
)
ENDS = ("completed", "failed", "cancelled", "expired", "retried", "running")
"""How the life of job n ends: the one at n modulo their number."""


def ref(key: str) -> ArtifactRef:
    """A reference to an artifact that nobody reads."""
    return ArtifactRef(key=key, digest="d" * 64, bytes=1)


def life(number: int) -> list[facts.AnyFact]:
    """The facts of job `number`, in an order that they may come in."""
    end = ENDS[number % len(ENDS)]
    whole: list[facts.AnyFact] = [accepted(number), *_work(number, 1)]
    match end:
        case "completed":
            whole.append(_completed(number, 1))
        case "failed":
            whole.append(_failed(number))
        case "cancelled":
            whole.append(facts.JobCancelled(**_of(number, 1)))
        case "expired":
            whole += [_completed(number, 1), facts.JobExpired(**_of(number, 1))]
            whole.append(facts.ShareRevoked(**_of(number, 1), n=1))  # late
        case "retried":
            whole += [_failed(number), accepted(number, run=2), *_work(number, 2), _completed(number, 2)]
    return whole


def accepted(number: int, *, run: int = 1) -> facts.JobAccepted:
    """The first fact of a run."""
    return facts.JobAccepted(
        **_of(number, run),
        filename="talk\x00.mp4",  # no clean name, but one that must not stop anything
        source=ref(f"uploads/anon/{number}"),
        parameters=Parameters(),
        token_sha256=f"{number:064x}",
    )


def _work(number: int, run: int) -> list[facts.AnyFact]:
    of_job, parameters, audio, plan = _of(number, run), Parameters(), ref("audio"), ref("plan")
    done: list[facts.AnyFact] = [
        facts.JobStarted(**of_job, filename="talk\x00.mp4", source=ref("source"), parameters=parameters),
        facts.AudioExtracted(
            **of_job, audio=audio, peaks=ref("peaks"), media=MEDIA, parameters=parameters, receipt=RECEIPT
        ),
        facts.TranscriptionPlanned(
            **of_job,
            plan=plan,
            chunks=2,
            chunk_speech_s=[3.0, 1.0],
            language="en",
            language_probability=0.9,
            language_source="detected",
            speech_s=4.0,
            receipt=RECEIPT,
        ),
    ]
    for n in (0, 1):
        chunk = Chunk(n=n, start=5.0 * n, end=5.0 * n + 5.0, regions=[Region(5.0 * n, 5.0 * n + 3.0)])
        done.append(
            facts.ChunkRequested(
                **of_job, n=n, chunk=chunk, chunks=2, language="en", audio=audio, plan=plan, parameters=parameters
            )
        )
        done.append(facts.ChunkTranscribed(**of_job, n=n, segments=ref(f"{n}"), captions=[], receipt=RECEIPT))
    if run == 1:
        done += [facts.ShareMinted(**of_job, n=n, token_sha256=f"{n}{number:063x}") for n in (1, 2)]
        done.append(facts.ShareRevoked(**of_job, n=2))
    return [*done, facts.SpeakersDiarized(**of_job, turns=ref("turns"), speakers=2, receipt=RECEIPT)]


def _completed(number: int, run: int) -> facts.JobCompleted:
    return facts.JobCompleted(
        **_of(number, run),
        results={"srt": ref("srt")},
        language="en",
        duration_s=10.0,
        speakers=2,
        words=20,
        warnings=["truncated"],
        receipt=RECEIPT,
    )


def _failed(number: int) -> facts.JobFailed:
    return facts.JobFailed(**_of(number, 1), code=FailureCode.NO_AUDIO, stage="extractor", reference="r", attempts=1)


def _of(number: int, run: int) -> dict[str, Any]:
    at = AT + timedelta(minutes=number, hours=run)
    return {"job_id": f"{number:032x}", "run": run, "owner": "anon", "at": at}
