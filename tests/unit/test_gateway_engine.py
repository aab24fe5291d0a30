"""What callers are shown of jobs and facts."""

from datetime import UTC, datetime

import msgspec
import pytest

from contracts import facts
from contracts.artifacts import ArtifactRef
from contracts.parameters import Parameters
from contracts.progress import JobView, Stage, Status
from services.gateway.engine import HighWater, shown, spoken
from services.gateway.messages import Error, Progress
from services.gateway.outbox import Outbox, Overflow
from tests.contract.examples import EXAMPLES

AT = datetime(2026, 1, 2, tzinfo=UTC)


def job(job_id: str = "a", run: int = 1, **fractions: float) -> JobView:
    return JobView(
        job_id=job_id,
        owner="anon",
        run=run,
        seq=1,
        filename="a",
        source=ArtifactRef(key="uploads/anon/a", digest="d", bytes=1),
        parameters=Parameters(),
        token_sha256="0" * 64,
        status=Status.PROCESSING,
        stage_fractions={Stage(name): value for name, value in fractions.items()},
        accepted_at=AT,
        started_at=AT,
    )


@pytest.mark.parametrize("fact", EXAMPLES, ids=lambda fact: facts.name(fact))
def test_no_fact_tells_a_hash_or_a_place_in_the_store(fact: facts.AnyFact) -> None:
    name, content = spoken(fact)
    text = msgspec.json.encode(content).decode()
    assert "-" not in name
    for hidden in ("cache/", "uploads/", "digest", "sha256", "c" * 64, '"owner"', '"detail"'):
        assert hidden not in text


def test_a_job_shows_no_hash_and_no_place_in_the_store() -> None:
    text = msgspec.json.encode(shown(job())).decode()
    assert "uploads/" not in text
    assert "0" * 64 not in text


def test_progress_is_never_taken_back_within_a_run_but_begins_anew_with_the_next() -> None:
    high_water = HighWater()
    high_water.raised(job(extracting=0.8, transcribing=0.1))
    later = high_water.raised(job(extracting=0.2, diarizing=0.3))
    assert later.stage_fractions == {Stage.EXTRACTING: 0.8, Stage.TRANSCRIBING: 0.1, Stage.DIARIZING: 0.3}
    assert high_water.raised(job(run=2, extracting=0.1)).stage_fractions == {Stage.EXTRACTING: 0.1}
    assert high_water.raised(job("b")).stage_fractions == {}


def test_only_the_runs_seen_last_are_remembered() -> None:
    high_water = HighWater(runs=2)
    for job_id in ("a", "b", "a", "c"):
        high_water.raised(job(job_id, extracting=0.5))
    assert high_water.raised(job("a")).stage_fractions == {Stage.EXTRACTING: 0.5}
    assert high_water.raised(job("b")).stage_fractions == {}


def progress_of(job_id: str, value: float) -> Progress:
    return Progress(
        job_id=job_id, seq=1, run=1, status=Status.PROCESSING, progress=value, progress_stage=Stage.EXTRACTING,
        progress_message="", stages={},
    )  # fmt: skip


async def test_facts_are_kept_in_order_and_of_progress_the_last_word() -> None:
    outbox = Outbox(max_behind=10)
    outbox.put_progress(progress_of("a", 1.0))
    outbox.put(Error(code="1", message=""))
    outbox.put_progress(progress_of("a", 2.0))
    outbox.put(Error(code="2", message=""), live=True)
    sent = [msgspec.json.decode(await outbox.next()) for _ in range(3)]
    assert [one.get("code", one.get("progress")) for one in sent] == ["1", "2", 2.0]


async def test_what_was_asked_for_may_be_long_but_live_facts_only_wait_so_far() -> None:
    outbox = Outbox(max_behind=2)
    for _ in range(5):
        outbox.put(Error(code="replayed", message=""))
    outbox.put(Error(code="live", message=""), live=True)
    outbox.put(Error(code="live", message=""), live=True)
    await outbox.next()
    outbox.put(Error(code="live", message=""), live=True)
    with pytest.raises(Overflow):
        await outbox.next()
