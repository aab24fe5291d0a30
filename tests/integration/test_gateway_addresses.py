"""Jobs that give the address of a recording: accepted at once, by the form of the address alone."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from chassis.joblog import JobLog
from contracts import facts
from contracts.addresses import LENGTH_MAX, parse
from contracts.failures import FailureCode
from tests.integration.conftest import Gateway, running_gateway
from tests.integration.stages import Stages
from tests.origin import Origin, origin
from tests.security.addresses import FORMS, NAMES

URL = "https://talks.example/2026/my%20talk.mp4?signature=secret"


@pytest.fixture
async def canary() -> AsyncIterator[Origin]:
    """Nobody should come."""
    async with origin() as one:
        yield one


async def submit(gateway: Gateway, key: str | None = None, **body: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return await gateway.http.post("/api/jobs/submit", json=body, headers=headers)


async def accepted(gateway: Gateway, joblog: JobLog, **body: Any) -> tuple[dict[str, Any], facts.JobAccepted]:
    answer = await submit(gateway, **body)
    assert answer.status_code == 202, answer.text
    [recorded] = await joblog.facts_of(answer.json()["job_id"])
    assert isinstance(recorded.fact, facts.JobAccepted)
    return answer.json(), recorded.fact


async def test_an_address_is_a_job_at_once(gateway: Gateway, joblog: JobLog) -> None:
    answer, fact = await accepted(gateway, joblog, source_url=URL, language="en")
    assert (fact.source, fact.source_url, fact.filename) == (None, URL, "my talk.mp4")
    assert fact.parameters.language == "en"
    assert answer["status"] == "pending"


async def test_an_address_is_kept_in_its_one_form(gateway: Gateway, joblog: JobLog) -> None:
    _, fact = await accepted(gateway, joblog, source_url="HTTP://TALKS.example.:80#part", filename="../Our talk")
    assert (fact.source_url, fact.filename) == ("http://talks.example/", "Our talk")


async def test_the_host_is_shown_and_the_rest_of_the_address_is_not(gateway: Gateway, joblog: JobLog) -> None:
    answer, _ = await accepted(gateway, joblog, source_url=URL)
    stages = Stages(joblog, answer["job_id"])
    bearer = {"Authorization": f"Bearer {answer['access_token']}"}

    shown = await gateway.http.get(f"/api/jobs/{answer['job_id']}", headers=bearer)

    assert shown.json()["source_host"] == "talks.example"
    assert next(iter(shown.json()["stages"])) == "fetching"
    assert "secret" not in shown.text
    await stages.fail()
    failed = await gateway.http.get(f"/api/jobs/{answer['job_id']}", headers=bearer)
    assert "secret" not in failed.text


async def test_a_retry_has_the_address_again(gateway: Gateway, joblog: JobLog) -> None:
    answer, _ = await accepted(gateway, joblog, source_url=URL)
    job_id = answer["job_id"]
    of_run = {"job_id": job_id, "run": 1, "owner": "anon", "at": (await joblog.facts_of(job_id))[0].fact.at}
    failed = facts.JobFailed(
        **of_run,
        code=FailureCode.ADDRESS_UNREACHABLE,
        stage="fetcher",
        reference="r",
        attempts=4,
        told="It answered 503.",
    )
    await joblog.append(failed)
    bearer = {"Authorization": f"Bearer {answer['access_token']}"}
    shown = (await gateway.http.get(f"/api/jobs/{job_id}", headers=bearer)).json()
    assert shown["error_code"] == "address_unreachable"
    assert shown["error_message"] == "The recording could not be fetched. It answered 503."

    assert (await gateway.http.post(f"/api/jobs/{job_id}/retry", headers=bearer)).is_success
    again = (await joblog.facts_of(job_id))[-1].fact
    assert isinstance(again, facts.JobAccepted)
    assert (again.run, again.source, again.source_url) == (2, None, URL)


async def test_the_same_key_with_the_same_address_is_the_same_job(gateway: Gateway, joblog: JobLog) -> None:
    first = await submit(gateway, "k1", source_url=URL, model="base")
    again = await submit(gateway, "k1", source_url=URL.replace("https://talks", "HTTPS://Talks"), model="base")
    assert first.json()["job_id"] == again.json()["job_id"]
    assert first.json()["access_token"] == again.json()["access_token"]

    for other in ({"source_url": URL + "x"}, {"source_url": URL, "language": "de"}):
        refused = await submit(gateway, "k1", **other)
        assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
    form = await gateway.http.post(
        "/api/jobs/submit", files={"file": ("talk.mp4", b"x")}, headers={"Idempotency-Key": "k1"}
    )
    assert form.status_code == 422
    assert len(await joblog.facts_of(first.json()["job_id"])) == 1


async def test_a_key_of_a_form_is_none_for_an_address(gateway: Gateway) -> None:
    form = await gateway.http.post(
        "/api/jobs/submit", files={"file": ("talk.mp4", b"x")}, headers={"Idempotency-Key": "k2"}
    )
    assert form.status_code == 202
    assert (await submit(gateway, "k2", source_url=URL)).status_code == 422


async def test_without_a_key_each_submit_is_a_job(gateway: Gateway) -> None:
    first, second = await submit(gateway, source_url=URL), await submit(gateway, source_url=URL)
    assert first.json()["job_id"] != second.json()["job_id"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "source_missing"),
        ({"source_url": ""}, "source_missing"),
        ({"source_url": None}, "source_missing"),
        ({"source_url": 5}, "invalid_parameter"),
        ({"source_url": ["http://a.example/"]}, "invalid_parameter"),
        ({"source_url": URL, "upload_id": "x"}, "several_sources"),
        ({"source_url": "nonsense"}, "invalid_address"),
        ({"source_url": "ftp://a.example/"}, "invalid_address"),
        ({"source_url": "http://a:b@a.example/"}, "invalid_address"),
        ({"source_url": "http://a.example/" + "x" * LENGTH_MAX}, "invalid_address"),
        ({"source_url": "http://127.0.0.1/"}, "address_forbidden"),
        ({"source_url": "http://[::ffff:10.0.0.1]/"}, "address_forbidden"),
        ({"source_url": "http://localhost/"}, "address_forbidden"),
        ({"source_url": "http://a.example:22/"}, "address_forbidden"),
        ({"source_url": URL, "modle": "base"}, "unknown_parameter"),
    ],
)
async def test_what_is_no_address_to_fetch_from_is_refused(gateway: Gateway, body: dict[str, Any], code: str) -> None:
    answer = await submit(gateway, **body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


async def test_no_form_that_is_inside_by_itself_is_accepted_and_nobody_is_contacted(
    environ: dict[str, str], canary: Origin
) -> None:
    environ |= {"SUBTIDE_FETCHER_PORTS": f"80,{canary.port}", "SUBTIDE_MAX_QUEUED_JOBS": "1000"}
    environ |= {"SUBTIDE_GATEWAY_SUBMITS_PER_MINUTE": "0"}
    async with running_gateway(environ) as gateway:
        for form in FORMS:
            url = form.replace("{port}", str(canary.port))
            answer = await submit(gateway, source_url=url)
            assert answer.status_code == 400 or (answer.status_code == 202 and parse(url).host in NAMES), form
    assert canary.connections == 0


async def test_an_operator_may_allow_a_network_and_switch_addresses_off(environ: dict[str, str]) -> None:
    async with running_gateway(environ | {"SUBTIDE_FETCHER_ALLOW": "127.0.0.0/8,nas.local"}) as gateway:
        assert (await submit(gateway, source_url="http://127.0.0.1:8123/x.mp4")).status_code == 202
        assert (await submit(gateway, source_url="http://nas.local:8123/x.mp4")).status_code == 202
        assert (await submit(gateway, source_url="http://10.0.0.1/x.mp4")).status_code == 400
    async with running_gateway(environ | {"SUBTIDE_FETCHER_MAX_BYTES": "1000"}) as gateway:
        assert (await gateway.http.get("/api/capacity")).json()["max_fetch_bytes"] == 1000
    async with running_gateway(environ | {"SUBTIDE_FETCHER_ENABLED": "false"}) as gateway:
        assert (await gateway.http.get("/api/capacity")).json()["max_fetch_bytes"] is None
        answer = await submit(gateway, source_url=URL)
        assert (answer.status_code, answer.json()["code"]) == (400, "addresses_off")


async def test_a_full_queue_takes_no_address_either(environ: dict[str, str]) -> None:
    async with running_gateway(environ | {"SUBTIDE_MAX_QUEUED_JOBS": "1", "SUBTIDE_MAX_ACTIVE_JOBS": "1"}) as gateway:
        statuses = [(await submit(gateway, source_url=URL)).status_code for _ in range(4)]
    assert statuses[0] == 202
    assert statuses[-1] == 429
