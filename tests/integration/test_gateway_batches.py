"""Several recordings at once: all of them or none, one place in the queue, and each becomes one job."""

import asyncio
import base64
import io
import zipfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import nats.errors
import pytest
from nats.aio.client import Client

from chassis import telemetry
from chassis.admission import Admission, Limits, State
from chassis.joblog import Entry, JobLog, LogFull
from chassis.settle import Work
from chassis.store import Store
from contracts import facts, topology
from contracts.failures import FailureCode
from contracts.parameters import Parameters
from services.dispatcher.app import serve as serve_dispatcher
from services.dispatcher.handler import Dispatcher
from services.gateway.batch_routes import BODY_BYTES_MAX
from services.gateway.batches import FACT_BYTES_MAX, check_fits
from services.gateway.naming import ITEMS_MAX
from services.gateway.problems import Problem
from tests.chaos import evidence, invariants
from tests.chaos.cluster import SMALL, running
from tests.chaos.engines import Misdeed, Script
from tests.integration.conftest import Gateway, running_gateway, until
from tests.integration.projecting import process
from tests.integration.stages import RESULTS, Stages
from tests.integration.test_janitor_reconcile import processed, take

TUS = {"Tus-Resumable": "1.0.0"}
NUMBERS = topology.Numbers(
    ack_wait_s=1.0, heartbeat_s=0.3, reconcile_s=3600.0, abandoned_s=3600.0, jobs_max_bytes=64 << 20
)


@pytest.fixture
def numbers() -> topology.Numbers:
    return NUMBERS


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    """Short numbers, and a secret that two gateways share."""
    said = {f"SUBTIDE_{name.upper()}": str(value) for name, value in msgspec.structs.asdict(NUMBERS).items()}
    return environ | said | {"SUBTIDE_GATEWAY_SECRET": "a secret of the tests"}


@pytest.fixture
async def admission(client: Client) -> Admission:
    return Admission(await client.jetstream().key_value(topology.ADMISSION))


