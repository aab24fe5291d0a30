"""The recording beside its transcript: ranges, tickets, outline, captions."""

import time
from typing import Any

import msgspec
import pytest

from chassis.joblog import JobLog
from chassis.store import Store
from contracts import facts
from contracts.artifacts import ArtifactRef, part_key
from contracts.parameters import Parameters
from contracts.progress import JobView
from contracts.transcript import MediaFacts, MediaTrack
from services.gateway import access
from services.gateway.media import TICKET_S, Peaks, Tickets
from tests.integration.conftest import Gateway
from tests.runs import RECEIPT, Run

CONTENT = bytes(range(256)) * 40
PEAKS = Peaks(version=2, channels=1, sample_rate=16_000, samples_per_pixel=256, bits=8, length=1, data=[-3, 4])
SOUND = MediaTrack(index=0, kind="audio", codec="aac")
PICTURE = MediaTrack(index=1, kind="video", codec="h264")
COVER = MediaTrack(index=1, kind="video", codec="mjpeg")


def auth(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Played:
    """A job whose recording was read, and a completed one where asked for."""

    def __init__(self, gateway: Gateway, joblog: JobLog, store: Store) -> None:
        self._gateway = gateway
        self._joblog = joblog
        self._store = store
        self.job_id = ""
        self.token = ""

    async def submitted(self, content: bytes = CONTENT) -> None:
        answer = await self._gateway.submit(content)
        self.job_id, self.token = answer["job_id"], answer["access_token"]

    async def read(self, tracks: list[MediaTrack], container: str = "mov,mp4,m4a,3gp,3g2,mj2") -> None:
        accepted = (await self._joblog.facts_of(self.job_id))[0].fact
        assert isinstance(accepted, facts.JobAccepted)
        of_job: dict[str, Any] = {"job_id": self.job_id, "run": 1, "owner": accepted.owner, "at": accepted.at}
        await self._store.put_record("cache/anon/extractor/a.peaks.json", PEAKS)
        peaks = ArtifactRef(key="cache/anon/extractor/a.peaks.json", digest="a" * 64, bytes=1)
        await self._joblog.append(
            facts.JobStarted(
                **of_job, filename=accepted.filename, source=accepted.source, parameters=accepted.parameters
            )
        )
        await self._joblog.append(
            facts.AudioExtracted(
                **of_job,
                audio=peaks,
                peaks=peaks,
                media=MediaFacts(duration_s=4.0, container=container, tracks=tracks, audio_track=0),
                parameters=accepted.parameters,
                receipt=RECEIPT,
            )
        )

    async def completed(self) -> None:
        accepted = (await self._joblog.facts_of(self.job_id))[0].fact
        await self._store.put("cache/anon/exporter/a.vtt", b"WEBVTT\n")
        await self._joblog.append(
            facts.JobCompleted(
                job_id=self.job_id,
                run=1,
                owner=accepted.owner,
                at=accepted.at,
                results={"vtt": ArtifactRef(key="cache/anon/exporter/a.vtt", digest="b" * 64, bytes=7)},
                language="en",
                duration_s=4.0,
                speakers=1,
                words=1,
                receipt=RECEIPT,
            )
        )

    async def playable(self, token: str = "") -> dict[str, Any]:
        answer = await self._gateway.http.post(f"/api/jobs/{self.job_id}/playable", headers=auth(token or self.token))
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body


@pytest.fixture
async def played(gateway: Gateway, joblog: JobLog, store: Store) -> Played:
    """A video that was read."""
    job = Played(gateway, joblog, store)
    await job.submitted()
    await job.read([SOUND, PICTURE])
    return job


async def test_the_recording_is_played_by_ranges_and_never_as_a_page(gateway: Gateway, played: Played) -> None:
    path = f"/api/jobs/{played.job_id}/media"
    whole = await gateway.http.get(path, headers=auth(played.token))
    assert (whole.status_code, whole.content) == (200, CONTENT)
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["content-disposition"] == "inline"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in whole.headers["content-security-policy"]
    part = await gateway.http.get(path, headers=auth(played.token) | {"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, CONTENT[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(CONTENT)}"
    rest = await gateway.http.get(path, headers=auth(played.token) | {"Range": f"bytes={len(CONTENT) - 5}-"})
    assert (rest.status_code, rest.content) == (206, CONTENT[-5:])
    beyond = await gateway.http.get(path, headers=auth(played.token) | {"Range": f"bytes={len(CONTENT)}-"})
    assert (beyond.status_code, beyond.json()["code"]) == (416, "range_outside")
    looked = await gateway.http.head(path, headers=auth(played.token))
    assert (looked.status_code, looked.headers["content-length"]) == (200, str(len(CONTENT)))
    known = await gateway.http.get(path, headers=auth(played.token) | {"If-None-Match": whole.headers["etag"]})
    assert known.status_code == 304


@pytest.mark.parametrize(("start", "end"), [(0, 30), (0, 1), (9, 10), (9, 11), (10, 20), (19, 30), (29, 30), (5, 25)])
async def test_a_recording_in_parts_is_played_as_one(
    gateway: Gateway, joblog: JobLog, store: Store, start: int, end: int
) -> None:
    # given an upload that lies in three parts, with a number given up between them
    content = bytes(range(30))
    ref = ArtifactRef(key="uploads/anon/parts", digest="c" * 64, bytes=30, parts=[10, 0, 10, 10])
    for number, at in ((0, 0), (2, 10), (3, 20)):
        await store.put(part_key(ref.key, number), content[at : at + 10])
    token, token_sha256 = access.mint()
    run = Run(job_id="a" * 32)
    accepted = msgspec.structs.replace(run.accepted, source=ref, token_sha256=token_sha256)
    for fact in (accepted, run.started, run.extracted):
        await joblog.append(fact)
    # when some of it is asked for
    answer = await gateway.http.get(
        f"/api/jobs/{run.job_id}/media", headers=auth(token) | {"Range": f"bytes={start}-{end - 1}"}
    )
    # then it is just that
    assert (answer.status_code, answer.content) == (206, content[start:end])


@pytest.mark.parametrize(
    ("tracks", "container", "kind", "content_type"),
    [
        ([SOUND, PICTURE], "matroska,webm", "video", "video/webm"),
        ([SOUND, COVER], "mp3", "audio", "audio/mpeg"),
        ([SOUND], "wav", "audio", "audio/wav"),
        ([SOUND], "svg_pipe", "audio", "application/octet-stream"),
    ],
)
async def test_the_type_is_from_a_short_list(
    gateway: Gateway,
    joblog: JobLog,
    store: Store,
    tracks: list[MediaTrack],
    container: str,
    kind: str,
    content_type: str,
) -> None:
    job = Played(gateway, joblog, store)
    await job.submitted()
    await job.read(tracks, container)
    answer = await job.playable()
    assert (answer["kind"], answer["content_type"]) == (kind, content_type)
    assert (await gateway.http.get(answer["url"])).headers["content-type"] == content_type


async def test_a_player_needs_no_token_but_a_ticket_that_opens_the_media_alone(
    gateway: Gateway, played: Played
) -> None:
    await played.completed()
    answer = await played.playable()
    assert answer["owner"] is True
    assert played.token not in answer["url"] + answer["captions_url"]
    assert (await gateway.http.get(answer["url"])).content == CONTENT
    captions = await gateway.http.get(answer["captions_url"])
    assert captions.content == b"WEBVTT\n"
    assert captions.headers["content-type"].startswith("text/vtt")
    ticket = answer["url"].partition("ticket=")[2]
    for path in ("", "/download/vtt", "/peaks"):
        refused = await gateway.http.get(f"/api/jobs/{played.job_id}{path}?ticket={ticket}&token={ticket}")
        assert refused.status_code == 404
    for wrong in (f"{ticket}0", ticket[:-1], "f" * 9 + ticket[8:], "x.y", ".", "ü", "x" * 97):
        refused = await gateway.http.get(f"/api/jobs/{played.job_id}/media", params={"ticket": wrong})
        assert refused.status_code in (400, 404), wrong


async def test_a_ticket_ends_with_the_share_that_it_was_made_with(gateway: Gateway, played: Played) -> None:
    share = (await gateway.http.post(f"/api/jobs/{played.job_id}/share", headers=auth(played.token))).json()
    answer = await played.playable(share["share_token"])
    assert answer["owner"] is False
    assert (await gateway.http.get(answer["url"])).status_code == 200
    await gateway.http.delete(f"/api/jobs/{played.job_id}/share/{share['share_id']}", headers=auth(played.token))
    assert (await gateway.http.get(answer["url"])).status_code == 404


async def test_a_ticket_of_one_job_opens_no_other(
    gateway: Gateway, played: Played, joblog: JobLog, store: Store
) -> None:
    other = Played(gateway, joblog, store)
    await other.submitted(b"another")
    await other.read([SOUND])
    address = (await other.playable())["url"].replace(other.job_id, played.job_id)
    assert (await gateway.http.get(address)).status_code == 404


def test_a_ticket_holds_to_its_last_second_and_no_longer() -> None:
    run = Run(job_id="a" * 32)
    fact = run.accepted
    view = JobView(
        job_id=fact.job_id,
        owner=fact.owner,
        run=1,
        seq=1,
        filename=fact.filename,
        source=fact.source,
        parameters=Parameters(),
        token_sha256=fact.token_sha256,
        status="pending",  # type: ignore[arg-type]
        stage_fractions={},
        accepted_at=fact.at,
    )
    tickets, now_s = Tickets(b"secret" * 4), float(int(time.time()))
    ticket = tickets.made(view, view.token_sha256, now_s=now_s)
    assert tickets.opens(view, ticket, now_s=now_s + TICKET_S - 1)
    assert not tickets.opens(view, ticket, now_s=now_s + TICKET_S)
    assert not Tickets(b"another" * 4).opens(view, ticket, now_s=now_s)


async def test_the_outline_is_there_once_the_recording_was_read(gateway: Gateway, joblog: JobLog, store: Store) -> None:
    job = Played(gateway, joblog, store)
    await job.submitted()
    for method, path in (("GET", "media"), ("GET", "peaks"), ("POST", "playable")):
        answer = await gateway.http.request(method, f"/api/jobs/{job.job_id}/{path}", headers=auth(job.token))
        assert (answer.status_code, answer.json()["code"]) == (409, "not_read_yet"), path
    await job.read([SOUND])
    answer = await gateway.http.get(f"/api/jobs/{job.job_id}/peaks", headers=auth(job.token))
    assert answer.json() == msgspec.to_builtins(PEAKS)


async def test_nobody_else_sees_or_hears_anything(gateway: Gateway, played: Played) -> None:
    for method, path in (("GET", "media"), ("GET", "peaks"), ("GET", "captions"), ("POST", "playable")):
        for headers in ({}, auth("wrong")):
            answer = await gateway.http.request(method, f"/api/jobs/{played.job_id}/{path}", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


async def test_a_recording_that_is_gone_is_said_to_be(gateway: Gateway, played: Played, store: Store) -> None:
    async for stored in store.list("uploads/"):
        await store.delete(stored.key)
    answer = await gateway.http.get(f"/api/jobs/{played.job_id}/media", headers=auth(played.token))
    assert (answer.status_code, answer.json()["code"]) == (410, "result_missing")
