"""How a job ends by its owner's will, what nobody else may do, and what is said of a job that is gone."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from websockets.asyncio.client import connect

from chassis.admission import Admission, State
from chassis.joblog import JobLog
from chassis.store import Store
from contracts import facts, subjects, topology
from tests.integration.conftest import Gateway, running_gateway
from tests.integration.stages import Stages

KEPT = "This recording has been kept as long as promised and is now deleted."
DELETED = "This recording was deleted by its owner."
OPERATOR = "the operator's own token"


@pytest.fixture
async def admission(client: Client) -> Admission:
    return Admission(await client.jetstream().key_value(topology.ADMISSION))


class Owned:
    """A job, and what is asked of it."""

    def __init__(self, gateway: Gateway, answer: dict[str, Any]) -> None:
        self.gateway = gateway
        self.job_id: str = answer["job_id"]
        self.token: str = answer["access_token"]

    async def ask(self, method: str, path: str = "", *, token: str | None = None, **params: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return await self.gateway.http.request(method, f"/api/jobs/{self.job_id}{path}", headers=headers, params=params)

    async def told(self, token: str | None = None) -> dict[str, Any]:
        """The first message of a websocket that subscribes."""
        async with connect(self.gateway.ws_url) as socket:
            await socket.send(
                json.dumps({"type": "subscribe", "job_id": self.job_id, "token": token or self.token, "since": 0})
            )
            async with asyncio.timeout(10):
                message: dict[str, Any] = json.loads(await socket.recv())
                return message


@pytest.fixture
async def job(gateway: Gateway) -> Owned:
    return Owned(gateway, await gateway.submit())


@pytest.fixture
def stages(joblog: JobLog, job: Owned) -> Stages:
    return Stages(joblog, job.job_id)


class TestCancelling:
    """A job that runs."""

    @pytest.fixture(autouse=True)
    async def started(self, job: Owned, stages: Stages, admission: Admission) -> None:
        await admission.change(lambda ledger: ledger.with_state(job.job_id, State.ACTIVE))
        await stages.start()

    async def test_needs_to_be_said_outright(self, job: Owned, stages: Stages) -> None:
        refused = await job.ask("DELETE")
        assert (refused.status_code, refused.json()["code"]) == (409, "not_cancellable")
        cancelled = await job.ask("DELETE", running="true")
        assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
        assert (await job.ask("DELETE", running="true")).status_code == 200
        assert (await stages.view()).status == "cancelled"
        assert len(await stages.joblog.facts_of(job.job_id)) == 3

    async def test_comes_too_late_once_it_is_over(self, job: Owned, stages: Stages, store: Store) -> None:
        await stages.complete(store)
        late = await job.ask("DELETE", running="true")
        assert (late.status_code, late.json()["code"]) == (409, "not_cancellable")
        assert "completed" in late.json()["detail"]

    async def test_that_races_its_end_has_one_outcome_and_the_right_answer(
        self, job: Owned, stages: Stages, store: Store
    ) -> None:
        answers, _ = await asyncio.gather(
            asyncio.gather(*(job.ask("DELETE", running="true") for _ in range(5))),
            asyncio.gather(stages.complete(store), return_exceptions=True),
        )
        view = await stages.view()
        ends = [one.fact for one in await stages.joblog.facts_of(job.job_id) if facts.ends_run(one.fact)]
        assert len(ends) == 1
        assert {answer.status_code for answer in answers} == ({200} if view.status == "cancelled" else {409})

    async def test_can_be_retried_afterwards(self, job: Owned) -> None:
        await job.ask("DELETE", running="true")
        answer = await job.ask("POST", "/retry")
        assert (answer.status_code, answer.json()["run"]) == (202, 2)


async def test_a_job_that_the_dispatcher_has_just_taken_is_cancelled_if_that_was_said(
    job: Owned, stages: Stages, admission: Admission
) -> None:
    await admission.change(lambda ledger: ledger.with_state(job.job_id, State.ACTIVE))
    assert (await job.ask("DELETE")).status_code == 409
    assert (await job.ask("DELETE", running="true")).json()["status"] == "cancelled"
    await stages.start()
    assert (await stages.view()).status == "cancelled"


async def test_a_job_is_deleted_only_after_its_end(job: Owned, stages: Stages, store: Store) -> None:
    for step in (None, stages.start()):
        if step is not None:
            await step
        refused = await job.ask("DELETE", delete="true")
        assert (refused.status_code, refused.json()["code"]) == (409, "not_deletable")
        assert "cancel it first" in refused.json()["detail"]
    await stages.complete(store)
    deleted = await job.ask("DELETE", delete="true")
    assert deleted.status_code == 200
    assert (deleted.json()["status"], deleted.json()["downloads"]) == ("completed", {})
    last = (await stages.joblog.facts_of(job.job_id))[-1].fact
    assert isinstance(last, facts.JobExpired)
    assert last.on_request


async def test_of_deletions_that_race_one_is_a_fact(job: Owned, stages: Stages, store: Store) -> None:
    await stages.start()
    await stages.complete(store)
    answers = await asyncio.gather(*(job.ask("DELETE", delete="true") for _ in range(5)))
    assert {answer.status_code for answer in answers} <= {200, 410}
    assert 200 in {answer.status_code for answer in answers}
    recorded = await stages.joblog.facts_of(job.job_id)
    assert sum(isinstance(one.fact, facts.JobExpired) for one in recorded) == 1


async def test_of_a_retry_and_a_deletion_that_race_one_is_true(job: Owned, stages: Stages) -> None:
    await stages.start()
    await stages.fail()
    retried, deleted = await asyncio.gather(job.ask("POST", "/retry"), job.ask("DELETE", delete="true"))
    assert (retried.status_code, deleted.status_code) in [(202, 409), (410, 200)]
    later = [one.fact for one in await stages.joblog.facts_of(job.job_id)][-1]
    assert isinstance(later, facts.JobAccepted if retried.status_code == 202 else facts.JobExpired)


class TestGone:
    """A job that has expired, by time or on request."""

    @pytest.fixture(params=[False, True], ids=["kept long enough", "deleted"])
    def on_request(self, request: pytest.FixtureRequest) -> bool:
        asked: bool = request.param
        return asked

    @pytest.fixture
    async def shared(self, job: Owned) -> dict[str, str]:
        """A share that is valid, and one that was revoked."""
        valid, revoked = [(await job.ask("POST", "/share")).json() for _ in range(2)]
        await job.ask("DELETE", f"/share/{revoked['share_id']}")
        return {"valid": valid["share_token"], "revoked": revoked["share_token"]}

    @pytest.fixture(autouse=True)
    async def expired(self, job: Owned, stages: Stages, store: Store, on_request: bool, shared: dict[str, str]) -> None:
        await stages.start()
        await stages.complete(store)
        if on_request:
            assert (await job.ask("DELETE", delete="true")).status_code == 200
        else:
            fact = facts.JobExpired(job_id=job.job_id, run=1, owner="anon", at=datetime.now(UTC))
            assert await stages.joblog.append(fact) is not None

    @pytest.mark.parametrize(
        ("method", "path", "params"),
        [
            ("GET", "", {}),
            ("GET", "/download/srt", {}),
            ("GET", "/share", {}),
            ("POST", "/share", {}),
            ("DELETE", "/share/1", {}),
            ("POST", "/retry", {}),
            ("DELETE", "", {}),
            ("DELETE", "", {"running": "true"}),
            ("DELETE", "", {"delete": "true"}),
        ],
    )
    async def test_is_410_to_its_owner_whatever_he_asks(
        self, job: Owned, on_request: bool, method: str, path: str, params: dict[str, str]
    ) -> None:
        answer = await job.ask(method, path, **params)
        assert (answer.status_code, answer.json()["code"]) == (410, "expired")
        assert answer.json()["detail"] == (DELETED if on_request else KEPT)

    async def test_is_410_to_those_it_was_shared_with_and_404_to_all_others(
        self, job: Owned, shared: dict[str, str]
    ) -> None:
        for path in ("", "/download/srt"):
            assert (await job.ask("GET", path, token=shared["valid"])).status_code == 410
            for token in (shared["revoked"], "wrong"):
                assert (await job.ask("GET", path, token=token)).status_code == 404
        assert (await job.ask("POST", "/share", token=shared["valid"])).status_code == 404
        assert (await job.ask("POST", "/retry", token="wrong")).status_code == 404

    async def test_is_told_on_the_websocket(self, job: Owned, on_request: bool, shared: dict[str, str]) -> None:
        for token in (job.token, shared["valid"]):
            told = await job.told(token)
            assert (told["type"], told["code"]) == ("error", "expired")
            assert told["message"] == (DELETED if on_request else KEPT)
        for token in ("wrong", shared["revoked"]):
            assert (await job.told(token))["code"] == "job_not_found"


async def test_who_watches_a_job_that_is_deleted_is_told(job: Owned, stages: Stages, store: Store) -> None:
    await stages.start()
    await stages.complete(store)
    async with connect(job.gateway.ws_url) as socket:
        await socket.send(json.dumps({"type": "subscribe", "job_id": job.job_id, "token": job.token}))
        async with asyncio.timeout(10):
            assert json.loads(await socket.recv())["type"] == "snapshot"
            await job.ask("DELETE", delete="true")
            fact, error = [json.loads(await socket.recv()) for _ in range(2)]
    assert (fact["type"], fact["fact"]) == ("fact", "expired")
    assert (error["type"], error["code"], error["message"]) == ("error", "expired", DELETED)


async def test_a_share_reads_and_downloads_and_nothing_else(job: Owned, stages: Stages, store: Store) -> None:
    share = (await job.ask("POST", "/share")).json()["share_token"]
    await stages.start()
    for method, path, params in (
        ("DELETE", "", {}),
        ("DELETE", "", {"running": "true"}),
        ("DELETE", "", {"delete": "true"}),
        ("POST", "/retry", {}),
        ("POST", "/share", {}),
        ("GET", "/share", {}),
        ("DELETE", "/share/1", {}),
    ):
        refused = await job.ask(method, path, token=share, **params)
        assert (refused.status_code, refused.json()["code"]) == (404, "job_not_found")
    await stages.complete(store)
    assert (await job.ask("GET", token=share)).json()["status"] == "completed"
    assert (await job.ask("GET", "/download/srt", token=share)).status_code == 200
    assert (await job.told(share))["type"] == "snapshot"
    listed = (await job.ask("GET", "/share")).json()
    assert [(one["share_id"], one["revoked"]) for one in listed] == [(1, False)]
    assert len(await stages.joblog.facts_of(job.job_id)) == 4


class TestCheckStale:
    """The operator asks the janitor to put right what is not."""

    async def ask(self, gateway: Gateway, token: str | None) -> httpx.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return await gateway.http.post("/api/jobs/check-stale", headers=headers)

    async def test_is_not_there_where_nobody_is_the_operator(self, gateway: Gateway) -> None:
        for token in (None, "guess"):
            answer = await self.ask(gateway, token)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")

    async def test_answers_what_was_done(self, environ: dict[str, str], client: Client) -> None:
        async def janitor(message: Msg) -> None:
            await message.respond(b'{"processed": 7}')

        await client.subscribe(subjects.RECONCILE, cb=janitor)
        async with running_gateway(environ | {"SUBTIDE_GATEWAY_OPERATOR_TOKEN": OPERATOR}) as gateway:
            in_query = await gateway.http.post("/api/jobs/check-stale", params={"token": OPERATOR})
            wrong = [await self.ask(gateway, token) for token in (None, "guess", OPERATOR + "x", OPERATOR[:-1])]
            for refused in (in_query, *wrong):
                assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
            answer = await self.ask(gateway, OPERATOR)
        assert (answer.status_code, answer.json()) == (200, {"processed": 7})

    async def test_says_so_where_nobody_could_do_it_or_it_failed(self, environ: dict[str, str], client: Client) -> None:
        async with running_gateway(environ | {"SUBTIDE_GATEWAY_OPERATOR_TOKEN": OPERATOR}) as gateway:
            nobody = await self.ask(gateway, OPERATOR)

            async def broken(message: Msg) -> None:
                await message.respond(b"{}")

            await client.subscribe(subjects.RECONCILE, cb=broken)
            await client.flush()
            failed = await self.ask(gateway, OPERATOR)
        for answer in (nobody, failed):
            assert (answer.status_code, answer.json()["code"]) == (503, "reconcile_unavailable")
