"""Every invariant finds what it is there to find: a check that cannot fail would be a defect of its own."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from chassis.admission import Ledger, Place, State
from chassis.joblog import Entry
from contracts import facts, progress, subjects
from contracts.artifacts import ArtifactRef, finished_key
from contracts.failures import FailureCode
from contracts.parameters import Parameters
from tests.chaos import invariants
from tests.chaos.evidence import Consumer, Evidence, File
from tests.contract.examples import MEDIA

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RECEIPT = facts.StageReceipt(engine="test", seconds=0.0)


def ref(key: str) -> ArtifactRef:
    return ArtifactRef(key=key, digest="d" * 64, bytes=1)


def of(job_id: str = "a", run: int = 1) -> dict[str, Any]:
    return {"job_id": job_id, "run": run, "owner": "anon", "at": NOON}


def accepted(job_id: str = "a", run: int = 1, name: str = "") -> facts.JobAccepted:
    return facts.JobAccepted(
        **of(job_id, run), filename=name or job_id, source=ref(f"uploads/anon/{job_id}"), parameters=Parameters(),
        token_sha256="e" * 64,
    )  # fmt: skip


def started(job_id: str = "a") -> facts.JobStarted:
    return facts.JobStarted(
        **of(job_id), filename=job_id, source=ref(f"uploads/anon/{job_id}"), parameters=Parameters()
    )


def extracted(job_id: str = "a") -> facts.AudioExtracted:
    return facts.AudioExtracted(
        **of(job_id), audio=ref("cache/anon/extractor/x.wav"), peaks=ref("cache/anon/extractor/x.peaks.json"),
        media=MEDIA, parameters=Parameters(), receipt=RECEIPT,
    )  # fmt: skip


def transcribed(n: int = 0, *, key: str = "t") -> facts.ChunkTranscribed:
    return facts.ChunkTranscribed(**of(), n=n, segments=ref(key), captions=[], receipt=RECEIPT)


def completed(job_id: str = "a") -> facts.JobCompleted:
    return facts.JobCompleted(
        **of(job_id), results={"srt": ref("r.srt")}, language="en", duration_s=1.0, speakers=1, words=1,
        receipt=RECEIPT,
    )  # fmt: skip


def failed(job_id: str = "a") -> facts.JobFailed:
    return facts.JobFailed(**of(job_id), code=FailureCode.INTERNAL, stage="x", reference="r", attempts=1)


def log(*known: facts.AnyFact, seconds: float = 1.0) -> list[Entry]:
    return [
        Entry(
            seq=seq,
            subject=subjects.of(fact),
            body=facts.encode(fact),
            stored_at=NOON + timedelta(seconds=seq * seconds),
        )
        for seq, fact in enumerate(known, start=1)
    ]


def rows_of(entries: list[Entry]) -> dict[str, bytes]:
    views: dict[str, progress.JobView] = {}
    for entry in entries:
        fact = facts.decode(entry.body)
        view = progress.fold(views.get(fact.job_id), fact, entry.seq)
        assert view is not None
        views[fact.job_id] = view
    return {job_id: msgspec.json.encode(view) for job_id, view in views.items()}


def files(*paths: str, age_s: float = 100.0) -> list[File]:
    return [File(path=path, age_s=age_s) for path in paths]


WELL = log(accepted(), started(), extracted(), transcribed(), completed())
WELL_FILES = files(
    "uploads/anon/a", "cache/anon/extractor/x.wav", "cache/anon/extractor/x.peaks.json",
    "cache/anon/extractor/x.media.json", "t", "r.srt", finished_key("anon", "d" * 64, Parameters()),
)  # fmt: skip


def evidence(**changes: Any) -> Evidence:
    known: dict[str, Any] = {
        "entries": WELL,
        "files": WELL_FILES,
        "rows": rows_of(WELL),
        "ledger": Ledger(),
        "consumers": [Consumer(name="janitor", pending=0, unacked=0)],
    }
    return Evidence(**known | changes)


def test_where_all_is_well_nothing_is_said() -> None:
    assert invariants.verdict(evidence(), [("a", 1)], young_s=10).sentences == []


def test_a_promise_that_the_log_does_not_know_is_lost() -> None:
    assert len(invariants.without_acceptance(WELL, [("a", 1), ("b", 1)])) == 1
    assert len(invariants.without_acceptance(WELL, [("a", 2)])) == 1


def test_a_run_without_an_end_is_stuck() -> None:
    assert invariants.without_end(WELL) == []
    assert "planned" not in (sentence := invariants.without_end(WELL[:3])[0])
    assert sentence.endswith("extracted")
    assert len(invariants.without_end(log(*map(facts.decode, (e.body for e in WELL)), accepted(run=2)))) == 1


def test_two_ends_of_a_run_are_found_and_the_same_end_told_again_is_one() -> None:
    assert invariants.with_two_ends(log(accepted(), completed(), completed())) == []
    assert len(invariants.with_two_ends(log(accepted(), completed(), failed()))) == 1
    assert len(invariants.with_two_ends(log(completed()))) == 1


def test_a_fact_stored_with_two_contents_is_found() -> None:
    assert invariants.told_twice(log(transcribed(), transcribed(), transcribed(1))) == []
    assert len(invariants.told_twice(log(transcribed(), transcribed(key="other")))) == 1


def test_two_jobs_of_one_submit_are_found() -> None:
    assert invariants.accepted_twice(log(accepted("a"), accepted("a", 2), accepted("b"))) == []
    assert len(invariants.accepted_twice(log(accepted("a"), accepted("b", name="a")))) == 1


def test_rows_that_are_not_what_a_replay_makes_are_found() -> None:
    right = rows_of(WELL)
    gone = log(*map(facts.decode, (entry.body for entry in WELL)), facts.JobExpired(**of()))
    assert invariants.other_than_replayed(WELL, right) == []
    assert len(invariants.other_than_replayed(WELL, {})) == 1
    assert len(invariants.other_than_replayed(WELL, right | {"b": b"{}"})) == 1
    assert len(invariants.other_than_replayed(WELL, rows_of(WELL[:4]))) == 1
    assert invariants.other_than_replayed(gone, {}) == []
    assert len(invariants.other_than_replayed(gone, right)) == 1


@pytest.mark.parametrize("state", list(State))
def test_a_place_left_in_the_ledger_is_found(state: State) -> None:
    ledger = Ledger({"a": Place(owner="anon", counted_as="anon", run=1, state=state, since=NOON)})
    assert len(invariants.left_in_the_ledger(ledger)) == 1


@pytest.mark.parametrize(("pending", "unacked"), [(1, 0), (0, 1)])
def test_work_left_on_a_durable_is_found(pending: int, unacked: int) -> None:
    assert len(invariants.left_undone([Consumer(name="x", pending=pending, unacked=unacked)])) == 1


def test_a_file_that_nobody_speaks_of_is_an_orphan_once_it_is_old_enough() -> None:
    assert invariants.orphans(WELL, WELL_FILES, young_s=10) == []
    assert invariants.orphans(WELL, files("cache/anon/exporter/x.srt", age_s=9), young_s=10) == []
    assert len(invariants.orphans(WELL, files("cache/anon/exporter/x.srt", "tmp/work-1/audio.wav"), young_s=10)) == 2


def test_what_an_expired_job_alone_spoke_of_is_an_orphan() -> None:
    gone = log(*map(facts.decode, (entry.body for entry in WELL)), facts.JobExpired(**of()))
    assert len(invariants.orphans(gone, WELL_FILES, young_s=10)) == len(WELL_FILES)
    shared = log(*map(facts.decode, (entry.body for entry in gone)), accepted("b"), started("b"), extracted("b"))
    assert len(invariants.orphans(shared, WELL_FILES, young_s=10)) == 3


def test_the_longest_silence_is_that_of_a_run_in_work() -> None:
    # accepted and waiting is no silence, nor is what comes after the end
    assert invariants.longest_silence_s(log(accepted(), accepted("b"), started(), completed(), seconds=5.0)) == 5.0
    assert invariants.longest_silence_s(log(started(), accepted("b"), completed(), completed(), seconds=5.0)) == 10.0


def test_each_kind_of_defect_is_counted_where_it_belongs() -> None:
    found = invariants.verdict(
        evidence(
            entries=log(accepted(), completed(), failed()),
            rows={},
            consumers=[Consumer(name="x", pending=1, unacked=0)],
        ),
        [("b", 1)],
        young_s=10,
    )
    assert (len(found.lost), len(found.stuck)) == (1, 1)
    assert len(found.duplicated) == 1
    assert found.other
