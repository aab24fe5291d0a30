"""`Idempotency-Key` on what is done to a job: however often it is asked for, there is one share, one further run."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from nats.aio.client import Client

from chassis.joblog import JobLog
from contracts import facts, topology
from tests.integration.conftest import Gateway, running_gateway
from tests.integration.stages import Stages

SECRET = {"SUBTIDE_GATEWAY_SECRET": "the same for every gateway"}


async def ask(
    gateway: Gateway, job: dict[str, Any], deed: str, key: str | None = "k", method: str = "POST"
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {job['access_token']}"} | ({"Idempotency-Key": key} if key else {})
    return await gateway.http.request(method, f"/api/jobs/{job['job_id']}/{deed}", headers=headers)


async def failed(gateway: Gateway, joblog: JobLog) -> dict[str, Any]:
    job = await gateway.submit()
    stages = Stages(joblog, job["job_id"])
    await stages.start()
    await stages.fail()
    return job


async def of_kind(joblog: JobLog, job: dict[str, Any], kind: type[facts.Fact]) -> list[Any]:
    return [one.fact for one in await joblog.facts_of(job["job_id"]) if isinstance(one.fact, kind)]


async def test_a_share_asked_for_again_is_the_same_share(gateway: Gateway, joblog: JobLog) -> None:
    job = await gateway.submit()
    first, second = [await ask(gateway, job, "share") for _ in range(2)]
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert len(await of_kind(joblog, job, facts.ShareMinted)) == 1
    other, without = await ask(gateway, job, "share", "other"), await ask(gateway, job, "share", None)
    assert [one.json()["share_id"] for one in (first, other, without)] == [1, 2, 3]
    opened = await gateway.http.get(f"/api/jobs/{job['job_id']}", params={"token": second.json()["share_token"]})
    assert opened.status_code == 200


async def test_the_same_key_for_another_job_is_a_share_of_that_job(gateway: Gateway) -> None:
    one, other = [(await ask(gateway, await gateway.submit(), "share")).json() for _ in range(2)]
    assert one["share_token"] != other["share_token"]
    assert one["share_id"] == other["share_id"] == 1


async def test_a_share_that_was_revoked_does_not_come_back_by_its_key(gateway: Gateway, joblog: JobLog) -> None:
    job = await gateway.submit()
    share = (await ask(gateway, job, "share")).json()
    assert (await ask(gateway, job, "share/1", None, "DELETE")).status_code == 204
    again = await ask(gateway, job, "share")
    assert (again.status_code, again.json()["code"]) == (409, "share_revoked")
    assert share["share_token"] not in again.text
    assert len(await of_kind(joblog, job, facts.ShareMinted)) == 1
    assert (await ask(gateway, job, "share", "new")).json()["share_id"] == 2


async def test_a_share_whose_number_was_given_out_before_is_revoked_all_the_same(
    gateway: Gateway, joblog: JobLog, client: Client
) -> None:
    # given a share that was revoked, of which the log has forgotten that it was minted, but not that it was revoked
    job = await gateway.submit()
    assert (await ask(gateway, job, "share")).json()["share_id"] == 1
    assert (await ask(gateway, job, "share/1", None, "DELETE")).status_code == 204
    [minted] = [one.seq for one in await joblog.facts_of(job["job_id"], facts.ShareMinted)]
    await client.jetstream().delete_msg(topology.JOBS, minted)
    # when its number is given out once more, and that share is revoked
    share = (await ask(gateway, job, "share", "other")).json()
    assert share["share_id"] == 1
    at = f"/api/jobs/{job['job_id']}"
    assert (await gateway.http.get(at, params={"token": share["share_token"]})).status_code == 200
    for _ in range(2):
        assert (await ask(gateway, job, "share/1", None, "DELETE")).status_code == 204
    # then its token opens nothing
    assert (await gateway.http.get(at, params={"token": share["share_token"]})).status_code == 404
    assert len(await of_kind(joblog, job, facts.ShareRevoked)) == 2


async def test_shares_asked_for_at_once_are_one_for_each_key(environ: dict[str, str], joblog: JobLog) -> None:
    """On two gateways, where each try may meet the numbers of the others."""
    async with AsyncExitStack() as stack:
        gateways = [await stack.enter_async_context(running_gateway(environ | SECRET)) for _ in range(2)]
        job = await gateways[0].submit()
        asked = [(key, gateway) for key in "abc" for gateway in gateways for _ in range(3)]
        answers = await asyncio.gather(*(ask(gateway, job, "share", key) for key, gateway in asked))
    assert {answer.status_code for answer in answers} == {201}
    minted = {
        (key, answer.json()["share_id"], answer.json()["share_token"])
        for (key, _), answer in zip(asked, answers, strict=True)
    }
    assert sorted(key for key, _, _ in minted) == ["a", "b", "c"]
    assert sorted(number for _, number, _ in minted) == [1, 2, 3]
    assert len(await of_kind(joblog, job, facts.ShareMinted)) == 3


async def test_a_share_whose_answer_was_lost_is_found(
    gateway: Gateway, joblog: JobLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log takes the fact, and the acknowledgement never comes."""
    job = await gateway.submit()
    append = JobLog.append

    async def unanswered(self: JobLog, fact: facts.Fact) -> int | None:
        await append(self, fact)
        raise TimeoutError

    monkeypatch.setattr(JobLog, "append", unanswered)
    assert (await ask(gateway, job, "share")).status_code == 503
    monkeypatch.undo()
    assert (await ask(gateway, job, "share")).json()["share_id"] == 1
    assert len(await of_kind(joblog, job, facts.ShareMinted)) == 1


