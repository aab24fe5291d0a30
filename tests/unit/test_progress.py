from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from contracts import facts, progress
from contracts.artifacts import ArtifactRef
from contracts.failures import FailureCode
from contracts.parameters import Parameters
from contracts.progress import JobView, LiveProgress, Stage, Status, fold
from tests.contract.examples import AUDIO, CHUNK, MEDIA, PLAN, RECEIPT, SOURCE

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def life(*, chunks: int = 3, diarize: bool = True, run: int = 1) -> list[facts.AnyFact]:
    """The facts of one run that goes well."""
    of = {"job_id": "j", "run": run, "owner": "anon", "at": T0}
    asked = Parameters(diarize=diarize)
    return [
        facts.JobAccepted(**of, filename="f", source=SOURCE, parameters=asked, token_sha256="x"),
        facts.JobStarted(**of, filename="f", source=SOURCE, parameters=asked),
        facts.AudioExtracted(**of, audio=AUDIO, peaks=AUDIO, media=MEDIA, parameters=asked, receipt=RECEIPT),
        facts.TranscriptionPlanned(
            **of, plan=PLAN, chunks=chunks, chunk_speech_s=[10.0] * chunks, language="en", language_probability=1.0,
            language_source="detected", speech_s=10.0 * chunks, receipt=RECEIPT,
        ),
        *[
            facts.ChunkRequested(
                **of, n=n, chunk=CHUNK, chunks=chunks, language="en", audio=AUDIO, plan=PLAN, parameters=asked
            )
            for n in range(chunks)
        ],
        *[facts.ChunkTranscribed(**of, n=n, segments=PLAN, captions=[], receipt=RECEIPT) for n in range(chunks)],
        facts.SpeakersDiarized(**of, turns=PLAN, speakers=2, receipt=RECEIPT),
        facts.JobCompleted(
            **of, results={"srt": PLAN}, language="en", duration_s=1.0, speakers=2, words=3, receipt=RECEIPT
        ),
    ]  # fmt: skip


def folded(events: list[facts.AnyFact], view: JobView | None = None, first_seq: int = 1) -> list[JobView]:
    views = []
    for seq, fact in enumerate(events, start=first_seq):
        view = fold(view, fact, seq)
        assert view is not None
        views.append(view)
    return views


def fetched_life() -> list[facts.AnyFact]:
    """The same, of a job that came with an address."""
    accepted, started, *rest = life()
    given = {"source": None, "source_url": "https://example.com/talk.mp4"}
    fetched = facts.SourceFetched(
        job_id="j",
        run=1,
        owner="anon",
        at=T0,
        filename="its.mp4",
        source=SOURCE,
        parameters=Parameters(),
        receipt=RECEIPT,
    )
    return [msgspec.structs.replace(accepted, **given), msgspec.structs.replace(started, **given), fetched, *rest]


def test_a_job_with_an_address_has_one_stage_more_and_its_progress_never_falls() -> None:
    views = folded(fetched_life())
    stages = list(dict.fromkeys(view.progress_stage for view in views))
    assert stages[:3] == [Stage.QUEUED, Stage.FETCHING, Stage.EXTRACTING]
    assert [view.progress for view in views] == sorted(view.progress for view in views)
    assert (views[1].source, views[2].source, views[2].filename) == (None, SOURCE, "its.mp4")
    assert views[-1].progress == 100.0
    assert set(views[-1].stage_fractions) == set(views[-1].stages)
    half = progress.advance(views[1], LiveProgress(job_id="j", run=1, stage=Stage.FETCHING, fraction=0.5))
    assert views[1].progress < half.progress < views[2].progress
    assert half.progress_message == "Fetching the recording"


def test_a_job_whose_recording_came_along_has_no_such_stage() -> None:
    assert all(Stage.FETCHING not in {*view.stages, *view.stage_fractions} for view in folded(life()))


def test_a_failure_tells_the_limit_and_the_value() -> None:
    failed = facts.JobFailed(
        job_id="j", run=1, owner="anon", at=T0, code=FailureCode.ADDRESS_TOO_LARGE, stage="fetcher", reference="r",
        attempts=1, told="It has 9 bytes; this server accepts 8.",
    )  # fmt: skip
    view = folded([*fetched_life()[:2], failed])[-1]
    assert view.error_message == (
        "The recording at the address is larger than this server accepts. It has 9 bytes; this server accepts 8. "
        "Cut it into shorter files."
    )


