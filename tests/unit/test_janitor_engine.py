"""What may be deleted, and when a job expires."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from contracts import facts
from contracts.artifacts import finished_key
from contracts.failures import FailureCode
from services.janitor.engine import Job, Survey, doors_first, expiry, may_expire, useless_uploads
from tests.runs import Run

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def survey(*lives: list[facts.AnyFact]) -> Survey:
    made = Survey()
    for seq, fact in enumerate([fact for life in lives for fact in life], start=1):
        made.add(seq, fact)
    return made


def old(keys: Iterable[str]) -> dict[str, datetime]:
    """Files, of long before any job."""
    return dict.fromkeys(keys, NOW - timedelta(days=1))


def whole(run: Run) -> list[facts.AnyFact]:
    return [*run.work, run.completed]


def note(run: Run) -> str:
    return finished_key(run.owner, run.accepted.source.digest, run.parameters)


def test_an_expired_job_takes_everything_with_it_the_doors_first() -> None:
    run = Run("a")
    removable = survey([*whole(run), run.expired]).removable("a")
    assert set(removable[:2]) == {"cache/anon/extractor/a.media.json", note(run)}
    assert set(removable[2:]) == {
        "uploads/anon/a",
        "cache/anon/extractor/a.wav",
        "cache/anon/extractor/a.peaks.json",
        "cache/anon/planner/a.plan.json",
        "cache/anon/transcriber/a.0.segments.json",
        "cache/anon/transcriber/a.1.segments.json",
        "cache/anon/diarizer/a.turns.json",
        "cache/anon/exporter/a.srt",
        "cache/anon/exporter/a.vtt",
    }


def test_a_job_that_is_kept_keeps_its_files() -> None:
    run = Run("a")
    assert survey(whole(run)).removable("a") == []
    assert survey(whole(run)).removable("unknown") == []


def test_what_another_job_speaks_of_is_spared() -> None:
    first, second = Run("a"), Run("b", num_speakers=2)
    known = survey([*whole(first), first.expired], whole(second))
    assert known.removable("a") == [note(first), "uploads/anon/a"]
    known.add(99, second.expired)
    assert len(known.removable("b")) == 11


def test_another_owner_s_files_are_another_s() -> None:
    first, second = Run("a"), Run("b", owner="somebody")
    assert len(survey([*whole(first), first.expired], whole(second)).removable("a")) == 11


def test_while_the_same_recording_is_worked_on_results_are_kept() -> None:
    first, second = Run("a"), Run("b")
    known = survey([*whole(first), first.expired], [second.accepted])
    assert known.removable("a") == ["uploads/anon/a"]
    assert known.abandoned(old(["cache/anon/extractor/a.wav"])) == []
    known.add(99, second.failed())
    assert known.abandoned(old(["cache/anon/extractor/a.wav"])) == ["cache/anon/extractor/a.wav"]


def test_what_is_fetched_for_a_job_is_kept_while_it_is_fetched_and_goes_with_it() -> None:
    run = Run("a", source_url="https://example.com/talk.mp4")
    folder = "uploads/anon/a.fetched/"
    begun, stale, foreign = folder + "a/00000", folder + "b/00000", "uploads/anon/ab.fetched/a/00000"
    known = survey([run.accepted, run.started])
    assert known.abandoned(old([begun, stale, foreign])) == [foreign]

    known = survey(whole(run))
    assert known.abandoned(old([folder + "note.json", begun, folder + "a/00001", stale])) == [stale]

    known.add(99, run.expired)
    removable = known.removable("a")
    assert removable.index(folder + "note.json") < removable.index(begun)
    assert {begun, folder + "a/00001", note(Run("a"))} <= set(removable)
    assert known.folder("a") == folder


def test_what_was_fetched_and_is_no_recording_is_useless_at_once() -> None:
    run = Run("a", source_url="https://example.com/talk.mp4")
    known = [run.accepted, run.started, run.fetched]
    folder = "uploads/anon/a.fetched/"
    assert useless_uploads([*known, run.failed(FailureCode.NOT_MEDIA)]) == [
        folder + "note.json", folder + "a/00000", folder + "a/00001"
    ]  # fmt: skip
    assert useless_uploads([*known, run.failed(FailureCode.INTERNAL)]) == []


def test_a_forged_job_has_no_folder_beside_its_owner_s() -> None:
    run = Run("../somebody/b", source_url="https://example.com/talk.mp4")
    assert survey([run.accepted, run.failed(), run.expired]).folder("../somebody/b") is None


def test_a_retry_takes_an_expired_job_back() -> None:
    first, second = Run("a"), Run("a", run=2)
    assert survey([first.accepted, first.failed(), first.expired, second.accepted]).removable("a") == []


def test_a_fact_that_comes_again_is_no_news() -> None:
    first, second = Run("a"), Run("a", run=2)
    known = survey([first.accepted, first.failed(), second.accepted, first.failed(), first.accepted])
    assert known.jobs["a"].live


def test_forged_facts_have_nothing_of_others_deleted() -> None:
    run = Run("a", owner="mallory")
    hostile = msgspec.structs.replace(
        run.diarized, turns=msgspec.structs.replace(run.ref("x", "y"), key="cache/anon/exporter/a.srt")
    )
    escaping = msgspec.structs.replace(
        run.diarized, turns=msgspec.structs.replace(run.ref("x", "y"), key="cache/mallory/../anon/a.srt")
    )
    assert survey([run.accepted, hostile, escaping, run.failed(), run.expired]).removable("a") == ["uploads/mallory/a"]


def test_jobs_that_left_the_log_are_forgotten() -> None:
    known = survey(whole(Run("a")), [Run("b").accepted])
    known.forget(len(whole(Run("a"))) + 1)
    assert list(known.jobs) == ["b"]


def test_files_that_nobody_speaks_of_are_abandoned() -> None:
    keys = [
        "uploads/anon/a",
        "uploads/anon/broken-off",
        "cache/anon/extractor/z.wav",
        "cache/anon/extractor/z.media.json",
    ]
    assert survey([Run("a").accepted]).abandoned(old(keys)) == [
        "cache/anon/extractor/z.media.json",
        "cache/anon/extractor/z.wav",
        "uploads/anon/broken-off",
    ]


def test_a_result_that_nobody_spoke_of_stays_while_its_recording_may_be_worked_on() -> None:
    # given a job that crashed over a chunk, and a later one of the same recording; others of the owner and of somebody
    first, second = Run("a", at=NOW), Run("b", at=NOW + timedelta(days=3))
    known = survey([first.accepted, first.started, first.failed(), first.expired], [second.accepted])
    known.add(90, Run("c", content="c", at=NOW - timedelta(days=9)).accepted)
    known.add(91, Run("c", content="c", at=NOW - timedelta(days=9)).cancelled)
    made_at = {
        "cache/anon/transcriber/of-the-first-job.json": NOW + timedelta(hours=1),
        "cache/anon/transcriber/older-than-it.json": NOW - timedelta(hours=1),
        "cache/somebody/transcriber/of-another-owner.json": NOW + timedelta(hours=1),
        "uploads/anon/broken-off": NOW + timedelta(hours=1),
    }
    # then what may be of that recording is kept until the job has ended
    assert known.abandoned(made_at) == sorted(made_at)[1:]
    known.add(99, second.completed)
    assert known.abandoned(made_at) == sorted(made_at)


def test_an_upload_is_no_door_whatever_it_is_called() -> None:
    assert doors_first({"uploads/anon/job", "cache/anon/job/f.json"}) == ["cache/anon/job/f.json", "uploads/anon/job"]


def test_a_job_expires_once_its_time_has_come() -> None:
    run = Run("a", at=NOW)
    known = survey([run.accepted, run.failed()]).jobs["a"]
    expired = expiry("a", known, 60.0, NOW + timedelta(seconds=5))
    assert expired is not None
    assert (expired.run, expired.at, expired.on_request) == (1, NOW + timedelta(seconds=60), False)


@pytest.mark.parametrize("ahead", [datetime.max.replace(tzinfo=UTC), (NOW + timedelta(days=400)).replace(tzinfo=None)])
def test_a_clock_that_was_ahead_keeps_nothing_for_ever(ahead: datetime) -> None:
    expired = expiry("a", Job(owner="anon", run=1, ended_at=ahead), 60.0, NOW)
    assert expired is not None
    assert expired.at == NOW + timedelta(seconds=60)


def test_what_has_not_ended_or_has_expired_is_not_scheduled() -> None:
    run = Run("a")
    assert expiry("a", survey([run.accepted]).jobs["a"], 60.0, NOW) is None
    assert expiry("a", survey([run.accepted, run.failed(), run.expired]).jobs["a"], 60.0, NOW) is None


def test_a_retried_job_does_not_expire_with_its_first_run() -> None:
    first, second = Run("a"), Run("a", run=2)
    assert may_expire([first.accepted, first.failed()], first.expired)
    assert not may_expire([first.accepted, first.failed(), second.accepted], first.expired)
    assert not may_expire([second.accepted, second.started], second.expired)
    assert may_expire([], first.expired)


def test_only_the_upload_of_a_hopeless_job_is_useless() -> None:
    run = Run("a")
    assert useless_uploads([run.accepted, run.failed(FailureCode.NO_AUDIO)]) == ["uploads/anon/a"]
    assert useless_uploads([run.accepted, run.failed(FailureCode.STORE_FULL)]) == []
    assert useless_uploads([run.accepted, run.failed(FailureCode.ARTIFACT_MISSING)]) == []
    assert useless_uploads([run.accepted, run.failed(FailureCode.SOURCE_MISSING)]) == ["uploads/anon/a"]


def test_corrections_are_kept_with_their_job_and_go_with_it() -> None:
    run, equal = Run("a"), Run("b")
    files = {"edits/anon/a/1.json", "cache/anon/exporter/a.1.srt", "cache/anon/exporter/a.1.vtt"}
    known = survey([*whole(run), run.edited(1), run.exported(1)])
    assert known.abandoned(old(sorted(files))) == []
    # and at once, though the results of the same recording may be used by another job that runs
    for seq, fact in enumerate([run.expired, equal.accepted, equal.started], start=90):
        known.add(seq, fact)
    assert files <= set(known.removable("a"))
    assert "cache/anon/exporter/a.srt" not in known.removable("a")


def test_a_correction_after_the_end_of_its_job_is_swept() -> None:
    run = Run("a")
    known = survey([*whole(run), run.expired, run.edited(1)])
    assert known.abandoned(old(["edits/anon/a/1.json"])) == ["edits/anon/a/1.json"]
    assert not known.jobs["a"].unexported


def test_a_job_works_again_while_a_correction_is_exported() -> None:
    run = Run("a")
    known = survey([*whole(run), run.edited(1)])
    assert (known.jobs["a"].live, known.jobs["a"].unexported) == (False, True)
    known.add(99, run.exported(1))
    assert not known.jobs["a"].unexported
