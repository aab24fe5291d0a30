"""Captions in the preset somebody asks for, and the report on them: from the exporter to whoever may read it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest

from chassis.joblog import JobLog
from chassis.store import Store
from contracts import facts
from contracts.captioning import CAPTION_FORMATS, FORMATS, PRESETS
from contracts.parameters import Parameters
from contracts.progress import JobView
from contracts.quality import Quality
from contracts.transcript import Segment, Turn
from services.exporter.app import serve as serve_exporter
from services.exporter.cues import cues
from services.exporter.formats import srt
from services.exporter.join import join
from tests.integration.conftest import Gateway, until
from tests.integration.stages import MORE, RESULTS, Stages, ref
from tests.unit.transcripts import segment, spoken

SAID = [segment(spoken("I came home so late that night, and nobody was there. Nobody at all, I tell you!"))]
TURNS = [Turn(start=0.0, end=3.3, speaker="Speaker 1"), Turn(start=3.3, end=9.0, speaker="Speaker 2")]
TRANSCRIPT, DIARIZATION = "cache/anon/transcriber/0.json", "cache/anon/diarizer/t.json"


class Submitted:
    """A job in the gateway, and its token."""

    def __init__(self, gateway: Gateway, joblog: JobLog, answer: dict[str, Any]) -> None:
        self.http = gateway.http
        self.stages = Stages(joblog, answer["job_id"])
        self.token: str = answer["access_token"]
        self.path = f"/api/jobs/{answer['job_id']}"

    async def get(self, path: str = "", token: str | None = None, **params: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return await self.http.get(self.path + path, headers=headers, params=params)

    async def heard(self, *, cached_at: datetime | None = None) -> None:
        """All stages before the exporter are done."""
        receipt = facts.StageReceipt(engine="test/1", seconds=0.1, cached_at=cached_at)
        await self.stages.start()
        of_job = self.stages.of_job
        extracted = _extracted((await self.stages.view()).parameters, of_job, receipt)
        planned = facts.TranscriptionPlanned(
            **of_job, plan=ref("cache/anon/planner/p.json"), chunks=1, chunk_speech_s=[9.0], language="en",
            language_probability=0.9, language_source="detected", speech_s=9.0, receipt=receipt,
        )  # fmt: skip
        transcribed = facts.ChunkTranscribed(**of_job, n=0, segments=ref(TRANSCRIPT), captions=[], receipt=receipt)
        diarized = facts.SpeakersDiarized(**of_job, turns=ref(DIARIZATION), speakers=2, receipt=receipt)
        for fact in (extracted, planned, transcribed, diarized):
            await self.stages.joblog.append(fact)

    async def completed(self) -> JobView:
        """The job, once it is over."""

        async def over() -> JobView | None:
            view = await self.stages.view()
            return view if view.status.terminal else None

        view = await until(over, 20)
        assert isinstance(view, JobView)
        return view


def _extracted(parameters: Parameters, of_job: dict[str, Any], receipt: facts.StageReceipt) -> facts.AudioExtracted:
    media = msgspec.convert({"duration_s": 9.0, "container": "wav", "tracks": [], "audio_track": 0}, facts.MediaFacts)
    return facts.AudioExtracted(
        **of_job, audio=ref("cache/anon/extractor/a.wav"), peaks=ref("cache/anon/extractor/a.json"), media=media,
        parameters=parameters, receipt=receipt,
    )  # fmt: skip


@pytest.fixture
async def exporter(environ: dict[str, str], store: Store) -> AsyncIterator[None]:
    """An exporter, and what the stages before it have stored."""
    await store.put_record(TRANSCRIPT, SAID)
    await store.put_record(DIARIZATION, TURNS)
    stop = asyncio.Event()
    task = asyncio.create_task(serve_exporter(environ, stop))
    yield
    stop.set()
    await asyncio.wait_for(task, 15)


def captions(preset: str, segments: list[Segment] = SAID) -> bytes:
    """What the exporter is to make of what is said."""
    return next(srt(cues(join(segments, TURNS), limits)) for name, limits in PRESETS.items() if name == preset)


@pytest.mark.usefixtures("exporter")
async def test_the_same_recording_in_another_preset_is_found_stored(gateway: Gateway, joblog: JobLog) -> None:
    first = Submitted(gateway, joblog, await gateway.submit())
    await first.heard()
    made = await first.completed()
    again = await gateway.submit(caption_preset="social")
    second = Submitted(gateway, joblog, again)
    await second.heard(cached_at=datetime.now(UTC))
    found = await second.completed()

    assert again["cached"] is True
    assert (made.cached, found.cached, found.parameters.caption_preset) == (False, True, "social")
    same = set(made.results) - set(FORMATS) - {"quality"}
    assert same == {f"{preset}.{name}" for preset in PRESETS for name in CAPTION_FORMATS}
    assert {name: made.results[name] for name in same} == {name: found.results[name] for name in same}
    assert (await first.get("/download/srt")).content == captions("standard")
    assert (await second.get("/download/srt")).content == captions("social")


@pytest.mark.usefixtures("exporter")
async def test_every_preset_can_be_downloaded_whichever_the_job_is_in(gateway: Gateway, joblog: JobLog) -> None:
    job = Submitted(gateway, joblog, await gateway.submit(caption_preset="broadcast"))
    await job.heard()
    await job.completed()

    etags = {(await job.get("/download/srt")).headers["etag"]}
    for preset in PRESETS:
        answer = await job.get("/download/srt", preset=preset)
        assert (answer.status_code, answer.content) == (200, captions(preset))
        assert f'filename="talk.{preset}.srt"' in answer.headers["content-disposition"]
        etags.add(answer.headers["etag"])
    assert len(etags) == len(PRESETS) + 1
    assert (await job.get("/download/srt")).content == captions("broadcast")
    assert (await job.get("/download/txt", preset="social")).content == (await job.get("/download/txt")).content
    shown = (await job.get()).json()
    assert list(shown["downloads"]) == list(FORMATS)
    assert shown["result"]["receipt"]["parameters"]["caption_preset"] == "broadcast"


@pytest.mark.usefixtures("exporter")
async def test_the_report_is_of_the_captions_as_they_are_stored(gateway: Gateway, joblog: JobLog) -> None:
    job = Submitted(gateway, joblog, await gateway.submit())
    await job.heard()
    await job.completed()

    told = msgspec.json.decode((await job.get("/quality")).content, type=Quality)

    assert (told.words, told.attributed) == (17, 1.0)
    assert {one.preset: one.captions for one in told.presets} == {
        preset: captions(preset).count(b"-->") for preset in PRESETS
    }
    assert all((one.words, one.words_dropped) == (17, 0) for one in told.presets)


async def test_an_unknown_preset_is_named_and_so_are_those_there_are(
    gateway: Gateway, joblog: JobLog, store: Store
) -> None:
    job = Submitted(gateway, joblog, await gateway.submit())
    for state in ("waiting", "completed"):
        if state == "completed":
            await job.stages.start()
            await job.stages.complete(store, MORE)
        for preset in ("cinema", "", "social.srt", "../x", "Social"):
            answer = await job.get("/download/srt", preset=preset)
            told = (answer.status_code, answer.json()["code"], answer.json()["field"])
            assert told == (404, "unknown_preset", "preset"), preset
            assert all(name in answer.json()["detail"] for name in PRESETS)
    refused = await gateway.http.post(
        "/api/jobs/submit", files={"file": ("talk.mp4", b"sound")}, data={"caption_preset": "cinema"}
    )
    assert (refused.status_code, refused.json()["field"]) == (400, "caption_preset")
    assert all(name in refused.json()["detail"] for name in ("cinema", *PRESETS))


async def test_before_a_job_is_over_there_is_no_report_and_no_preset(gateway: Gateway, joblog: JobLog) -> None:
    job = Submitted(gateway, joblog, await gateway.submit())

    for answer in (await job.get("/quality"), await job.get("/download/vtt", preset="social")):
        assert (answer.status_code, answer.json()["code"]) == (409, "not_finished")


async def test_a_job_of_before_there_were_presets_says_so_and_keeps_its_captions(
    gateway: Gateway, joblog: JobLog, store: Store
) -> None:
    job = Submitted(gateway, joblog, await gateway.submit())
    await job.stages.start()
    await job.stages.complete(store)

    assert (await job.get("/download/srt")).content == RESULTS["srt"]
    answer = await job.get("/download/srt", preset="social")
    assert (answer.status_code, answer.json()["code"]) == (409, "preset_not_made")
    assert "social" in answer.json()["detail"]
    assert (await job.get("/quality")).json()["code"] == "no_report"
    assert (await job.get("/download/json", preset="social")).content == RESULTS["json"]


async def test_a_share_reads_the_report_and_every_preset(gateway: Gateway, joblog: JobLog, store: Store) -> None:
    job = Submitted(gateway, joblog, await gateway.submit())
    await job.stages.start()
    await job.stages.complete(store, MORE)
    share = (await gateway.http.post(f"{job.path}/share", headers={"Authorization": f"Bearer {job.token}"})).json()

    assert (await job.get("/quality", share["share_token"])).json()["words"] == 1
    assert (await job.get("/download/vtt", share["share_token"], preset="social")).content == MORE["social.vtt"]
    assert (await job.get("/quality", "wrong")).json()["code"] == "job_not_found"


async def test_a_report_that_is_no_longer_stored_is_gone(gateway: Gateway, joblog: JobLog, store: Store) -> None:
    job = Submitted(gateway, joblog, await gateway.submit())
    await job.stages.start()
    await job.stages.complete(store, MORE)
    await store.delete((await job.stages.view()).results["quality"].key)

    assert (await job.get("/quality")).status_code == 410