def test_a_job_that_goes_well_passes_through_every_stage_in_order() -> None:
    views = folded(life())
    stages = list(dict.fromkeys(view.progress_stage for view in views))
    assert stages == [
        Stage.QUEUED, Stage.EXTRACTING, Stage.TRANSCRIBING, Stage.DIARIZING, Stage.GENERATING, Stage.COMPLETE
    ]  # fmt: skip
    assert [views[0].status, views[1].status, views[-1].status] == [
        Status.PENDING, Status.PROCESSING, Status.COMPLETED
    ]  # fmt: skip
    assert views[-1].progress == 100.0


@given(st.data(), st.booleans(), st.integers(0, 5))
def test_progress_never_falls_whatever_the_workers_say_in_between(
    data: st.DataObject, diarize: bool, chunks: int
) -> None:
    # given the facts after `planned` in any order a log may have them, with any live progress between
    events = life(chunks=chunks, diarize=diarize)
    middle = data.draw(st.permutations(events[4:-1]))
    view, last = None, 0.0
    for seq, fact in enumerate([*events[:4], *middle, events[-1]], start=1):
        view = fold(view, fact, seq)
        assert view is not None
        for _ in range(data.draw(st.integers(0, 2))):
            live = LiveProgress(
                job_id="j", run=1, stage=data.draw(st.sampled_from(progress.WORK)), fraction=data.draw(st.floats(0, 1))
            )
            view = progress.advance(view, live)
        assert view.progress >= last
        last = view.progress
    assert last == 100.0


def test_a_fact_seen_twice_changes_nothing() -> None:
    *_, last = folded(life())
    assert fold(last, life()[5], 3) == last


def test_facts_of_an_earlier_run_do_not_touch_a_retry() -> None:
    of = {"job_id": "j", "owner": "anon", "at": T0}
    first = life()[:4]
    failed = facts.JobFailed(**of, run=1, code=FailureCode.INTERNAL, stage="diarizer", reference="r", attempts=4)
    *_, view = folded([*first, failed])
    assert view.status is Status.FAILED
    assert view.error_message is not None
    assert "our side" in view.error_message
    # when it is retried, and a straggler of the first run comes late
    *_, retried = folded([life(run=2)[0], life()[-1]], view, first_seq=10)
    # then the new run stands, from the beginning
    assert (retried.run, retried.status, retried.progress, retried.seq) == (2, Status.PENDING, 0.0, 11)
    assert retried.error_code is None


def test_nothing_after_the_end_changes_a_run() -> None:
    *_, done = folded(life())
    cancelled = facts.JobCancelled(job_id="j", run=1, owner="anon", at=T0)
    after = fold(done, cancelled, 99)
    assert after is not None
    assert after.status is Status.COMPLETED


def test_the_latest_version_that_is_exported_is_what_a_job_has() -> None:
    *_, done = folded(life())
    of = {"job_id": "j", "owner": "anon", "at": T0}
    more = {"speakers": 1, "words": 7, "receipt": RECEIPT}
    second = {"srt": ArtifactRef(key="2.srt", digest="2", bytes=1)}
    failed = facts.VersionExported(**of, **more, run=1, n=3, results={}, failed=FailureCode.INTERNAL, reference="r")
    *_, edited = folded(
        [
            facts.TranscriptEdited(**of, run=1, n=1, based_on=0, transcript=SOURCE),
            facts.VersionExported(**of, **more, run=1, n=2, results=second),
            facts.VersionExported(**of, **more, run=1, n=1, results={}),
            failed,
            facts.VersionExported(**of, **more, run=2, n=9, results={}),
        ],
        done,
        first_seq=50,
    )
    assert (done.version, edited.version, edited.results) == (0, 2, second)
    assert (edited.speakers, edited.words, edited.status, edited.seq) == (1, 7, Status.COMPLETED, 54)
    *_, running = folded([*life()[:4], facts.VersionExported(**of, **more, run=1, n=1, results=second)])
    assert (running.version, running.results) == (0, {})


def test_shares_live_beside_the_runs() -> None:
    *_, view = folded(life())
    of = {"job_id": "j", "run": 1, "owner": "anon", "at": T0 + timedelta(seconds=1)}
    minted = fold(view, facts.ShareMinted(**of, n=1, token_sha256="s"), 50)
    revoked = fold(minted, facts.ShareRevoked(**of, n=1), 51)
    assert minted is not None
    assert revoked is not None
    assert [share.revoked for share in minted.shares + revoked.shares] == [False, True]


def test_a_view_survives_being_stored() -> None:
    for view in folded(life()):
        assert msgspec.json.decode(msgspec.json.encode(view), type=JobView) == view
