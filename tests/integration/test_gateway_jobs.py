"""Single jobs and lists: who sees what, who may do what."""

import asyncio
from typing import Any

import httpx
import pytest
from nats.aio.client import Client

from chassis.admission import Admission, State
from chassis.joblog import JobLog
from chassis.store import Store
from cli.standalone.postgres import PostgresServer
from contracts import topology
from contracts.progress import LiveProgress, Stage
from services.projector.app import serve as serve_projector
from tests.integration.conftest import Gateway, running_gateway, until
from tests.integration.stages import RESULTS, Stages


@pytest.fixture
async def admission(client: Client) -> Admission:
    return Admission(await client.jetstream().key_value(topology.ADMISSION))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Submitted:
    """A job in the gateway, and its token."""

    def __init__(self, gateway: Gateway, answer: dict[str, Any]) -> None:
        self.http = gateway.http
        self.job_id: str = answer["job_id"]
        self.token: str = answer["access_token"]
        self.path = f"/api/jobs/{self.job_id}"

    async def get(self) -> dict[str, Any]:
        answer = await self.http.get(self.path, headers=bearer(self.token))
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def ask(self, method: str, path: str = "", token: str | None = None, **rest: Any) -> httpx.Response:
        return await self.http.request(method, self.path + path, headers=bearer(token or self.token), **rest)


@pytest.fixture
async def job(gateway: Gateway) -> Submitted:
    return Submitted(gateway, await gateway.submit())


@pytest.fixture
def stages(joblog: JobLog, job: Submitted) -> Stages:
    return Stages(joblog, job.job_id)


async def test_a_job_is_followed_from_pending_to_its_result(job: Submitted, stages: Stages, store: Store) -> None:
    seen = [await job.get()]
    for step in (stages.start(), stages.extract(), stages.plan(2), stages.transcribe(0)):
        await step
        seen.append(await job.get())
    await stages.complete(store)
    done = await job.get()
    assert [one["status"] for one in seen] == ["pending"] + ["processing"] * 4
    assert [one["progress_stage"] for one in seen] == [
        "queued", "extracting", "transcribing", "transcribing", "transcribing",
    ]  # fmt: skip
    assert sorted(one["progress"] for one in seen) == [one["progress"] for one in seen]
    assert seen[2]["duration_s"] == 10.0
    assert (done["status"], done["progress"], done["progress_stage"]) == ("completed", 100.0, "complete")
    assert done["result"]["segments"][0]["text"] == "hello"
    assert set(done["downloads"]) == set(RESULTS)
    assert done["completed_at"]


async def test_progress_between_facts_is_shown_and_never_taken_back(
    job: Submitted, stages: Stages, joblog: JobLog
) -> None:
    await stages.start()

    async def says(fraction: float) -> float:
        await joblog.report(LiveProgress(job_id=job.job_id, run=1, stage=Stage.EXTRACTING, fraction=fraction))
        await asyncio.sleep(0.1)
        return float((await job.get())["progress"])

    half, quarter = await says(0.5), await says(0.25)
    assert half > 0
    assert quarter == half
    assert (await job.get())["stages"]["extracting"] == 0.5


async def test_a_failed_job_says_why_without_our_secrets(job: Submitted, stages: Stages) -> None:
    await stages.start()
    await stages.fail()
    body = await job.get()
    assert (body["status"], body["error_code"], body["error_reference"]) == ("failed", "no_audio", "abc123")
    assert body["error_message"] == "The file has no sound track."
    assert body["error_hint"]
    assert "secret" not in str(body)


