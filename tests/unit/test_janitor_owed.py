"""What the facts of a run call for, case by case."""

import pytest

from contracts import facts
from services.janitor.owed import owed
from tests.runs import Run

RUN = Run("a", chunks=3)
PLANNED = [RUN.accepted, RUN.started, RUN.extracted, RUN.planned]


def what(known: list[facts.AnyFact], window: int = 2) -> list[tuple[str, str]]:
    return [
        (step.durable, facts.name(step.fact) + (f".{step.fact.n}" if isinstance(step.fact, facts.NumberedFact) else ""))
        for step in owed(known, window=window)
    ]


def test_a_job_that_waits_is_owed_nothing() -> None:
    assert what([]) == what([RUN.accepted]) == []


def test_a_started_job_is_owed_its_sound() -> None:
    assert what([RUN.accepted, RUN.started]) == [("extractor", "started")]


def test_a_job_with_an_address_is_owed_its_recording_and_then_its_sound() -> None:
    run = Run("a", source_url="https://example.com/talk.mp4")
    assert what([run.accepted, run.started]) == [("fetcher", "started")]
    assert what([run.accepted, run.started, run.fetched]) == [("extractor", "fetched")]
    assert what([run.accepted, run.started, run.fetched, run.extracted]) == what(PLANNED[:3])
    assert what(run.work) == [("exporter", "diarized")]


def test_sound_is_owed_a_plan_and_its_speakers() -> None:
    assert what(PLANNED[:3]) == [("transcriber", "extracted"), ("diarizer", "extracted")]
    assert what([*PLANNED[:3], RUN.diarized]) == [("transcriber", "extracted")]


def test_a_plan_is_owed_the_first_requests() -> None:
    assert what([*PLANNED, RUN.diarized, RUN.requested(0)]) == [
        ("transcriber", "extracted"),
        ("transcriber", "chunk-requested.0"),
    ]


def test_a_request_is_owed_its_words() -> None:
    known = [*PLANNED, RUN.diarized, RUN.requested(0), RUN.requested(1)]
    assert what(known) == [("transcriber", "chunk-requested.0"), ("transcriber", "chunk-requested.1")]


def test_a_chunk_that_is_done_is_owed_the_request_of_the_one_a_window_later() -> None:
    known = [*PLANNED, RUN.diarized, RUN.requested(0), RUN.requested(1), RUN.transcribed(0), RUN.transcribed(1)]
    assert what(known) == [("transcriber", "chunk-requested.0")]
    assert what([*known, RUN.requested(2)]) == [("transcriber", "chunk-requested.2")]


def test_a_window_that_was_made_wider_in_mid_job_leaves_no_gap() -> None:
    known = [*PLANNED, RUN.diarized, RUN.requested(0), RUN.transcribed(0)]  # requested with a window of 1
    assert what(known, window=3) == [("transcriber", "extracted")]


def test_when_everything_is_there_the_last_of_it_is_owed_an_end() -> None:
    assert what(RUN.work) == [("exporter", "diarized")]
    assert what([*(fact for fact in RUN.work if fact != RUN.transcribed(1)), RUN.transcribed(1)]) == [
        ("exporter", "chunk-transcribed.1")
    ]


def test_a_recording_without_speech_is_owed_an_end() -> None:
    silent = Run("a", chunks=0)
    assert what([silent.started, silent.extracted, silent.diarized, silent.planned]) == [("exporter", "planned")]


@pytest.mark.parametrize("end", [RUN.completed, RUN.failed(), RUN.cancelled, RUN.expired])
def test_a_run_that_is_over_is_owed_nothing(end: facts.AnyFact) -> None:
    assert what([*PLANNED, end]) == []


def test_a_correction_is_owed_its_subtitles_though_the_run_is_over() -> None:
    whole = [*RUN.work, RUN.completed]
    assert what([*whole, RUN.edited(1), RUN.edited(2), RUN.exported(1)]) == [("exporter", "edited.2")]
    assert what([*whole, RUN.edited(1), RUN.exported(1)]) == []
    assert what([*whole, RUN.edited(1), RUN.expired]) == []
