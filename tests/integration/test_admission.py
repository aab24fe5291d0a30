"""The ledger on a real server: whose place is cancelled, and what does not fit."""

from datetime import UTC, datetime

import msgspec
import pytest
from nats.aio.client import Client

from chassis.admission import Admission, Ledger, LedgerFull, Place, State
from chassis.joblog import JobLog
from contracts import topology
from services.gateway.commands import Commands
from services.gateway.problems import Problem
from tests.integration.conftest import Gateway, running_gateway
from tests.integration.stages import Stages


@pytest.fixture
async def admission(client: Client) -> Admission:
    return Admission(await client.jetstream().key_value(topology.ADMISSION))


def place(run: int, state: State = State.WAITING) -> Place:
    return Place(owner="anon", counted_as="anon", run=run, state=state, since=datetime.now(UTC))


@pytest.mark.parametrize(
    ("held", "run", "won"),
    [
        (place(1), 1, True),
        (place(2, State.UPLOADING), 2, True),
        (place(1, State.ACTIVE), 1, False),
        (place(2), 1, False),
        (place(1), 2, False),
        (None, 1, False),
    ],
)
async def test_only_the_run_that_is_meant_loses_its_place(
    admission: Admission, held: Place | None, run: int, won: bool
) -> None:
    before = Ledger({"job": held} if held is not None else {})
    await admission.change(lambda _: before)
    assert await admission.cancel_waiting("job", run) is won
    after = await admission.ledger()
    assert [one.state for one in after.places.values()] == [State.CANCELLED] if won else after == before


async def test_who_saw_an_earlier_run_does_not_cancel_the_retry(
    gateway: Gateway, joblog: JobLog, admission: Admission
) -> None:
    # given somebody who looked at a job while its first run waited, which then failed and was retried
    job = await gateway.submit()
    opened = {"Authorization": f"Bearer {job['access_token']}"}
    seen = await joblog.view(job["job_id"])
    assert seen is not None
    await Stages(joblog, job["job_id"]).fail()
    await admission.release(job["job_id"])  # as the dispatcher does
    assert (await gateway.http.post(f"/api/jobs/{job['job_id']}/retry", headers=opened)).status_code < 300
    # when he cancels what he saw
    for running in (False, True):
        with pytest.raises(Problem) as caught:
            await Commands(joblog, admission).cancel(seen, running=running)
        assert (caught.value.document.status, caught.value.document.code) == (409, "not_cancellable")
    # then the second run waits as before
    kept = (await admission.ledger()).places[job["job_id"]]
    assert (kept.run, kept.state) == (2, State.UPLOADING)


async def test_a_ledger_that_does_not_fit_is_not_written(admission: Admission) -> None:
    few = Ledger({"job": place(1)})
    await admission.change(lambda _: few)
    with pytest.raises(LedgerFull, match="the ledger of 20,000 places has"):
        await admission.change(lambda _: Ledger({f"job-{n}": place(1) for n in range(20_000)}))
    assert await admission.ledger() == few


async def test_no_more_jobs_wait_over_all_than_may_and_who_is_refused_is_told_the_limit(
    environ: dict[str, str], admission: Admission
) -> None:
    limits = {"SUBTIDE_MAX_WAITING_JOBS": "1004", "SUBTIDE_MAX_QUEUED_JOBS": "2000"}
    others = {f"job-{n}": msgspec.structs.replace(place(1), counted_as=f"caller {n}") for n in range(1_000)}
    await admission.change(lambda _: Ledger(others))
    items = [{"source_url": f"https://talks.example/{n}.mp4"} for n in range(5)]
    async with running_gateway(environ | limits) as gateway:
        refused = await gateway.http.post("/api/batches", json={"items": items})
        assert (refused.status_code, refused.json()["code"]) == (429, "queue_full")
        assert "Retry-After" in refused.headers
        assert refused.json()["detail"] == (
            "System busy: with this, 1,005 jobs of all users would be waiting, and at most 1,004 may. "
            "Try again in 30 seconds."
        )
        assert (await gateway.http.post("/api/batches", json={"items": items[:4]})).status_code == 202
        assert (await gateway.http.get("/api/capacity")).json()["accepting"] is False
        assert (await gateway.http.post("/api/jobs/submit", json=items[4])).status_code == 429
    assert (await admission.ledger()).unstarted() == 1_004