async def test_a_wrong_token_a_missing_token_and_an_unknown_job_are_told_the_same(
    job: Submitted, gateway: Gateway
) -> None:
    answers = [
        await gateway.http.get(job.path),
        await gateway.http.get(job.path, headers=bearer("wrong")),
        await gateway.http.get(job.path, params={"token": "wrong"}),
        await gateway.http.get(job.path, params={"token": "x" * 5000}),
        await gateway.http.get(job.path, headers={"Authorization": "Basic abc"}),
        await gateway.http.get(f"/api/jobs/{'0' * 32}", headers=bearer(job.token)),
        await gateway.http.get("/api/jobs/not*an>id", headers=bearer(job.token)),
        *[
            await gateway.http.request(method, job.path + path, headers=bearer("wrong"))
            for method, path in [
                ("DELETE", ""), ("POST", "/retry"), ("POST", "/share"), ("GET", "/share"), ("DELETE", "/share/1"),
                ("GET", "/download/srt"),
            ]
        ],
    ]  # fmt: skip
    assert {(answer.status_code, answer.text) for answer in answers} == {(404, answers[0].text)}
    assert answers[0].json()["code"] == "job_not_found"
    assert (await gateway.http.get(job.path, params={"token": job.token})).status_code == 200


async def test_a_waiting_job_can_be_cancelled_once_and_for_all(
    job: Submitted, joblog: JobLog, admission: Admission
) -> None:
    answer = await job.ask("DELETE")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert (await job.ask("DELETE")).status_code == 200
    assert (await admission.ledger()).places[job.job_id].state is State.CANCELLED
    assert len(await joblog.facts_of(job.job_id)) == 2


async def test_a_job_that_the_dispatcher_took_first_is_not_cancelled(
    job: Submitted, joblog: JobLog, admission: Admission
) -> None:
    await admission.change(lambda ledger: ledger.with_state(job.job_id, State.ACTIVE))
    answer = await job.ask("DELETE")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_cancellable")
    assert len(await joblog.facts_of(job.job_id)) == 1


async def test_a_running_or_finished_job_is_not_cancelled(job: Submitted, stages: Stages, store: Store) -> None:
    await stages.start()
    assert (await job.ask("DELETE")).status_code == 409
    await stages.complete(store)
    assert (await job.ask("DELETE")).status_code == 409


async def test_a_failed_job_is_retried_with_the_same_settings(
    gateway: Gateway, joblog: JobLog, admission: Admission
) -> None:
    job = Submitted(gateway, await gateway.submit(language="de"))
    stages = Stages(joblog, job.job_id)
    assert (await job.ask("POST", "/retry")).json()["code"] == "not_retryable"
    await stages.start()
    await stages.fail()
    await admission.release(job.job_id)  # as the dispatcher does
    answer = await job.ask("POST", "/retry")
    assert answer.status_code == 202
    body = answer.json()
    assert (body["status"], body["run"], body["progress"]) == ("pending", 2, 0.0)
    assert body["parameters"]["language"] == "de"
    assert (await admission.ledger()).places[job.job_id].run == 2