async def test_a_retry_asked_for_again_is_the_same_run_whatever_became_of_it(gateway: Gateway, joblog: JobLog) -> None:
    job = await failed(gateway, joblog)
    for status in ("pending", "pending"):
        answer = await ask(gateway, job, "retry")
        assert (answer.status_code, answer.json()["run"], answer.json()["status"]) == (202, 2, status)
    second_run = Stages(joblog, job["job_id"], run=2)
    await second_run.start()
    assert (await ask(gateway, job, "retry")).json()["status"] == "processing"
    await second_run.fail()
    answer = await ask(gateway, job, "retry")
    assert (answer.status_code, answer.json()["run"], answer.json()["status"]) == (202, 2, "failed")
    assert len(await of_kind(joblog, job, facts.JobAccepted)) == 2
    assert (await ask(gateway, job, "retry", "new")).json()["run"] == 3


async def test_a_retry_with_another_key_or_none_is_refused_while_the_run_goes_on(
    gateway: Gateway, joblog: JobLog
) -> None:
    job = await failed(gateway, joblog)
    assert (await ask(gateway, job, "retry")).status_code == 202
    for key in ("other", None):
        answer = await ask(gateway, job, "retry", key)
        assert (answer.status_code, answer.json()["code"]) == (409, "not_retryable")


async def test_retries_asked_for_at_once_with_one_key_are_all_answered(gateway: Gateway, joblog: JobLog) -> None:
    job = await failed(gateway, joblog)
    answers = await asyncio.gather(*(ask(gateway, job, "retry") for _ in range(4)))
    assert [(answer.status_code, answer.json()["run"]) for answer in answers] == [(202, 2)] * 4
    assert len(await of_kind(joblog, job, facts.JobAccepted)) == 2


async def test_nobody_is_shown_what_stands_for_a_key(gateway: Gateway, joblog: JobLog) -> None:
    job = await failed(gateway, joblog)
    answer = await ask(gateway, job, "retry", "a-key-that-is-private")
    retried = (await of_kind(joblog, job, facts.JobAccepted))[1]
    assert retried.retried_as
    assert "a-key-that-is-private" not in facts.encode(retried).decode()
    assert retried.retried_as not in answer.text


@pytest.mark.parametrize("deed", ["share", "retry"])
@pytest.mark.parametrize("key", ["two words", "x" * 256])
async def test_what_is_no_key_is_refused(gateway: Gateway, joblog: JobLog, deed: str, key: str) -> None:
    job = await failed(gateway, joblog)
    answer = await ask(gateway, job, deed, key)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key")
    assert (await joblog.facts_of(job["job_id"]))[-1].fact.run == 1


async def test_a_key_does_not_help_who_may_not(gateway: Gateway, joblog: JobLog) -> None:
    job = await failed(gateway, joblog)
    share = (await ask(gateway, job, "share")).json()["share_token"]
    for deed in ("share", "retry"):
        answer = await ask(gateway, {**job, "access_token": share}, deed)
        assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


async def test_every_description_of_the_header_says_how_long_a_key_holds(gateway: Gateway) -> None:
    described = (await gateway.http.get("/schema/openapi.json")).json()
    told = {
        (method, path): {**parameter["schema"], **parameter}.get("description", "")
        for path, item in described["paths"].items()
        for method, operation in item.items()
        for parameter in operation.get("parameters", [])
        if parameter["name"] == "Idempotency-Key"
    }
    creating = {
        ("post", "/api/jobs/submit"), ("put", "/api/jobs/submit/{filename}"), ("post", "/api/batches"),
        ("post", "/api/uploads"), ("post", "/api/jobs/{job_id}/share"), ("post", "/api/jobs/{job_id}/retry"),
    }  # fmt: skip
    assert creating <= set(told)
    for description in told.values():
        assert "holds for a day at least" in description
