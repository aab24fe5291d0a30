"""Browsers are told of the end of a job, by a push service of our own that reads what it should not be able to read."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpcore
import httpx
import pytest
from nats.aio.client import Client

from chassis.joblog import JobLog
from chassis.store import Store
from contracts import facts, topology
from contracts.addresses import Rules
from contracts.failures import FailureCode
from contracts.notifications import ENDPOINT_MAX, SUBSCRIPTIONS_MAX, Notification, Subscription, topic
from services.notifier import keys
from services.notifier.app import serve
from services.notifier.engine import Pusher, Verdict
from services.notifier.settings import Settings
from tests.integration.conftest import Gateway, running_gateway, until
from tests.integration.stages import Stages
from tests.pushing import Browser, PushService, push_service, sender

PRIVATE_KEY = keys.derived("of the tests")
PUBLIC_KEY = keys.public(PRIVATE_KEY)


@pytest.fixture
def numbers() -> topology.Numbers:
    """Short waits."""
    return topology.Numbers(
        jobs_max_bytes=64 << 20, ack_wait_s=1.0, heartbeat_s=0.3, retry_delay_s=0.1, retry_factor=1.0
    )


@pytest.fixture
def notifying(environ: dict[str, str]) -> dict[str, str]:
    """The environment of a gateway and a notifier that may send to loopback."""
    return environ | {
        "SUBTIDE_GATEWAY_NOTIFICATIONS_KEY": PUBLIC_KEY,
        "SUBTIDE_NOTIFIER_PRIVATE_KEY": PRIVATE_KEY,
        "SUBTIDE_NOTIFIER_SUBJECT": "mailto:operator@example.org",
        "SUBTIDE_NOTIFIER_ALLOW": "127.0.0.0/8",
        "SUBTIDE_ACK_WAIT_S": "1",
        "SUBTIDE_HEARTBEAT_S": "0.3",
        "SUBTIDE_RETRY_DELAY_S": "0.1",
        "SUBTIDE_RETRY_FACTOR": "1",
    }


@pytest.fixture
async def gateway(notifying: dict[str, str]) -> AsyncIterator[Gateway]:
    """A gateway that takes subscriptions."""
    async with running_gateway(notifying) as running:
        yield running


@pytest.fixture
async def service() -> AsyncIterator[PushService]:
    """A push service."""
    async with push_service() as one:
        yield one


@asynccontextmanager
async def notifier(environ: dict[str, str]) -> AsyncIterator[None]:
    """A notifier in this process."""
    stop = asyncio.Event()
    task = asyncio.create_task(serve(environ, stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 15)


def launched(environ: dict[str, str]) -> "subprocess.Popen[bytes]":
    """A notifier in a process of its own."""
    return subprocess.Popen([sys.executable, "-m", "services.notifier"], env=os.environ | environ)


async def subscribe(gateway: Gateway, job: dict[str, Any], subscription: dict[str, Any]) -> httpx.Response:
    return await gateway.http.put(
        f"/api/jobs/{job['job_id']}/notifications",
        json=subscription,
        headers={"Authorization": f"Bearer {job['access_token']}"},
    )


async def begun(gateway: Gateway, joblog: JobLog, browser: Browser) -> tuple[dict[str, Any], Stages]:
    """A job that runs, and a browser that waits for its end."""
    job = await gateway.submit()
    stages = Stages(joblog, job["job_id"])
    await stages.start()
    assert (await subscribe(gateway, job, browser.subscription)).status_code == 204
    return job, stages


async def test_a_browser_is_told_once_and_nobody_else_can_read_it(
    gateway: Gateway, joblog: JobLog, store: Store, notifying: dict[str, str], service: PushService
) -> None:
    browser = Browser(service.url)
    job, stages = await begun(gateway, joblog, browser)
    await stages.complete(store)
    async with notifier(notifying):
        await until(lambda: service.pushed)
        await asyncio.sleep(0.5)
    (pushed,) = service.pushed
    assert pushed.target == browser.target
    assert browser.read(pushed) == {"job_id": job["job_id"], "filename": "talk.mp4", "outcome": "completed"}
    assert b"talk.mp4" not in pushed.content
    claims = sender(pushed, PUBLIC_KEY)
    assert (claims["aud"], claims["sub"]) == (service.url, "mailto:operator@example.org")
    assert isinstance(claims["exp"], int)
    assert 0 < claims["exp"] - time.time() <= 24 * 3600  # RFC 8292, 2
    assert pushed.headers["topic"] == topic(job["job_id"])
    assert int(pushed.headers["ttl"]) > 0
    # and a notifier that comes later has nothing left to tell
    async with notifier(notifying):
        await asyncio.sleep(0.5)
    assert len(service.pushed) == 1


async def test_a_failure_is_told_too(
    gateway: Gateway, joblog: JobLog, notifying: dict[str, str], service: PushService
) -> None:
    browser = Browser(service.url)
    async with notifier(notifying):
        _, stages = await begun(gateway, joblog, browser)
        await stages.fail()
        await until(lambda: service.pushed)
    assert browser.read(service.pushed[0])["outcome"] == "failed"


async def test_every_browser_that_waits_is_told(
    gateway: Gateway, joblog: JobLog, notifying: dict[str, str], service: PushService
) -> None:
    browsers = [Browser(service.url, name) for name in ("desk", "phone")]
    job, stages = await begun(gateway, joblog, browsers[0])
    for _ in range(2):  # the same browser twice is one
        assert (await subscribe(gateway, job, browsers[1].subscription)).status_code == 204
    await stages.fail()
    async with notifier(notifying):
        await until(lambda: len(service.pushed) == 2)
        await asyncio.sleep(0.3)
    assert sorted(one.target for one in service.pushed) == sorted(browser.target for browser in browsers)


async def test_a_push_service_in_trouble_is_asked_again_and_the_browser_told_in_the_end(
    gateway: Gateway, joblog: JobLog, notifying: dict[str, str], service: PushService
) -> None:
    service.answers = [(503, {}), (429, {"Retry-After": "1"})]
    browser = Browser(service.url)
    _, stages = await begun(gateway, joblog, browser)
    await stages.fail()
    async with notifier(notifying):
        await until(lambda: len(service.pushed) == 3)
        await asyncio.sleep(0.5)
    assert [browser.read(one)["outcome"] for one in service.pushed] == ["failed"] * 3
    assert len({one.headers["topic"] for one in service.pushed}) == 1


async def test_a_push_service_that_stays_away_is_let_go_and_the_job_is_as_it_was(
    gateway: Gateway, joblog: JobLog, notifying: dict[str, str], service: PushService, numbers: topology.Numbers
) -> None:
    service.answers = [(500, {})] * 20
    job, stages = await begun(gateway, joblog, Browser(service.url))
    await stages.fail()
    before = [entry.fact for entry in await joblog.facts_of(job["job_id"])]
    async with notifier(notifying):
        await until(lambda: len(service.pushed) == numbers.retries + 1)
        await asyncio.sleep(0.7)
    assert len(service.pushed) == numbers.retries + 1
    assert [entry.fact for entry in await joblog.facts_of(job["job_id"])] == before


@pytest.mark.parametrize("status", [404, 410, 400, 403, 413, 301])
async def test_what_would_be_refused_again_is_sent_once(
    gateway: Gateway, joblog: JobLog, notifying: dict[str, str], service: PushService, status: int
) -> None:
    service.answers = [(status, {"Location": f"{service.url}/elsewhere"})]
    _, stages = await begun(gateway, joblog, Browser(service.url))
    await stages.fail()
    async with notifier(notifying):
        await until(lambda: service.pushed)
        await asyncio.sleep(0.5)
    assert len(service.pushed) == 1


async def test_a_browser_that_cannot_be_told_keeps_nobody_else_from_being_told(
    gateway: Gateway, joblog: JobLog, notifying: dict[str, str], service: PushService
) -> None:
    # given one whose key is no point of the curve, and one whose service no token can be signed for
    notifying |= {"SUBTIDE_NOTIFIER_ALLOW": "127.0.0.0/8,::1/128"}
    async with running_gateway(notifying) as gateway:
        browser = Browser(service.url, "good")
        job, stages = await begun(gateway, joblog, browser)
        bad = Browser(service.url, "bad").subscription
        for subscription in (
            bad | {"keys": bad["keys"] | {"p256dh": "B" * 87}},
            Browser(f"http://[::1]:{service.port}", "nameless").subscription,
        ):
            assert (await subscribe(gateway, job, subscription)).status_code == 204
        await stages.fail()
        async with notifier(notifying):
            await until(lambda: service.pushed)
            await asyncio.sleep(0.5)
    assert [one.target for one in service.pushed] == [browser.target]


async def test_a_notifier_that_is_killed_tells_after_its_restart(
    gateway: Gateway, joblog: JobLog, notifying: dict[str, str], service: PushService
) -> None:
    # given a notifier that is killed while it waits for the push service
    service.answers = [(503, {"Retry-After": "50"})]
    browser = Browser(service.url)
    _, stages = await begun(gateway, joblog, browser)
    process = launched(notifying)
    try:
        await stages.fail()
        await until(lambda: service.pushed, 20)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    # then another tells
    async with notifier(notifying):
        await until(lambda: len(service.pushed) == 2)
    assert browser.read(service.pushed[1])["outcome"] == "failed"


@pytest.mark.parametrize("waited_before", [True, False])
async def test_the_late_end_of_a_run_that_was_retried_tells_nobody(
    gateway: Gateway, client: Client, joblog: JobLog, store: Store, notifying: dict[str, str], service: PushService,
    waited_before: bool,
) -> None:  # fmt: skip
    # given a run whose end nobody has heard of yet, and a retry that a browser waits for
    browser = Browser(service.url)
    job = await gateway.submit()
    first = Stages(joblog, job["job_id"])
    await first.start()
    if waited_before:
        assert (await subscribe(gateway, job, browser.subscription)).status_code == 204
    failed = facts.JobFailed(**first.of_job, code=FailureCode.INTERNAL, stage="exporter", reference="r", attempts=4)
    await joblog.append(failed)
    headers = {"Authorization": f"Bearer {job['access_token']}"}
    assert (await gateway.http.post(f"/api/jobs/{job['job_id']}/retry", headers=headers)).status_code == 202
    if not waited_before:
        assert (await subscribe(gateway, job, browser.subscription)).status_code == 204
    async with notifier(notifying):
        # when it is heard of at last, more than once
        await joblog.again(failed)
        await until(lambda: _idle(client))
        assert service.pushed == []
        # then the browser is told of the end of the second run, and of that alone
        second = Stages(joblog, job["job_id"], run=2)
        await second.start()
        await second.complete(store)
        await until(lambda: service.pushed)
        await asyncio.sleep(0.3)
    assert [browser.read(one)["outcome"] for one in service.pushed] == ["completed"]


async def test_who_waits_for_a_retry_is_not_used_up_by_what_is_told_of_the_run_before(
    gateway: Gateway, client: Client, joblog: JobLog, store: Store, notifying: dict[str, str], service: PushService
) -> None:
    # given a push service that takes its time over the end of a run
    browser = Browser(service.url)
    job, first = await begun(gateway, joblog, browser)
    service.answering.clear()
    async with notifier(notifying):
        await joblog.append(
            facts.JobFailed(**first.of_job, code=FailureCode.INTERNAL, stage="exporter", reference="r", attempts=4)
        )
        await until(lambda: service.pushed)
        # when the job is retried meanwhile, and the same browser waits for that
        headers = {"Authorization": f"Bearer {job['access_token']}"}
        assert (await gateway.http.post(f"/api/jobs/{job['job_id']}/retry", headers=headers)).status_code == 202
        assert (await subscribe(gateway, job, browser.subscription)).status_code == 204
        service.answering.set()
        await until(lambda: _idle(client))
        second = Stages(joblog, job["job_id"], run=2)
        await second.start()
        await second.complete(store)
        await until(lambda: len(service.pushed) == 2)
    # then it is told of both
    assert [browser.read(one)["outcome"] for one in service.pushed] == ["failed", "completed"]


async def _idle(client: Client) -> bool:
    info = await client.jetstream().consumer_info(topology.JOBS, topology.NOTIFIER.name)
    return not info.num_ack_pending and not info.num_pending and info.delivered.consumer_seq > 0


async def test_a_job_that_is_over_has_nothing_left_to_tell(
    gateway: Gateway, joblog: JobLog, service: PushService
) -> None:
    job = await gateway.submit()
    await Stages(joblog, job["job_id"]).start()
    await Stages(joblog, job["job_id"]).fail()
    answer = await subscribe(gateway, job, Browser(service.url).subscription)
    assert (answer.status_code, answer.json()["code"]) == (409, "job_over")


async def test_who_changes_his_mind_is_not_told(
    gateway: Gateway, joblog: JobLog, notifying: dict[str, str], service: PushService
) -> None:
    job, stages = await begun(gateway, joblog, Browser(service.url))
    answer = await gateway.http.delete(
        f"/api/jobs/{job['job_id']}/notifications", headers={"Authorization": f"Bearer {job['access_token']}"}
    )
    assert answer.status_code == 204
    await stages.fail()
    async with notifier(notifying):
        await asyncio.sleep(0.7)
    assert service.pushed == []


async def test_as_many_browsers_may_wait_as_are_named_and_no_more(gateway: Gateway, service: PushService) -> None:
    job = await gateway.submit()
    for n in range(SUBSCRIPTIONS_MAX):
        assert (await subscribe(gateway, job, Browser(service.url, f"b{n}").subscription)).status_code == 204
    answer = await subscribe(gateway, job, Browser(service.url, "more").subscription)
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_subscriptions")
    assert f"at most {SUBSCRIPTIONS_MAX}" in answer.json()["detail"]
    assert (await subscribe(gateway, job, Browser(service.url, "b0").subscription)).status_code == 204


async def test_an_endpoint_as_long_as_it_may_be_is_taken_and_a_longer_one_is_not(
    gateway: Gateway, service: PushService
) -> None:
    job = await gateway.submit()
    subscription = Browser(service.url).subscription
    longest = (service.url + "/").ljust(ENDPOINT_MAX, "e")
    assert (await subscribe(gateway, job, subscription | {"endpoint": longest})).status_code == 204
    answer = await subscribe(gateway, job, subscription | {"endpoint": longest + "e"})
    assert (answer.status_code, answer.json()["field"]) == (400, "endpoint")
    assert f"{ENDPOINT_MAX + 1:,}" in answer.json()["detail"]
    assert f"{ENDPOINT_MAX:,}" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"endpoint": "ftp://127.0.0.1/x"}, "endpoint"),
        ({"endpoint": "https://10.0.0.1/x"}, "endpoint"),
        ({"endpoint": "https://[::ffff:169.254.169.254]/x"}, "endpoint"),
        ({"endpoint": "http://push.example.org/x"}, "endpoint"),
        ({"endpoint": "https://[2606:4700:4700::1111]/x"}, "endpoint"),
        ({"endpoint": "https://93.184.215.14/x"}, "endpoint"),
        ({"endpoint": "x"}, "endpoint"),
        ({"endpoint": 7}, "endpoint"),
        ({"keys": {"p256dh": "short", "auth": "A" * 22}}, "keys"),
        ({"keys": {"p256dh": "B" * 87, "auth": "A" * 21}}, "keys"),
        ({"keys": {"p256dh": "B" * 87}}, "auth"),
        ({"more": 1}, "more"),
    ],
)
async def test_what_is_no_subscription_is_refused_by_its_field(
    gateway: Gateway, service: PushService, changes: dict[str, Any], field: str
) -> None:
    job = await gateway.submit()
    answer = await subscribe(gateway, job, Browser(service.url).subscription | changes)
    assert (answer.status_code, answer.json()["field"]) == (400, field), answer.text


async def test_a_share_cannot_have_anybody_told(gateway: Gateway, service: PushService) -> None:
    job = await gateway.submit()
    at, headers = f"/api/jobs/{job['job_id']}", {"Authorization": f"Bearer {job['access_token']}"}
    share = (await gateway.http.post(f"{at}/share", headers=headers)).json()["share_token"]
    answer = await subscribe(gateway, job | {"access_token": share}, Browser(service.url).subscription)
    assert answer.status_code == 404


async def test_without_a_key_there_are_no_notifications(environ: dict[str, str], service: PushService) -> None:
    async with running_gateway(environ) as gateway:
        job = await gateway.submit()
        answers = [
            await gateway.http.get("/api/notifications/key"),
            await subscribe(gateway, job, Browser(service.url).subscription),
        ]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(404, "notifications_off")] * 2


async def test_the_key_is_the_public_half(gateway: Gateway) -> None:
    assert (await gateway.http.get("/api/notifications/key")).json() == {"public_key": PUBLIC_KEY}


async def test_no_endpoint_is_in_the_log_of_any_service(
    gateway: Gateway, joblog: JobLog, notifying: dict[str, str], service: PushService, capfd: pytest.CaptureFixture[str]
) -> None:
    service.answers = [(500, {}), (403, {})]
    browser = Browser(service.url, "confidential")
    _, stages = await begun(gateway, joblog, browser)
    process = launched(notifying)
    try:
        await stages.fail()
        await until(lambda: len(service.pushed) == 2, 20)
        await asyncio.sleep(0.3)
    finally:
        process.terminate()
        process.wait()
    said = "".join(capfd.readouterr())
    assert "push_let_go" in said
    assert "confidential" not in said


async def test_a_name_that_leads_inside_when_it_is_connected_to_is_not_contacted(service: PushService) -> None:
    async def inside(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    pusher = Pusher(Settings(private_key=PRIVATE_KEY), Rules(ports=str(service.port)), inside, httpcore.AnyIOBackend())
    asked = Browser(f"https://push.example.org:{service.port}").subscription
    subscription = Subscription(
        endpoint=asked["endpoint"], p256dh=asked["keys"]["p256dh"], auth=asked["keys"]["auth"],
        created_at=datetime.now(UTC),
    )  # fmt: skip
    outcome = await pusher.push(subscription, Notification(job_id="j", filename="f", outcome="completed"))
    assert (outcome.verdict, outcome.host) == (Verdict.REFUSED, "push.example.org")
    assert service.pushed == []


def test_a_key_that_follows_from_a_secret_is_always_the_same_and_a_new_one_never() -> None:
    assert keys.public(keys.derived("a")) == keys.public(keys.derived("a")) != keys.public(keys.derived("b"))
    assert keys.new() != keys.new()
    with pytest.raises(ValueError, match="32 bytes, not 3"):
        keys.public("AAAA")
