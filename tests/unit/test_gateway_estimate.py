"""How long jobs take, from jobs like them."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.artifacts import ArtifactRef
from contracts.parameters import Parameters
from contracts.progress import WORK, JobView, Stage, Status
from contracts.transcript import MediaFacts
from services.gateway.estimate import Experience, experience

AT = datetime(2026, 1, 2, tzinfo=UTC)
SECONDS = {Stage.EXTRACTING: 2.0, Stage.TRANSCRIBING: 30.0, Stage.DIARIZING: 20.0}


def media(duration_s: float) -> MediaFacts:
    return MediaFacts(duration_s=duration_s, container="mp4", tracks=[], audio_track=0)


def completed(
    *,
    audio_s: float = 100.0,
    size: int = 1_000_000,
    seconds: dict[Stage, float] | None = None,
    ran_s: float = 32.0,
    parameters: Parameters | None = None,
) -> JobView:
    return JobView(
        job_id="a",
        owner="anon",
        run=1,
        seq=9,
        filename="a",
        source=ArtifactRef(key="uploads/anon/a", digest="d", bytes=size),
        parameters=parameters or Parameters(),
        token_sha256="0" * 64,
        status=Status.COMPLETED,
        stage_fractions=dict.fromkeys(WORK, 1.0),
        accepted_at=AT,
        started_at=AT,
        ended_at=AT + timedelta(seconds=ran_s),
        media=media(audio_s),
        stage_seconds=SECONDS if seconds is None else seconds,
    )


def running(known: MediaFacts | None = None, size: int = 1_000_000, **fractions: float) -> JobView:
    return msgspec.structs.replace(
        completed(size=size),
        status=Status.PROCESSING,
        ended_at=None,
        media=known,
        stage_seconds={},
        stage_fractions={Stage(name): value for name, value in fractions.items()},
    )


def test_of_stages_that_run_beside_each_other_the_longer_one_counts() -> None:
    known = experience([completed()])
    assert known.duration_s(Parameters(), 1_000_000) == 32.0
    assert known.remaining_s(running(media(100.0), extracting=1.0)) == 30.0
    assert known.remaining_s(running(media(100.0), extracting=1.0, transcribing=0.5)) == 20.0
    assert known.remaining_s(running(media(100.0), extracting=1.0, transcribing=0.5, diarizing=0.9)) == 15.0
    assert known.remaining_s(running(media(100.0), extracting=1.0, transcribing=1.0, diarizing=1.0)) == 0.0


def test_a_job_without_speakers_does_not_wait_for_them() -> None:
    known = experience([completed(seconds=SECONDS | {Stage.DIARIZING: 300.0}, ran_s=302.0)])
    assert known.duration_s(Parameters(diarize=False), 1_000_000) == 32.0


def test_the_length_of_the_sound_counts_once_it_is_known() -> None:
    known = experience([completed()])
    assert known.remaining_s(running(media(200.0))) == 64.0
    assert known.remaining_s(running()) == 32.0


def test_before_that_the_files_nearest_in_size_count() -> None:
    video = completed(size=64_000_000, audio_s=100.0)
    sound = completed(size=1_000_000, audio_s=100.0)
    known = experience([video, video, video, sound])
    assert known.remaining_s(running(size=60_000_000)) == pytest.approx(30.0, abs=0.1)
    assert known.remaining_s(running(size=900_000)) == pytest.approx(28.8, abs=0.1)
    assert known.remaining_s(running(size=128_000_000)) == pytest.approx(64.0, abs=0.1)


def test_how_long_jobs_ran_by_the_clock_counts() -> None:
    two_workers = experience([completed(ran_s=16.0)])
    assert two_workers.duration_s(Parameters(), 1_000_000) == 16.0


def test_an_odd_one_out_does_not_matter() -> None:
    odd = completed(seconds={stage: 1000 * seconds for stage, seconds in SECONDS.items()}, ran_s=32_000.0)
    assert experience([completed(), completed(), odd]).duration_s(Parameters(), 1_000_000) == 32.0


@pytest.mark.parametrize(
    "history",
    [
        [],
        [completed(parameters=Parameters(model="tiny"))],
        [completed(seconds={})],
        [completed(seconds={Stage.DIARIZING: 3.0})],
        [completed(audio_s=0.0)],
        [msgspec.structs.replace(completed(), media=None)],
        [msgspec.structs.replace(completed(), status=Status.FAILED)],
    ],
    ids=["none", "other model", "all found stored", "only one stage", "no sound", "no media", "failed"],
)
def test_nothing_is_said_where_nothing_is_known(history: list[JobView]) -> None:
    known = experience(history)
    assert known.duration_s(Parameters(), 1_000_000) is None
    assert known.remaining_s(running(media(100.0))) is None


@pytest.mark.parametrize("status", [Status.PENDING, Status.COMPLETED, Status.FAILED, Status.CANCELLED])
def test_only_of_a_job_that_runs_something_remains(status: Status) -> None:
    view = msgspec.structs.replace(running(media(100.0)), status=status)
    assert experience([completed()]).remaining_s(view) is None


seconds = st.floats(min_value=0.0, max_value=1e6)
jobs = st.builds(
    lambda audio_s, size, worked, ran_s, diarize: completed(
        audio_s=audio_s, size=size, seconds=worked, ran_s=ran_s, parameters=Parameters(diarize=diarize)
    ),
    st.floats(min_value=0.0, max_value=1e5),
    st.integers(min_value=0, max_value=1 << 40),
    st.dictionaries(st.sampled_from(WORK), seconds),
    st.floats(min_value=-10.0, max_value=1e6),
    st.booleans(),
)
fractions = st.dictionaries(st.sampled_from(WORK), st.floats(min_value=0.0, max_value=1.0))
lengths = st.none() | st.floats(min_value=0.0, max_value=1e5).map(media)


@given(st.lists(jobs, max_size=8), lengths, st.integers(min_value=0, max_value=1 << 40), fractions, fractions)
def test_what_remains_is_never_negative_and_falls_as_the_stages_proceed(
    history: list[JobView], known: MediaFacts | None, size: int, first: dict[Stage, float], more: dict[Stage, float]
) -> None:
    learned: Experience = experience(history)
    further = {stage: max(first.get(stage, 0.0), more.get(stage, 0.0)) for stage in WORK}
    before = learned.remaining_s(running(known, size, **first))
    after = learned.remaining_s(running(known, size, **further))
    assert (before is None) == (after is None)
    if before is not None and after is not None:
        assert 0.0 <= after <= before
    estimated = learned.duration_s(Parameters(), size)
    assert estimated is None or estimated >= 0.0
