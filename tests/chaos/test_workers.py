"""Workers that die, hang, stop and come back: every job ends, and finished work is not done again."""

import asyncio
from collections import Counter

import psutil
import pytest

from contracts import facts
from tests.chaos.cluster import Service
from tests.chaos.conftest import Job, Patient
from tests.chaos.engines import Misdeed, Script
from tests.integration.conftest import until

STAGE = {"extract": "extractor", "plan": "transcriber", "transcribe": "transcriber", "diarize": "diarizer"}


async def holder(patient: Patient, job: Job, step: str) -> Service:
    """The process whose engine is in the middle of a step."""
    await until(lambda: patient.notes(job, step, ended=False), 20)
    engine = patient.notes(job, step, ended=False)[-1].pid
    for service in patient.cluster.of(STAGE[step]):
        if engine in service.descendants():
            return service
    raise AssertionError("nobody has the engine")


def transcribed(known: list[facts.AnyFact]) -> list[int]:
    return sorted(fact.n for fact in known if isinstance(fact, facts.ChunkTranscribed))


async def test_a_transcriber_killed_in_mid_chunk_costs_that_chunk_alone(patient: Patient) -> None:
    # given a job whose third chunk is being transcribed
    job = await patient.submit(Script(salt="mid-chunk", chunks=6, work_s=0.6))
    await until(lambda: patient.notes(job, "transcribe", ended=True), 20)
    victim = await holder(patient, job, "transcribe")
    victim.kill()
    # when its worker is killed, another does it
    assert isinstance(await patient.end(job), facts.JobCompleted)
    begun = Counter(note.chunk for note in patient.notes(job, "transcribe", ended=False))
    assert transcribed(await patient.known(job)) == list(range(6))
    assert sum(begun.values()) <= 6 + 1
    await patient.quiet()


@pytest.mark.parametrize("step", ["extract", "diarize"])
async def test_a_worker_that_is_killed_loses_its_message_to_another(patient: Patient, step: str) -> None:
    job = await patient.submit(Script(salt=f"killed-{step}", chunks=1, work_s=0.5))
    (await holder(patient, job, step)).kill()
    assert isinstance(await patient.end(job), facts.JobCompleted)
    assert len(patient.notes(job, step, ended=False)) == 2


async def test_the_engine_of_a_killed_worker_dies_with_it(patient: Patient) -> None:
    job = await patient.submit(Script(salt="orphaned engine", chunks=1, work_s=0.8))
    victim = await holder(patient, job, "transcribe")
    engine = patient.notes(job, "transcribe", ended=False)[-1].pid
    descendants = victim.descendants
    assert engine in descendants()
    victim.kill()
    await until(lambda: not _exists(engine), 10)
    assert isinstance(await patient.end(job), facts.JobCompleted)


async def test_a_worker_that_was_stopped_past_ack_wait_and_goes_on_counts_once(patient: Patient) -> None:
    # given a worker in the middle of a chunk that is stopped until another has had it
    job = await patient.submit(Script(salt="stopped", chunks=1, work_s=0.8))
    sleeper = await holder(patient, job, "transcribe")
    sleeper.suspend()
    try:
        assert isinstance(await patient.end(job), facts.JobCompleted)
    finally:
        sleeper.resume()
    # when it goes on and finishes too
    await until(lambda: len(patient.notes(job, "transcribe", ended=True)) == 2, 20)
    await patient.quiet()
    # then there is one fact
    assert transcribed(await patient.known(job)) == [0]


async def test_an_engine_that_always_crashes_fails_its_job_and_no_other(patient: Patient) -> None:
    crashing = Misdeed(step="extract", act="crash")
    cursed = await patient.submit(Script(salt="always crashes", misdeeds=[crashing]))
    others = [await patient.submit(Script(salt=f"beside the crash {n}", chunks=2)) for n in range(3)]
    failed = await patient.end(cursed)
    assert isinstance(failed, facts.JobFailed)
    assert (failed.code, failed.attempts, failed.stage) == ("decoder_crashed", 4, "extractor")
    for other in others:
        assert isinstance(await patient.end(other), facts.JobCompleted)


@pytest.mark.parametrize("step", ["plan", "transcribe"])
async def test_a_transcription_that_always_crashes_is_a_lost_worker(patient: Patient, step: str) -> None:
    misdeed = Misdeed(step=step, act="crash")  # type: ignore[arg-type]
    job = await patient.submit(Script(salt=f"crashes in {step}", chunks=1, misdeeds=[misdeed]))
    failed = await patient.end(job)
    assert isinstance(failed, facts.JobFailed)
    assert (failed.code, failed.attempts, failed.stage) == ("worker_lost", 4, "transcriber")


@pytest.mark.parametrize("step", ["extract", "plan", "transcribe", "diarize"])
@pytest.mark.parametrize("act", ["crash", "retryable"])
async def test_an_engine_that_fails_twice_is_tried_again(patient: Patient, step: str, act: str) -> None:
    misdeed = Misdeed(step=step, act=act, times=2)  # type: ignore[arg-type]
    job = await patient.submit(Script(salt=f"{act} twice in {step}", chunks=1, misdeeds=[misdeed]))
    assert isinstance(await patient.end(job), facts.JobCompleted)
    assert len(patient.notes(job, step, ended=False)) == 3


async def test_a_diarizer_that_always_crashes_is_gone_without(patient: Patient) -> None:
    job = await patient.submit(Script(salt="no speakers", misdeeds=[Misdeed(step="diarize", act="crash")]))
    completed = await patient.end(job)
    assert isinstance(completed, facts.JobCompleted)
    assert completed.warnings == ["diarization_failed"]


async def test_a_worker_told_to_stop_hands_its_chunk_back_and_it_is_no_try(patient: Patient) -> None:
    job = await patient.submit(Script(salt="handed back", chunks=1, work_s=1.0))
    leaving = await holder(patient, job, "transcribe")
    assert await leaving.terminate() == 0
    assert isinstance(await patient.end(job), facts.JobCompleted)
    known = await patient.known(job)
    assert [fact.receipt.attempts for fact in known if isinstance(fact, facts.ChunkTranscribed)] == [1]


async def test_two_equal_uploads_in_flight_share_what_they_can_and_both_end(patient: Patient) -> None:
    script = Script(salt="twins", chunks=3, work_s=0.2)
    answers = await asyncio.gather(*(patient.try_submit(script, key=f"twin-{n}") for n in range(2)))
    jobs = [
        Job(script=script, job_id=answer.json()["job_id"], token=answer.json()["access_token"]) for answer in answers
    ]
    ends = [await patient.end(job) for job in jobs]
    assert [facts.name(end) for end in ends] == ["completed", "completed"]
    results = [end.results["srt"].key for end in ends if isinstance(end, facts.JobCompleted)]
    assert results[0] == results[1]


def _exists(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