@asynccontextmanager
async def dispatcher(environ: dict[str, str], **limits: int) -> AsyncIterator[None]:
    stop = asyncio.Event()
    said = {f"SUBTIDE_{name.upper()}": str(value) for name, value in limits.items()}
    task = asyncio.create_task(serve_dispatcher(environ | said, stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)


async def upload(http: httpx.AsyncClient, content: bytes = b"sound", filename: str = "talk.mp4", rest: int = 0) -> Any:
    """A finished upload, or one of which `rest` bytes are missing."""
    headers = TUS | {
        "Content-Type": "application/offset+octet-stream",
        "Upload-Length": str(len(content) + rest),
        "Upload-Metadata": f"filename {base64.b64encode(filename.encode()).decode()}",
    }
    answer = await http.post("/api/uploads", headers=headers, content=content)
    assert answer.status_code == 201, answer.text
    return {name: answer.json()[name] for name in ("upload_id", "upload_token")}


def address(n: int) -> dict[str, str]:
    return {"source_url": f"https://talks.example/{n}.mp4"}


async def post(gateway: Gateway, items: Any, *, key: str = "", **more: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return await gateway.http.post("/api/batches", json={"items": items, **more}, headers=headers)


async def submit(gateway: Gateway, items: Sequence[Any], **more: Any) -> dict[str, Any]:
    answer = await post(gateway, items, **more)
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def refused(gateway: Gateway, items: Any, **more: Any) -> tuple[int, str, str | None]:
    answer = await post(gateway, items, **more)
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"], answer.json().get("field")


def opened_by(batch: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {batch['batch_token']}"}


async def look(gateway: Gateway, batch: dict[str, Any]) -> dict[str, Any]:
    answer = await gateway.http.get(f"/api/batches/{batch['batch_id']}", headers=opened_by(batch))
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def known(joblog: JobLog) -> list[facts.AnyFact]:
    return [facts.decode(entry.body) for entry in await joblog.read(1, 1000)]


async def made(joblog: JobLog, count: int) -> list[facts.JobAccepted]:
    """The jobs, once there are so many."""

    async def accepted() -> list[facts.JobAccepted] | None:
        found = [fact for fact in await known(joblog) if isinstance(fact, facts.JobAccepted)]
        return found if len(found) >= count else None

    found: list[facts.JobAccepted] = await until(accepted, 20)
    assert len(found) == count
    return found


def _most_active(entries: Sequence[Entry]) -> int:
    """Jobs that had a place at once, by the order of the log."""
    active: set[str] = set()
    most = 0
    for _, fact in invariants.readable(entries):
        if isinstance(fact, facts.JobStarted):
            active.add(fact.job_id)
        elif facts.ends_run(fact):
            active.discard(fact.job_id)
        most = max(most, len(active))
    return most


async def test_twenty_recordings_become_twenty_results_in_one_zip() -> None:
    scripts = [Script(salt=f"batch {n}", chunks=1 + n % 2) for n in range(19)]
    scripts.append(Script(salt="batch bad", misdeeds=[Misdeed(step="extract", act="permanent")]))
    limits = {"SUBTIDE_MAX_ACTIVE_JOBS": "4", "SUBTIDE_TRANSCRIBER_WORKERS": "1"}
    async with (
        running(members=SMALL, environ=limits) as cluster,
        httpx.AsyncClient(base_url=cluster.gateways[0], timeout=20) as http,
    ):
        items = [await upload(http, script.upload(), "talk.mp4") for script in scripts]
        answer = await http.post("/api/batches", json={"items": items, "num_speakers": 2})
        assert answer.status_code == 202, answer.text
        batch = answer.json()
        at, headers = f"/api/batches/{batch['batch_id']}", opened_by(batch)
        for job in batch["jobs"]:
            opened = await http.get(
                f"/api/jobs/{job['job_id']}", headers={"Authorization": f"Bearer {job['access_token']}"}
            )
            assert opened.status_code == 200, opened.text
        progress = [0.0]

        async def done() -> dict[str, Any] | None:
            shown: dict[str, Any] = (await http.get(at, headers=headers)).json()
            progress.append(shown["progress"])
            return shown if shown["done"] else None

        shown = await until(done, 60)
        archive = zipfile.ZipFile(
            io.BytesIO((await http.get(f"{at}/download?formats=srt,txt", headers=headers)).content)
        )
        job = batch["jobs"][0]
        alone = await http.get(
            f"/api/jobs/{job['job_id']}/download/srt", headers={"Authorization": f"Bearer {job['access_token']}"}
        )
        client = await cluster.connect()
        entries = await evidence.log(client)
        await client.close()
    assert shown["counts"] == {"completed": 19, "failed": 1}
    assert shown["progress"] == 100.0
    assert progress == sorted(progress)
    assert _most_active(entries) <= 4
    names = ["talk", *(f"talk ({n})" for n in range(2, 20))]
    assert sorted(archive.namelist()) == sorted(f"{name}.{one}" for name in names for one in ("srt", "txt"))
    assert archive.testzip() is None
    assert archive.read("talk.srt") == alone.content
    assert shown["jobs"][-1]["error_code"] == "undecodable"


async def test_a_repeat_is_answered_as_the_first_and_anything_else_is_refused(
    gateway: Gateway, environ: dict[str, str], joblog: JobLog
) -> None:
    items = [await upload(gateway.http), address(1)]
    first = await submit(gateway, items, key="k", language="es")
    async with running_gateway(environ) as another:
        again = [await submit(one, items, key="k", language="es") for one in (gateway, another)]
    assert again == [first, first]
    reused = (422, "idempotency_key_reused", None)
    assert await refused(gateway, items, key="k", language="en") == reused
    assert await refused(gateway, items[1:], key="k", language="es") == reused
    assert await refused(gateway, [*items, address(2)], key="k", language="es") == reused
    assert len(await known(joblog)) == 1
    # and the key of a batch is none of a submit
    alone = await gateway.http.post("/api/jobs/submit", json=address(3), headers={"Idempotency-Key": "k"})
    assert alone.status_code == 202, alone.text


async def test_repeats_at_once_are_one_batch(gateway: Gateway, joblog: JobLog, admission: Admission) -> None:
    items = [await upload(gateway.http), address(1)]
    answers = await asyncio.gather(*(submit(gateway, items, key="k") for _ in range(8)))
    assert all(answer == answers[0] for answer in answers)
    assert len(await known(joblog)) == 1
    assert list((await admission.ledger()).places) == [answers[0]["batch_id"]]


@pytest.mark.parametrize(
    ("items", "refusal"),
    [
        (None, (400, "items_missing", "items")),
        ([], (400, "items_missing", "items")),
        ({"source_url": "https://a.example/"}, (400, "items_missing", "items")),
        ([address(1), "talk.mp4"], (400, "invalid_parameter", "items[1]")),
        ([address(1), {}], (400, "source_missing", "items[1].upload_id")),
        ([address(1), {"upload_id": 7}], (400, "invalid_parameter", "items[1].upload_id")),
        ([address(1) | {"language": "en"}], (400, "unknown_parameter", "items[0].language")),
        ([address(1), address(2) | {"upload_id": "x"}], (400, "several_sources", "items[1].source_url")),
        ([address(1), {"upload_id": "x", "upload_token": "y"}], (404, "upload_not_found", "items[1]")),
    ],
)
async def test_what_is_wrong_with_an_item_names_the_item_and_nothing_is_taken(
    gateway: Gateway, joblog: JobLog, admission: Admission, items: Any, refusal: tuple[int, str, str]
) -> None:
    assert await refused(gateway, items) == refusal
    assert await known(joblog) == []
    assert (await admission.ledger()).places == {}


async def test_an_address_that_leads_inside_names_its_item(gateway: Gateway, joblog: JobLog) -> None:
    answer = await post(gateway, [address(1), {"source_url": "http://127.0.0.1/"}])
    assert answer.status_code == 400
    assert answer.json()["field"].startswith("items[1]")
    assert answer.json()["detail"].startswith("items[1]: This server does not fetch from there")
    assert await known(joblog) == []


async def test_an_upload_counts_with_its_own_token_and_when_it_is_whole(gateway: Gateway, joblog: JobLog) -> None:
    mine, other, half = [await upload(gateway.http, rest=rest) for rest in (0, 0, 3)]
    foreign = other | {"upload_token": mine["upload_token"]}
    assert await refused(gateway, [mine, foreign]) == (404, "upload_not_found", "items[1]")
    assert await refused(gateway, [mine, {"upload_id": other["upload_id"]}]) == (404, "upload_not_found", "items[1]")
    assert await refused(gateway, [mine, half]) == (409, "upload_unfinished", "items[1]")
    assert await refused(gateway, [mine, other, mine]) == (400, "repeated_upload", "items[2].upload_id")
    assert await known(joblog) == []
    await submit(gateway, [mine, other])  # which nothing has spoilt


async def test_an_upload_is_used_once_whether_alone_or_in_a_batch(gateway: Gateway, joblog: JobLog) -> None:
    alone, batched = [await upload(gateway.http) for _ in range(2)]
    assert (await gateway.http.post("/api/jobs/submit", json=alone)).status_code == 202
    assert await refused(gateway, [address(1), alone]) == (409, "upload_used", "items[1]")
    # and as long as no dispatcher has made the jobs of a batch, too
    await submit(gateway, [batched])
    assert await refused(gateway, [address(1), batched]) == (409, "upload_used", "items[1]")
    answer = await gateway.http.post("/api/jobs/submit", json=batched)
    assert (answer.status_code, answer.json()["code"]) == (409, "upload_used")
    assert len(await known(joblog)) == 2


async def test_a_hundred_items_are_taken_and_one_more_is_refused(gateway: Gateway) -> None:
    assert len((await submit(gateway, [address(n) for n in range(ITEMS_MAX)]))["jobs"]) == ITEMS_MAX == 100
    answer = await post(gateway, [address(n) for n in range(ITEMS_MAX + 1)])
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, "too_many_items", "items")
    assert answer.json()["detail"] == "The batch has 101 items, and at most 100 are taken at once."


async def test_a_body_of_the_allowed_length_is_read_and_a_longer_one_is_not(gateway: Gateway) -> None:
    body = msgspec.json.encode({"items": [address(1)]})
    headers = {"Content-Type": "application/json"}
    for more, status in ((0, 202), (1, 413)):
        padded = body + b" " * (BODY_BYTES_MAX + more - len(body))
        answer = await gateway.http.post("/api/batches", content=padded, headers=headers)
        assert answer.status_code == status, answer.text
    assert answer.json()["code"] == "request_too_large"
    assert f"{BODY_BYTES_MAX:,}" in answer.json()["detail"]


def test_what_is_written_down_of_a_batch_fits_into_a_message() -> None:
    assert BODY_BYTES_MAX < FACT_BYTES_MAX < 1 << 20


def test_a_batch_as_long_as_a_fact_may_be_is_taken_and_one_byte_more_is_not() -> None:
    def batch(filename: str) -> facts.BatchAccepted:
        item = facts.BatchItem(job_id="0" * 32, filename=filename, source_url="http://a/", token_sha256="0" * 64)
        return facts.BatchAccepted(
            job_id="1" * 32, run=1, owner="o", at=datetime.now(UTC), items=[item], parameters=Parameters(),
            token_sha256="1" * 64,
        )  # fmt: skip

    room = FACT_BYTES_MAX - len(facts.encode(batch("")))
    check_fits(batch("a" * room))
    with pytest.raises(Problem) as caught:
        check_fits(batch("a" * (room + 1)))
    assert (caught.value.document.status, caught.value.document.code) == (413, "batch_too_large")
    assert "900,001" in caught.value.document.detail
    assert "900,000" in caught.value.document.detail


async def test_a_batch_is_one_entry_of_the_queue(environ: dict[str, str], admission: Admission) -> None:
    limits = {"SUBTIDE_MAX_ACTIVE_JOBS": "1", "SUBTIDE_MAX_QUEUED_JOBS": "2"}
    async with running_gateway(environ | limits) as gateway:
        for n in range(3):  # one may start, two wait
            await submit(gateway, [address(n) for n in range(5)])
        answer = await post(gateway, [address(1)])
        assert (answer.status_code, answer.json()["code"]) == (429, "queue_full")
        assert "Retry-After" in answer.headers
    assert len((await admission.ledger()).places) == 3


async def test_without_a_queue_a_batch_must_fit_into_what_is_free(environ: dict[str, str], joblog: JobLog) -> None:
    limits = {"SUBTIDE_MAX_ACTIVE_JOBS": "3", "SUBTIDE_MAX_QUEUED_JOBS": "0"}
    async with running_gateway(environ | limits) as gateway:
        assert await refused(gateway, [address(n) for n in range(4)]) == (429, "queue_full", None)
        await submit(gateway, [address(n) for n in range(3)])
        assert await refused(gateway, [address(1)]) == (429, "queue_full", None)
    assert len(await known(joblog)) == 1


async def test_no_more_jobs_of_a_batch_run_than_may(
    gateway: Gateway, environ: dict[str, str], joblog: JobLog, store: Store, admission: Admission
) -> None:
    batch = await submit(gateway, [address(n) for n in range(7)])
    async with dispatcher(environ, max_active_jobs=2):
        ended: list[str] = []
        for _ in range(7):

            async def active() -> list[str] | None:
                places = (await admission.ledger()).places
                found = [job_id for job_id, place in places.items() if place.state is State.ACTIVE]
                assert len(found) <= 2
                started = [fact.job_id for fact in await known(joblog) if isinstance(fact, facts.JobStarted)]
                return [one for one in found if one in started and one not in ended] or None

            ended.append((await until(active))[0])
            await Stages(joblog, ended[-1]).fail()

        async def done() -> bool:
            return bool((await look(gateway, batch))["done"])

        await until(done)
    assert (await look(gateway, batch))["counts"] == {"failed": 7}


async def test_a_wrong_token_is_answered_as_an_unknown_batch(gateway: Gateway) -> None:
    batch = await submit(gateway, [address(1)])
    other = await submit(gateway, [address(2)])
    unknown = batch["batch_id"][::-1]
    tokens = [None, "wrong", other["batch_token"], batch["jobs"][0]["access_token"]]
    for method, end in (("GET", ""), ("DELETE", ""), ("GET", "/download")):
        answers = {
            (answer.status_code, answer.text)
            for batch_id in (batch["batch_id"], unknown, "x.>")
            for token in tokens
            if (headers := {"Authorization": f"Bearer {token}"} if token else {}) is not None
            and (answer := await gateway.http.request(method, f"/api/batches/{batch_id}{end}", headers=headers))
        }
        assert len(answers) == 1
        assert answers.pop()[0] == 404
    assert (await look(gateway, batch))["counts"] == {"pending": 1}
    # nor does the token of a batch open its jobs, or a batch pass for a job
    job_id = batch["jobs"][0]["job_id"]
    for at in (job_id, batch["batch_id"]):
        assert (await gateway.http.get(f"/api/jobs/{at}", headers=opened_by(batch))).status_code == 404


async def test_the_zip_has_what_is_completed_under_names_that_differ(
    gateway: Gateway, environ: dict[str, str], joblog: JobLog, store: Store
) -> None:
    names = ["a.mp4", "A.wav", "../../etc/passwd", "a (2).mp4", "failed.mp4", "waiting.mp4"]
    batch = await submit(gateway, [address(n) | {"filename": name} for n, name in enumerate(names)])
    at = f"/api/batches/{batch['batch_id']}/download"
    none = await gateway.http.get(at, headers=opened_by(batch))
    assert (none.status_code, none.json()["code"]) == (409, "not_finished")
    async with dispatcher(environ):
        await made(joblog, 6)
    for n in range(4):
        await Stages(joblog, batch["jobs"][n]["job_id"]).complete(store)
    await Stages(joblog, batch["jobs"][4]["job_id"]).fail()

    answer = await gateway.http.get(at, headers=opened_by(batch))
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    stems = ["a", "A (2)", "passwd", "a (2) (2)"]
    assert archive.namelist() == [f"{stem}.{one}" for stem in stems for one in ("srt", "vtt", "json", "txt")]
    assert {one: archive.read(f"passwd.{one}") for one in RESULTS} == RESULTS
    answer = await gateway.http.get(at, params={"formats": "exe"}, headers=opened_by(batch))
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_format")


async def test_cancelling_a_batch_cancels_what_waits_and_with_running_the_rest(
    gateway: Gateway, environ: dict[str, str], joblog: JobLog
) -> None:
    batch = await submit(gateway, [address(n) for n in range(4)])
    at = f"/api/batches/{batch['batch_id']}"
    early = await gateway.http.delete(at, headers=opened_by(batch))
    assert (early.status_code, early.json()["code"]) == (409, "batch_beginning")
    assert "Retry-After" in early.headers
    async with dispatcher(environ, max_active_jobs=1):

        async def one_runs() -> bool:
            return (await look(gateway, batch))["counts"] == {"processing": 1, "pending": 3}

        await until(one_runs)
        answer = await gateway.http.delete(at, headers=opened_by(batch))
        assert answer.json()["counts"] == {"processing": 1, "cancelled": 3}
        answer = await gateway.http.delete(at, params={"running": "true"}, headers=opened_by(batch))
        assert (answer.status_code, answer.json()["counts"], answer.json()["done"]) == (200, {"cancelled": 4}, True)
        again = await gateway.http.delete(at, headers=opened_by(batch))
        assert again.json() == answer.json()


async def test_a_dispatcher_killed_before_it_made_all_jobs_makes_each_once(
    gateway: Gateway, environ: dict[str, str], client: Client, joblog: JobLog, admission: Admission, tmp_path: Any
) -> None:
    # given a dispatcher that is killed as soon as any job of a large batch is in the log or has a place
    batch = await submit(gateway, [address(n) for n in range(ITEMS_MAX)])
    with process("services.dispatcher", environ=environ, log=tmp_path / "first.log") as first:

        async def begun() -> bool:
            return len((await admission.ledger()).places) > 1 or len(await known(joblog)) > 1

        await until(begun, 30)
        first.kill()
        first.wait()
    # when another takes over
    async with dispatcher(environ):
        jobs = await made(joblog, ITEMS_MAX)
        await until(lambda: _all_acked(client), 30)
    # then every job is there once, with one place
    assert {fact.job_id for fact in jobs} == {job["job_id"] for job in batch["jobs"]}
    assert len(await made(joblog, ITEMS_MAX)) == ITEMS_MAX
    assert set((await admission.ledger()).places) == {job["job_id"] for job in batch["jobs"]}


async def test_a_batch_placed_but_not_published_is_unfolded_by_the_redelivery(
    gateway: Gateway, environ: dict[str, str], joblog: JobLog, admission: Admission
) -> None:
    batch = await submit(gateway, [address(n) for n in range(3)])
    ids = [job["job_id"] for job in batch["jobs"]]
    # given what a dispatcher leaves that dies between the two: places, and one of the jobs
    [accepted] = await known(joblog)
    assert isinstance(accepted, facts.BatchAccepted)
    taken = (await admission.ledger()).places[batch["batch_id"]]
    place = msgspec.structs.replace(taken, state=State.WAITING, jobs=1, batch=batch["batch_id"], uploads=[])
    await admission.change(
        lambda ledger: (
            ledger.without(batch["batch_id"])
            .with_place(ids[0], place)
            .with_place(ids[1], place)
            .with_place(ids[2], place)
        )
    )
    await joblog.append(_accepted(accepted, accepted.items[0]))
    async with dispatcher(environ):
        jobs = await made(joblog, 3)
    assert {job.job_id for job in jobs} == set(ids)
    places = (await admission.ledger()).places
    assert set(places) == set(ids)
    assert {place.counted_as for place in places.values()} == {taken.counted_as}


async def test_a_batch_whose_message_vanished_is_unfolded_after_a_reconciliation(
    gateway: Gateway, environ: dict[str, str], client: Client, joblog: JobLog
) -> None:
    batch = await submit(gateway, [address(n) for n in range(3)])
    await take(client, topology.DISPATCHER)
    assert await processed(client, environ | {"SUBTIDE_JANITOR_SECOND_LOOK_S": "0.2"}) == (1, 0)
    async with dispatcher(environ):
        jobs = await made(joblog, 3)
    assert {job.job_id for job in jobs} == {job["job_id"] for job in batch["jobs"]}


async def test_a_batch_that_was_given_up_midway_is_completed(
    gateway: Gateway, environ: dict[str, str], joblog: JobLog, admission: Admission
) -> None:
    # given what is left where the tries ran out after the first of the jobs
    batch = await submit(gateway, [address(n) for n in range(3)])
    [accepted] = await known(joblog)
    assert isinstance(accepted, facts.BatchAccepted)
    counted_as = (await admission.ledger()).places[batch["batch_id"]].counted_as
    await joblog.append(_accepted(accepted, accepted.items[0]))
    await joblog.append(_given_up(accepted))
    assert (await look(gateway, batch))["counts"] == {"pending": 3}
    # when a dispatcher is there
    async with dispatcher(environ, max_active_jobs=1):
        jobs = await made(joblog, 3)
        await until(lambda: _has_no_place(admission, batch["batch_id"]))
    # then all of them are, each with a place that counts for whoever sent the batch
    assert {job.job_id for job in jobs} == {job["job_id"] for job in batch["jobs"]}
    places = (await admission.ledger()).places
    assert {one.counted_as for job_id, one in places.items() if job_id != accepted.items[0].job_id} == {counted_as}


async def test_a_batch_that_was_given_up_is_woken_by_its_failure_as_often_as_that_is_said(
    gateway: Gateway, environ: dict[str, str], client: Client, joblog: JobLog
) -> None:
    batch = await submit(gateway, [address(n) for n in range(2)])
    [accepted] = await known(joblog)
    assert isinstance(accepted, facts.BatchAccepted)
    failed = _given_up(accepted)
    await joblog.append(failed)
    await take(client, topology.DISPATCHER)
    await joblog.again(failed)  # as a reconciliation does
    async with dispatcher(environ):
        jobs = await made(joblog, 2)
    assert {job.job_id for job in jobs} == {job["job_id"] for job in batch["jobs"]}


async def test_an_expired_batch_makes_no_more_jobs(
    gateway: Gateway, environ: dict[str, str], client: Client, joblog: JobLog
) -> None:
    batch = await submit(gateway, [address(1)])
    [accepted] = await known(joblog)
    assert isinstance(accepted, facts.BatchAccepted)
    await joblog.append(_given_up(accepted))
    await joblog.append(facts.JobExpired(job_id=accepted.job_id, run=1, owner=accepted.owner, at=datetime.now(UTC)))
    async with dispatcher(environ):
        await until(lambda: _all_acked(client))
    assert len(await known(joblog)) == 3
    assert (await look(gateway, batch))["counts"] == {"failed": 1}


async def test_a_batch_keeps_its_place_until_all_its_jobs_are_in_the_log(
    gateway: Gateway, environ: dict[str, str], client: Client, joblog: JobLog, admission: Admission
) -> None:
    # given a batch whose jobs had places, which the janitor took back before the log had them
    batch = await submit(gateway, [address(n) for n in range(3)])
    [accepted] = await known(joblog)
    own = (await admission.ledger()).places[batch["batch_id"]]
    await admission.change(
        lambda ledger: ledger.with_place(
            batch["batch_id"], msgspec.structs.replace(own, jobs=0, batch=batch["batch_id"])
        )
    )
    # when it is unfolded at last
    async with dispatcher(environ):
        await made(joblog, 3)
        await until(lambda: _all_acked(client))
    # then they count for their owner, and as one batch, and the batch itself for nothing any more
    places = (await admission.ledger()).places
    assert set(places) == {job["job_id"] for job in batch["jobs"]}
    assert {(one.counted_as, one.batch) for one in places.values()} == {(own.counted_as, accepted.job_id)}


async def test_a_log_that_does_not_answer_is_no_try_of_a_batch(gateway: Gateway, joblog: JobLog) -> None:
    class Silent:
        async def get(self, key: str) -> None:
            raise nats.errors.TimeoutError

    await submit(gateway, [address(1)])
    [accepted] = await known(joblog)
    unfolding = Dispatcher(joblog, Admission(Silent()), Limits(), ageing_s=600.0)
    work = Work(
        fact=accepted, recorded=[], attempt=4, subject="", log=telemetry.logger(stage="dispatcher"), joblog=joblog
    )
    with pytest.raises(LogFull):  # which is handed back
        await unfolding(accepted, work)


def _accepted(batch: facts.BatchAccepted, item: facts.BatchItem) -> facts.JobAccepted:
    return facts.JobAccepted(
        job_id=item.job_id,
        run=1,
        owner=batch.owner,
        at=batch.at,
        filename=item.filename,
        source_url=item.source_url,
        parameters=batch.parameters,
        token_sha256=item.token_sha256,
    )


def _given_up(batch: facts.BatchAccepted) -> facts.JobFailed:
    return facts.JobFailed(
        job_id=batch.job_id, run=1, owner=batch.owner, at=datetime.now(UTC), code=FailureCode.WORKER_LOST,
        stage="dispatcher", reference="0" * 12, attempts=5,
    )  # fmt: skip


async def _has_no_place(admission: Admission, job_id: str) -> bool:
    return job_id not in (await admission.ledger()).places


async def _all_acked(client: Client) -> bool:
    info = await client.jetstream().consumer_info(topology.JOBS, topology.DISPATCHER.name)
    return not info.num_pending and not info.num_ack_pending


async def test_a_batch_that_was_given_up_for_good_is_unfolded_after_a_reconciliation(
    gateway: Gateway, environ: dict[str, str], client: Client, joblog: JobLog, admission: Admission
) -> None:
    batch = await submit(gateway, [address(n) for n in range(3)])
    [accepted] = await known(joblog)
    assert isinstance(accepted, facts.BatchAccepted)
    await joblog.append(_accepted(accepted, accepted.items[0]))
    await joblog.append(_given_up(accepted))
    await take(client, topology.DISPATCHER)
    await processed(client, environ | {"SUBTIDE_JANITOR_SECOND_LOOK_S": "0.2"})
    async with dispatcher(environ):
        for job in batch["jobs"]:
            await until(lambda job_id=job["job_id"]: joblog.knows(job_id))


async def test_the_place_of_a_batch_whose_jobs_are_all_there_is_given_up(
    gateway: Gateway, environ: dict[str, str], client: Client, joblog: JobLog, admission: Admission
) -> None:
    batch = await submit(gateway, [address(n) for n in range(2)])
    [accepted] = await known(joblog)
    assert isinstance(accepted, facts.BatchAccepted)
    own = (await admission.ledger()).places[batch["batch_id"]]
    async with dispatcher(environ):
        await made(joblog, 2)
        await until(lambda: _all_acked(client))
    old = msgspec.structs.replace(own, since=own.since - timedelta(seconds=60))
    await admission.change(lambda ledger: ledger.with_place(batch["batch_id"], old))
    await processed(client, environ | {"SUBTIDE_JANITOR_SECOND_LOOK_S": "0.2"})
    assert set((await admission.ledger()).places) == {job["job_id"] for job in batch["jobs"]}
