"""Corrections of a transcript, from the owner's request to every format: on real servers, and whatever dies between."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest
from nats.aio.client import Client
from nats.errors import NoRespondersError
from websockets.asyncio.client import connect

from chassis.joblog import JobLog
from chassis.provision import provision
from chassis.store import Store
from contracts import facts, subjects, topology
from contracts.artifacts import ArtifactRef
from contracts.captioning import FORMATS
from contracts.failures import FailureCode
from contracts.transcript import Segment, Transcript, Turn
from services.exporter.app import serve as serve_exporter
from services.gateway.corrections import CHANGES_MAX
from services.gateway.version_routes import BODY_BYTES_MAX
from services.gateway.versions import VERSIONS_MAX
from services.janitor.app import serve as serve_janitor
from services.projector.app import serve as serve_projector
from tests.integration.conftest import Gateway, until
from tests.integration.stages import RECEIPT, Stages, ref
from tests.unit.transcripts import segment, spoken

SAID = [segment(spoken("Helo there, Bob. …2 Hi Ana!"))]
TURNS = [Turn(start=0.0, end=1.0, speaker="Speaker 1"), Turn(start=2.5, end=4.0, speaker="Speaker 2")]
TRANSCRIPT, DIARIZATION = "cache/anon/transcriber/0.json", "cache/anon/diarizer/t.json"


@pytest.fixture
def numbers() -> topology.Numbers:
    """A worker that dies has lost its message soon."""
    return topology.Numbers(
        ack_wait_s=1.5, heartbeat_s=0.5, retry_delay_s=0.05, retry_factor=1.0, reconcile_s=3600.0,
        jobs_max_bytes=64 << 20,
    )  # fmt: skip


@pytest.fixture
def short(environ: dict[str, str], numbers: topology.Numbers) -> dict[str, str]:
    """The same numbers for the services."""
    return environ | {
        **{f"SUBTIDE_{name.upper()}": str(value) for name, value in msgspec.structs.asdict(numbers).items()},
        "SUBTIDE_JANITOR_SECOND_LOOK_S": "0.2",
    }


@asynccontextmanager
async def running(serve: Any, environ: dict[str, str]) -> AsyncIterator[None]:
    """A service in this process."""
    stop = asyncio.Event()
    task = asyncio.create_task(serve(environ, stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 15)


@pytest.fixture
async def exporter(short: dict[str, str]) -> AsyncIterator[None]:
    """An exporter, as long as the test."""
    async with running(serve_exporter, short):
        yield


class Owned:
    """A job, and what its owner asks of it."""

    def __init__(self, gateway: Gateway, joblog: JobLog, answer: dict[str, Any]) -> None:
        self.http = gateway.http
        self.joblog = joblog
        self.job_id: str = answer["job_id"]
        self.token: str = answer["access_token"]
        self.path = f"/api/jobs/{self.job_id}"

    async def ask(self, path: str = "", method: str = "GET", token: str | None = None, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token or self.token}"} | more.pop("headers", {})
        return await self.http.request(method, self.path + path, headers=headers, **more)

    async def correct(self, based_on: int = 0, *, key: str | None = None, **asked: Any) -> httpx.Response:
        """`words` as numbers and texts."""
        if "words" in asked:
            asked["words"] = [{"word": n, "text": text} for n, text in asked["words"].items()]
        headers = {"Idempotency-Key": key} if key else {}
        return await self.ask("/versions", "POST", json={"based_on": based_on, **asked}, headers=headers)

    async def corrected(self, based_on: int = 0, **asked: Any) -> int:
        """The number of the version that was made; its subtitles are there."""
        answer = await self.correct(based_on, **asked)
        assert answer.status_code == 201, answer.text
        version: int = answer.json()["version"]
        await self.exported(version)
        return version

    async def exported(self, version: int) -> None:
        async def ready() -> bool:
            return (await self.versions())[version]["ready"] is True

        await until(ready, 20)

    async def versions(self) -> list[dict[str, Any]]:
        answer = await self.ask("/versions")
        assert answer.status_code == 200, answer.text
        listed: list[dict[str, Any]] = answer.json()
        return listed

    async def text(self, name: str = "txt", **params: Any) -> str:
        answer = await self.ask(f"/download/{name}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def said(self, kind: type[facts.Fact]) -> list[facts.AnyFact]:
        return [one.fact for one in await self.joblog.facts_of(self.job_id, kind)]


async def heard(gateway: Gateway, joblog: JobLog, store: Store) -> Owned:
    """A job of which all is there that the exporter waits for."""
    await store.put_record(TRANSCRIPT, SAID)
    await store.put_record(DIARIZATION, TURNS)
    job = Owned(gateway, joblog, await gateway.submit())
    stages = Stages(joblog, job.job_id)
    await stages.start()
    await stages.extract()
    of_job = stages.of_job
    await joblog.append(
        facts.TranscriptionPlanned(
            **of_job, plan=ref("cache/anon/planner/p.json"), chunks=1, chunk_speech_s=[4.0], language="en",
            language_probability=0.9, language_source="detected", speech_s=4.0, receipt=RECEIPT,
        )
    )  # fmt: skip
    await joblog.append(facts.ChunkTranscribed(**of_job, n=0, segments=ref(TRANSCRIPT), captions=[], receipt=RECEIPT))
    await joblog.append(facts.SpeakersDiarized(**of_job, turns=ref(DIARIZATION), speakers=2, receipt=RECEIPT))
    return job


@pytest.fixture
async def job(gateway: Gateway, joblog: JobLog, store: Store, exporter: None) -> Owned:
    """A completed job, its subtitles made by the exporter."""
    made = await heard(gateway, joblog, store)
    await over(made)
    return made


async def over(job: Owned) -> None:
    async def completed() -> bool:
        return bool((await job.ask()).json()["status"] == "completed")

    await until(completed, 20)


async def test_every_format_follows_a_correction_and_the_original_stays(job: Owned) -> None:
    original = {name: await job.text(name) for name in FORMATS}
    etag = (await job.ask("/download/srt")).headers["etag"]

    made = await job.correct(words={0: "Hello", 2: "dear Bob."}, speakers={"Speaker 1": "Ana <b> & Co"})

    told = made.json()
    assert (made.status_code, told["version"], told["based_on"], told["words"], told["speakers"]) == (201, 1, 0, 2, 1)
    assert (told["ready"], told["restored"], told["error"]) == (False, None, None)
    await job.exported(1)
    assert await job.text("txt") == "Ana <b> & Co: Hello there, dear Bob.\n\nSpeaker 2: Hi Ana!\n"
    assert "Ana <b> & Co: Hello there, dear Bob." in await job.text("srt")
    assert "<v Ana &lt;b&gt; &amp; Co>Hello there, dear Bob." in await job.text("vtt")
    result = msgspec.json.decode(await job.text("json"))
    assert result["speakers"] == ["Ana <b> & Co", "Speaker 2"]
    assert [one["speaker"] for one in result["turns"]] == result["speakers"]
    assert [one["text"] for one in result["segments"]] == [" Hello there, dear Bob.", " Hi Ana!"]
    assert result["receipt"] == msgspec.json.decode(original["json"])["receipt"]
    assert "dear" in await job.text("srt", preset="social")
    assert (await job.ask("/quality")).json()["words"] == 6
    shown = (await job.ask()).json()
    assert (shown["version"], shown["words"], shown["speakers"], shown["status"]) == (1, 6, 2, "completed")
    assert shown["result"]["segments"] == result["segments"]
    assert {name: await job.text(name, version=0) for name in FORMATS} == original
    assert {name: await job.text(name, version=1) for name in FORMATS} == {
        name: await job.text(name) for name in FORMATS
    }
    assert (await job.ask("/download/srt")).headers["etag"] != etag
    assert (await job.ask("/download/srt", params={"version": 0})).headers["etag"] == etag
    assert (await job.ask("/download/srt", headers={"If-None-Match": etag})).status_code == 200
    assert (await job.ask("/captions")).text == await job.text("vtt")
    assert (await job.ask("/captions", params={"version": 0})).text == original["vtt"]


async def test_an_undo_is_a_version_and_so_is_its_undo(job: Owned) -> None:
    texts = [await job.text()]
    await job.corrected(0, words={0: "Hello"})
    texts.append(await job.text())
    await job.corrected(1, speakers={"Speaker 2": "Bob"})
    texts.append(await job.text())

    assert await job.corrected(2, restore=0) == 3
    assert await job.text() == texts[0]
    assert await job.corrected(3, restore=2) == 4
    assert await job.text() == texts[2]

    versions = await job.versions()
    assert [one["version"] for one in versions] == [0, 1, 2, 3, 4]
    assert [one["based_on"] for one in versions] == [None, 0, 1, 2, 3]
    assert [one["restored"] for one in versions] == [None, None, None, 0, 2]
    assert [(one["words"], one["speakers"]) for one in versions] == [(0, 0), (1, 0), (0, 1), (0, 0), (0, 0)]
    assert all(one["ready"] for one in versions)
    assert [await job.text(version=n) for n in range(3)] == texts


async def test_numbers_of_words_are_those_of_the_version_that_is_corrected(job: Owned) -> None:
    await job.corrected(0, words={1: "", 2: "my dear Bob."})
    await job.corrected(1, words={3: "Rob."})
    assert await job.text() == "Speaker 1: Helo my dear Rob.\n\nSpeaker 2: Hi Ana!\n"


async def test_of_two_who_correct_one_version_one_is_told(job: Owned) -> None:
    answers = await asyncio.gather(*(job.correct(0, words={0: f"Hello{n}"}) for n in range(6)))

    assert sorted(one.status_code for one in answers) == [201, *[409] * 5]
    for one in answers:
        if one.status_code == 409:
            assert (one.json()["code"], one.json()["version"]) == ("version_conflict", 1)
    winner = next(n for n, one in enumerate(answers) if one.status_code == 201)
    await job.exported(1)
    assert f"Hello{winner} there" in await job.text()
    assert len(await job.versions()) == 2
    late = await job.correct(0, words={0: "Hey"})
    assert (late.status_code, late.json()["version"], late.json()["field"]) == (409, 1, "based_on")
    early = await job.correct(5, words={0: "Hey"})
    assert (early.status_code, early.json()["code"], early.json()["version"]) == (409, "version_conflict", 1)
    assert "version 5" in early.json()["detail"]


async def test_a_further_try_with_a_key_makes_no_second_version(job: Owned) -> None:
    tries = await asyncio.gather(*(job.correct(0, key="k", words={0: "Hello"}) for _ in range(4)))
    assert {(one.status_code, one.json()["version"]) for one in tries} == {(201, 1)}
    await job.corrected(1, words={0: "Hey"})
    again = await job.correct(0, key="k", words={0: "Hello"})
    assert (again.status_code, again.json()["version"]) == (201, 1)
    assert len(await job.versions()) == 3
    other = await job.correct(0, key="k", words={0: "Hallo"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert (await job.correct(2, key="a b", words={0: "x"})).json()["code"] == "invalid_idempotency_key"


async def test_a_redelivered_correction_is_exported_once(job: Owned) -> None:
    await job.corrected(0, words={0: "Hello"})
    (edited,) = await job.said(facts.TranscriptEdited)
    (before,) = await job.said(facts.VersionExported)

    await job.joblog.again(edited)
    await job.corrected(1, words={0: "Hey"})  # the exporter is done with what came before

    assert (await job.said(facts.VersionExported))[0] == before
    assert len(await job.said(facts.VersionExported)) == 2


@pytest.mark.parametrize("dies", ["before it publishes", "before it acks"])
async def test_an_exporter_that_is_killed_leaves_its_version_to_the_next(
    gateway: Gateway, joblog: JobLog, store: Store, client: Client, short: dict[str, str], dies: str
) -> None:
    job = await heard(gateway, joblog, store)
    async with running(serve_exporter, short):
        await over(job)
    assert (await job.correct(0, words={0: "Hello"})).status_code == 201
    module = "tests.chaos.dying_exporter"
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, env=os.environ | short)
    assert await asyncio.wait_for(process.wait(), 60) == -signal.SIGKILL
    stored = {file.key async for file in store.list("cache/anon/exporter/")}
    assert await job.said(facts.VersionExported) == []
    if dies == "before it acks":
        (edited,) = await job.said(facts.TranscriptEdited)
        assert isinstance(edited, facts.TranscriptEdited)
        await joblog.append(exported(edited))

    async with running(serve_exporter, short):
        await job.exported(1)
        await until(lambda: _settled(client), 20)

    assert len(await job.said(facts.VersionExported)) == 1
    assert {file.key async for file in store.list("cache/anon/exporter/")} == stored


def exported(edited: facts.TranscriptEdited) -> facts.VersionExported:
    return facts.VersionExported(
        job_id=edited.job_id, run=edited.run, owner=edited.owner, at=datetime.now(UTC), n=edited.n, results={},
        speakers=2, words=5, receipt=RECEIPT,
    )  # fmt: skip


async def _settled(client: Client) -> bool:
    info = await client.jetstream().consumer_info(topology.JOBS, topology.EXPORTER.name)
    return not info.num_ack_pending and not info.num_pending


async def test_a_version_that_cannot_be_exported_says_so_and_the_one_before_stays(job: Owned, store: Store) -> None:
    before = await job.text()
    edited = facts.TranscriptEdited(
        **Stages(job.joblog, job.job_id).of_job, n=1, based_on=0, transcript=ref("edits/anon/nowhere.json")
    )
    await job.joblog.append(edited)

    async def failed() -> bool:
        return (await job.versions())[1]["error"] is not None

    await until(failed, 20)
    listed = (await job.versions())[1]
    assert listed["ready"] is False
    assert "Reference" in listed["error"]
    gone = await job.ask("/download/srt", params={"version": 1})
    assert (gone.status_code, gone.json()["code"]) == (409, "version_failed")
    assert await job.text() == before
    shown = (await job.ask()).json()
    assert (shown["status"], shown["version"], shown["error_code"]) == ("completed", 0, None)
    (said,) = await job.said(facts.VersionExported)
    assert isinstance(said, facts.VersionExported)
    assert said.failed is FailureCode.ARTIFACT_MISSING
    # and it is the version before that is corrected next
    assert (await job.correct(1, words={0: "Hey"})).json()["version"] == 0
    assert await job.corrected(0, words={0: "Hello"}) == 2
    assert (await job.versions())[2]["based_on"] == 0


async def test_a_correction_whose_message_vanished_is_exported_all_the_same(
    gateway: Gateway, joblog: JobLog, store: Store, client: Client, short: dict[str, str]
) -> None:
    job = await heard(gateway, joblog, store)
    async with running(serve_exporter, short):
        await over(job)
    await job.correct(0, words={0: "Hello"})
    taken = await client.jetstream().pull_subscribe_bind(topology.EXPORTER.name, topology.JOBS)
    for message in await taken.fetch(1, timeout=5):
        await message.ack_sync()
    await taken.unsubscribe()
    async with running(serve_exporter, short), running(serve_janitor, short):

        async def healed() -> bool:
            with suppress(NoRespondersError):  # it is not serving yet
                await client.request(subjects.RECONCILE, b"", timeout=20)
            return (await job.versions())[1]["ready"] is True

        await until(healed, 30)


async def test_a_job_that_is_deleted_takes_its_versions_with_it(
    job: Owned, store: Store, short: dict[str, str]
) -> None:
    await job.corrected(0, words={0: "Hello"})
    of_version = {file.key async for file in store.list("edits/")}
    async with running(serve_janitor, short):
        assert of_version
        assert (await job.ask("?delete=true", "DELETE")).status_code == 200

        async def nothing_left() -> bool:
            return not [file.key for prefix in ("edits/", "cache/anon/exporter/") async for file in store.list(prefix)]

        await until(nothing_left, 20)
    for answer in (await job.ask("/versions"), await job.correct(1, words={0: "Hey"})):
        assert (answer.status_code, answer.json()["code"]) == (410, "expired")


async def test_an_expired_job_is_corrected_no_more_though_the_fact_came_too_late(job: Owned, store: Store) -> None:
    await job.ask("?delete=true", "DELETE")
    edited = facts.TranscriptEdited(
        **Stages(job.joblog, job.job_id).of_job, n=1, based_on=0, transcript=ref("edits/anon/late.json")
    )
    await store.put_record("edits/anon/late.json", Transcript(segments=SAID))
    files = {file.key async for file in store.list("cache/")}
    await job.joblog.append(edited)
    other = facts.TranscriptEdited(
        **(Stages(job.joblog, "f" * 32).of_job), n=1, based_on=0, transcript=ref("edits/anon/none.json")
    )
    await job.joblog.append(other)
    await until(lambda: _settled_of(job), 20)
    assert await job.said(facts.VersionExported) == []
    assert {file.key async for file in store.list("cache/")} == files


async def _settled_of(job: Owned) -> bool:
    return await _settled(job.joblog._client)


async def test_a_share_reads_the_latest_version_and_corrects_nothing(job: Owned) -> None:
    await job.corrected(0, words={0: "Hello"})
    share = (await job.ask("/share", "POST")).json()["share_token"]
    assert "Hello there" in (await job.ask("/download/txt", token=share)).text
    assert [one["version"] for one in (await job.ask("/versions", token=share)).json()] == [0, 1]
    assert "Helo there" in (await job.ask("/download/txt", token=share, params={"version": 0})).text
    refused = await job.ask("/versions", "POST", token=share, json={"based_on": 1, "restore": 0})
    assert (refused.status_code, refused.json()["code"]) == (404, "job_not_found")


async def test_a_job_that_is_not_completed_has_no_versions(gateway: Gateway, joblog: JobLog) -> None:
    job = Owned(gateway, joblog, await gateway.submit())
    stages = Stages(joblog, job.job_id)
    for state in ("waits", "failed"):
        if state == "failed":
            await stages.start()
            await stages.fail()
        for answer in (
            await job.ask("/versions"),
            await job.correct(0, words={0: "x"}),
            await job.ask("/download/srt", params={"version": 0}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (409, "not_finished"), state


async def test_a_retry_of_a_run_that_failed_begins_with_what_is_heard_then(
    gateway: Gateway, joblog: JobLog, store: Store, exporter: None
) -> None:
    job = await heard(gateway, joblog, store)
    await over(job)
    await job.corrected(0, words={0: "Hello"})
    assert (await job.ask("/retry", "POST")).json()["code"] == "not_retryable"
    stray = facts.TranscriptEdited(
        **(Stages(joblog, job.job_id, run=2).of_job), n=1, based_on=0, transcript=ref("edits/anon/x.json")
    )
    await joblog.append(stray)
    assert [one["version"] for one in await job.versions()] == [0, 1]
    assert (await job.ask()).json()["version"] == 1


async def test_a_transcript_is_corrected_so_often_and_no_more(
    gateway: Gateway, joblog: JobLog, store: Store, exporter: None
) -> None:
    job = await heard(gateway, joblog, store)
    await over(job)
    of_job = Stages(joblog, job.job_id).of_job
    transcript = Transcript(segments=SAID)
    await store.put_record("edits/anon/same.json", transcript)
    for n in range(1, VERSIONS_MAX):
        edited = facts.TranscriptEdited(**of_job, n=n, based_on=n - 1, transcript=_at("edits/anon/same.json"))
        await joblog.append(exported(edited))
        await joblog.append(edited)
    assert (await job.correct(VERSIONS_MAX - 1, words={0: "Hello"})).json()["version"] == VERSIONS_MAX
    past = await job.correct(VERSIONS_MAX, words={0: "Hey"})
    assert (past.status_code, past.json()["code"]) == (409, "too_many_versions")
    assert str(VERSIONS_MAX) in past.json()["detail"]


def _at(key: str) -> ArtifactRef:
    return ArtifactRef(key=key, digest="d", bytes=1)


@pytest.mark.parametrize(
    ("asked", "status", "code", "field"),
    [
        ({}, 400, "invalid_parameter", "based_on"),
        ({"based_on": -1}, 400, "invalid_parameter", "based_on"),
        ({"based_on": 2**31}, 400, "invalid_parameter", "based_on"),
        ({"based_on": "0"}, 400, "invalid_parameter", "based_on"),
        ({"based_on": 0}, 422, "nothing_changed", None),
        ({"based_on": 0.0, "words": [{"word": 99.0, "text": "x"}]}, 422, "unknown_word", "words"),
        ({"based_on": 0, "words": [{"word": 0}]}, 400, "invalid_parameter", "text"),
        ({"based_on": 0, "words": [{"word": 0, "text": "x" * 201}]}, 400, "text_too_long", "words"),
        ({"based_on": 0, "words": [{"word": 0, "text": "a\nb"}]}, 400, "invalid_text", "words"),
        ({"based_on": 0, "words": [{"word": 0, "text": "a", "z": 1}]}, 400, "unknown_parameter", "z"),
        ({"based_on": 0, "speakers": {"Nobody": "x"}}, 422, "unknown_speaker", "speakers"),
        ({"based_on": 0, "speakers": {"Speaker 1": ""}}, 400, "invalid_parameter", "speakers"),
        ({"based_on": 0, "speakers": {"Speaker 1": "x" * 81}}, 400, "text_too_long", "speakers"),
        ({"based_on": 0, "restore": 1}, 422, "unknown_version", "restore"),
        ({"based_on": 0, "restore": 0}, 422, "nothing_changed", None),
        ({"based_on": 0, "restore": 0, "speakers": {"Speaker 1": "x"}}, 422, "conflicting_parameters", "restore"),
        ({"based_on": 0, "more": 1}, 400, "unknown_parameter", "more"),
    ],
)
async def test_what_cannot_be_done_is_named(
    gateway: Gateway, joblog: JobLog, store: Store, asked: dict[str, Any], status: int, code: str, field: str | None
) -> None:
    job = await completed_by_hand(gateway, joblog, store)
    answer = await job.ask("/versions", "POST", json=asked)
    assert (answer.status_code, answer.json()["code"], answer.json().get("field")) == (status, code, field), answer.text
    assert len(await job.versions()) == 1


async def test_bodies_that_are_none_are_refused_and_so_is_one_that_is_too_large(
    gateway: Gateway, joblog: JobLog, store: Store
) -> None:
    job = await completed_by_hand(gateway, joblog, store)
    json = {"Content-Type": "application/json"}
    many = [{"word": n, "text": "x"} for n in range(CHANGES_MAX + 1)]
    answers = [
        await job.ask("/versions", "POST", content=b"{", headers=json),
        await job.ask(
            "/versions", "POST", content=b'{"based_on":0,"words":[{"word":0,"text":"\\ud800"}]}', headers=json
        ),
        await job.ask("/versions", "POST", content=b"[" * 100_000, headers=json),
        await job.ask("/versions", "POST", content=b'{"based_on":0}', headers={"Content-Type": "text/plain"}),
        await job.ask("/versions", "POST", content=b" " * (BODY_BYTES_MAX + 1), headers=json),
        await job.ask("/versions", "POST", json={"based_on": 0, "words": many}),
        await job.ask("/download/srt", params={"version": -1}),
        await job.ask("/download/srt", params={"version": 1}),
    ]
    assert [(one.status_code, one.json()["code"]) for one in answers] == [
        (400, "malformed_json"), (400, "malformed_json"), (400, "malformed_json"), (415, "not_json"),
        (413, "request_too_large"), (400, "too_many_changes"), (400, "invalid_request"), (404, "version_not_found"),
    ]  # fmt: skip


async def completed_by_hand(gateway: Gateway, joblog: JobLog, store: Store) -> Owned:
    """A job whose result was stored by the test: nobody exports its corrections."""
    job = Owned(gateway, joblog, await gateway.submit())
    stages = Stages(joblog, job.job_id)
    await stages.start()
    await stages.extract()
    await stages.complete(store, {"json": msgspec.json.encode(_transcript())})
    return job


def _transcript() -> Transcript:
    def of(one: Segment, speaker: str) -> Segment:
        return msgspec.structs.replace(one, speaker=speaker)

    said: Sequence[Segment] = [of(segment(spoken("Helo there.", speaker="Speaker 1")), "Speaker 1")]
    return Transcript(segments=list(said), speakers=["Speaker 1"], turns=[])


async def test_subtitles_that_are_being_made_are_said_to_be(gateway: Gateway, joblog: JobLog, store: Store) -> None:
    job = await completed_by_hand(gateway, joblog, store)
    before = await job.text("srt")
    assert (await job.correct(0, words={0: "Hello"})).status_code == 201
    early = await job.ask("/download/srt", params={"version": 1})
    assert (early.status_code, early.json()["code"], early.headers["retry-after"]) == (409, "version_not_ready", "1")
    assert await job.text("srt") == before
    # and it can be corrected meanwhile
    assert (await job.correct(1, words={0: "Hey"})).json()["version"] == 2


async def test_those_who_watch_hear_of_a_version_and_the_list_has_it(
    job: Owned, gateway: Gateway, short: dict[str, str]
) -> None:
    async with running(serve_projector, short), connect(gateway.ws_url) as socket:
        await socket.send(msgspec.json.encode({"type": "subscribe", "job_id": job.job_id, "token": job.token}).decode())
        await job.corrected(0, words={0: "Hello"}, key="secret-key")
        heard_of: dict[str, Any] = {}
        while "exported" not in heard_of:
            message = msgspec.json.decode(await asyncio.wait_for(socket.recv(), 10))
            if message["type"] == "fact":
                heard_of[message["fact"]] = message["data"]
        assert (heard_of["edited"]["n"], heard_of["edited"]["words"]) == (1, 1)
        assert {"transcript", "edited_as", "asked", "owner"}.isdisjoint(heard_of["edited"])
        assert heard_of["exported"]["results"] == sorted(FORMATS)

        async def listed() -> bool:
            answer = await job.http.get("/api/jobs", params={"tokens": job.token})
            jobs = answer.json()["jobs"] if answer.is_success else []  # 503 until there is a projection
            return bool(jobs and jobs[0]["version"] == 1)

        await until(listed, 10)


async def test_a_batch_is_downloaded_in_the_latest_version(
    gateway: Gateway, joblog: JobLog, store: Store, exporter: None
) -> None:
    from services.gateway import bundle

    job = await heard(gateway, joblog, store)
    await over(job)
    await job.corrected(0, words={0: "Hello"})
    view = await joblog.view(job.job_id)
    ((_, text),) = bundle.entries([view], ["txt"])
    assert b"Hello there" in await store.get(text.key)


async def test_an_exporter_of_before_there_were_versions_is_woken_once_it_is_provisioned_again(
    gateway: Gateway, joblog: JobLog, store: Store, client: Client, numbers: topology.Numbers, short: dict[str, str]
) -> None:
    js = client.jetstream()
    known = (await js.consumer_info(topology.JOBS, topology.EXPORTER.name)).config
    old = [one for one in topology.EXPORTER.filter_subjects if ".edited." not in one]
    await js.add_consumer(topology.JOBS, known.evolve(filter_subjects=old))
    job = await heard(gateway, joblog, store)
    async with running(serve_exporter, short):
        await over(job)
        assert (await job.correct(0, words={0: "Hello"})).status_code == 201
        await provision(client, numbers)
        await job.exported(1)