async def test_of_racing_retries_one_wins_and_the_others_are_told(
    job: Submitted, stages: Stages, joblog: JobLog, admission: Admission
) -> None:
    await stages.start()
    await stages.fail()
    await admission.release(job.job_id)
    answers = await asyncio.gather(*(job.ask("POST", "/retry") for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409, 409]
    assert len(await joblog.facts_of(job.job_id)) == 4
    assert (await admission.ledger()).places[job.job_id].run == 2


async def test_a_retry_finds_the_queue_full_like_a_submit(
    environ: dict[str, str], joblog: JobLog, admission: Admission
) -> None:
    limits = {"SUBTIDE_MAX_ACTIVE_JOBS": "1", "SUBTIDE_MAX_QUEUED_JOBS": "0"}
    async with running_gateway(environ | limits) as gateway:
        job = Submitted(gateway, await gateway.submit())
        await job.ask("DELETE")
        await admission.release(job.job_id)  # as the dispatcher does
        other = await gateway.submit()
        answer = await job.ask("POST", "/retry")
        assert (answer.status_code, answer.json()["code"]) == (429, "queue_full")
        assert list((await admission.ledger()).places) == [other["job_id"]]
        assert (await job.get())["status"] == "cancelled"


async def test_a_share_looks_on_and_does_nothing_else(job: Submitted, stages: Stages, store: Store) -> None:
    await stages.start()
    await stages.complete(store)
    minted = (await job.ask("POST", "/share")).json()
    share = minted["share_token"]
    assert minted["share_id"] == 1
    assert share in minted["url"]
    assert job.token not in minted["url"]
    assert (await job.ask("GET", token=share)).status_code == 200
    assert (await job.ask("GET", "/download/srt", token=share)).status_code == 200
    for method, path in (("DELETE", ""), ("POST", "/retry"), ("POST", "/share"), ("GET", "/share"),
                         ("DELETE", "/share/1")):  # fmt: skip
        assert (await job.ask(method, path, token=share)).status_code == 404
    assert (await job.ask("DELETE", "/share/1")).status_code == 204
    assert (await job.ask("DELETE", "/share/1")).status_code == 204
    assert (await job.ask("DELETE", "/share/2")).json()["code"] == "share_not_found"
    assert (await job.ask("GET", token=share)).status_code == 404
    listed = (await job.ask("GET", "/share")).json()
    assert [(one["share_id"], one["revoked"]) for one in listed] == [(1, True)]
    assert "token" not in str(listed)


async def test_racing_shares_get_numbers_of_their_own_over_runs(
    job: Submitted, stages: Stages, admission: Admission
) -> None:
    minted = await asyncio.gather(*(job.ask("POST", "/share") for _ in range(4)))
    await stages.start()
    await stages.fail()
    await admission.release(job.job_id)
    await job.ask("POST", "/retry")
    minted.append(await job.ask("POST", "/share"))
    assert sorted(one.json()["share_id"] for one in minted) == [1, 2, 3, 4, 5]
    for one in minted:
        assert (await job.ask("GET", token=one.json()["share_token"])).status_code == 200


class TestDownload:
    """Of finished subtitles."""

    @pytest.fixture(autouse=True)
    async def finished(self, stages: Stages, store: Store) -> None:
        await stages.start()
        await stages.complete(store)

    @pytest.mark.parametrize(
        ("name", "content_type"),
        [
            ("srt", "application/x-subrip; charset=utf-8"),
            ("vtt", "text/vtt; charset=utf-8"),
            ("json", "application/json"),
            ("txt", "text/plain; charset=utf-8"),
        ],
    )
    async def test_has_the_content_its_type_and_a_name(self, job: Submitted, name: str, content_type: str) -> None:
        answer = await job.ask("GET", f"/download/{name}")
        assert answer.content == RESULTS[name]
        assert answer.headers["content-type"] == content_type
        assert answer.headers["content-disposition"].startswith(f'attachment; filename="talk.{name}"')
        assert int(answer.headers["content-length"]) == len(RESULTS[name])

    async def test_head_tells_without_sending(self, job: Submitted) -> None:
        answer = await job.ask("HEAD", "/download/srt")
        assert answer.status_code == 200
        assert answer.content == b""
        assert int(answer.headers["content-length"]) == len(RESULTS["srt"])
        assert answer.headers["etag"]

    async def test_is_not_sent_again_to_one_who_has_it(self, job: Submitted) -> None:
        etag = (await job.ask("GET", "/download/srt")).headers["etag"]
        again = await job.http.get(
            f"{job.path}/download/srt", headers=bearer(job.token) | {"If-None-Match": f'"other", W/{etag}'}
        )
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)

    @pytest.mark.parametrize(
        ("header", "start", "end"), [("bytes=3-9", 3, 10), ("bytes=5-", 5, None), ("bytes=-4", -4, None)]
    )
    async def test_is_sent_in_parts(self, job: Submitted, header: str, start: int, end: int | None) -> None:
        answer = await job.http.get(f"{job.path}/download/txt", headers=bearer(job.token) | {"Range": header})
        assert answer.status_code in (200, 206)
        size = len(RESULTS["txt"])
        if header == "bytes=3-9":
            assert answer.headers["content-range"] == f"bytes 3-{size - 1}/{size}"
        assert answer.status_code == 206
        assert answer.content == RESULTS["txt"][start:end]

    @pytest.mark.parametrize("header", ["bytes=1-2,4-5", "lines=1-2", "bytes=9-1", "bytes=-", "bytes=x-"])
    async def test_a_range_that_is_none_sends_all(self, job: Submitted, header: str) -> None:
        answer = await job.http.get(f"{job.path}/download/txt", headers=bearer(job.token) | {"Range": header})
        assert (answer.status_code, answer.content) == (200, RESULTS["txt"])

    async def test_a_range_outside_is_refused_with_the_size(self, job: Submitted) -> None:
        answer = await job.http.get(f"{job.path}/download/txt", headers=bearer(job.token) | {"Range": "bytes=100-"})
        assert answer.status_code == 416
        assert answer.headers["content-range"] == f"bytes */{len(RESULTS['txt'])}"

    async def test_a_part_of_another_version_is_not_sent(self, job: Submitted) -> None:
        headers = bearer(job.token) | {"Range": "bytes=1-2", "If-Range": '"other"'}
        answer = await job.http.get(f"{job.path}/download/txt", headers=headers)
        assert (answer.status_code, answer.content) == (200, RESULTS["txt"])

    async def test_of_an_unknown_format_or_a_lost_file_says_so(self, job: Submitted, store: Store) -> None:
        assert (await job.ask("GET", "/download/exe")).json()["code"] == "unknown_format"
        await store.delete(f"cache/anon/exporter/{job.job_id}.txt")
        lost = await job.ask("GET", "/download/txt")
        assert (lost.status_code, lost.json()["code"]) == (410, "result_missing")


async def test_there_is_no_download_before_the_end(job: Submitted) -> None:
    answer = await job.ask("GET", "/download/srt")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_finished")


async def test_lists_are_newest_first_and_leave_out_what_the_tokens_do_not_open(
    gateway: Gateway, environ: dict[str, str]
) -> None:
    mine = [await gateway.submit() for _ in range(5)]
    await gateway.submit()
    tokens = [one["access_token"] for one in mine] + ["unknown"]
    newest_first = [one["job_id"] for one in reversed(mine)]
    stop = asyncio.Event()
    projecting = asyncio.create_task(serve_projector(environ, stop))
    try:

        async def projected() -> bool:
            answer = await gateway.http.post("/api/jobs/query", json={"tokens": tokens})
            return answer.status_code == 200 and answer.json()["total"] == 5

        await until(projected)
        page = (
            await gateway.http.get("/api/jobs", params={"tokens": ",".join(tokens), "per_page": 2, "page": 2})
        ).json()
        assert [job["job_id"] for job in page["jobs"]] == newest_first[2:4]
        assert (page["total"], page["page"], page["per_page"]) == (5, 2, 2)
        beyond = (await gateway.http.post("/api/jobs/query", json={"tokens": tokens, "page": 9})).json()
        assert (beyond["jobs"], beyond["total"]) == ([], 5)
        share = (
            await gateway.http.post(f"/api/jobs/{newest_first[0]}/share", headers=bearer(mine[-1]["access_token"]))
        ).json()["share_token"]

        async def shared() -> bool:
            answer = await gateway.http.post("/api/jobs/query", json={"tokens": [share]})
            return [job["job_id"] for job in answer.json()["jobs"]] == newest_first[:1]

        await until(shared)
    finally:
        stop.set()
        await projecting
    nothing = (await gateway.http.get("/api/jobs")).json()
    assert nothing["jobs"] == []
    for query in ({"tokens": ["x"], "per_page": 101}, {"tokens": ["x"] * 501}, {"tokens": ["x"], "page": 0}):
        assert (await gateway.http.post("/api/jobs/query", json=query)).status_code == 400


async def test_without_postgres_lists_say_so_and_all_else_works(
    environ: dict[str, str], postgres_server: PostgresServer
) -> None:
    postgres_server.stop()
    try:
        async with running_gateway(environ) as gateway:
            job = Submitted(gateway, await gateway.submit())
            assert (await job.get())["status"] == "pending"
            answer = await gateway.http.get("/api/jobs", params={"tokens": job.token})
            ready = await gateway.http.get("/health/ready")
    finally:
        postgres_server.start()
    assert (answer.status_code, answer.json()["code"]) == (503, "list_unavailable")
    assert ready.status_code == 200
    assert ready.json()["postgres"] is False
