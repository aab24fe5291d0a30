"""Users: they submit, follow, cancel, retry, share and delete, and never give up because a gateway is away."""

import asyncio
import random
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import msgspec

from tests.chaos.engines import Misdeed, Script
from tests.chaos.invariants import Run
from tests.chaos.watching import Watcher

_POLL_S = 1.0
_AGAIN_S = 0.3
_TIMEOUT_S = 15.0
_RETRY_AFTER_CAP_S = 2.0
_RUNS_MAX = 4
_TERMINAL = ("completed", "failed", "cancelled")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What one user is going to do; drawn from the seed before anything starts."""

    name: str
    script: Script
    parameters: dict[str, str]
    cancel_after_s: float | None = None
    cancel_running: bool = False
    delete: bool = False
    share: bool = False
    watch: bool = False


def plans(seed: int, jobs: int, *, work_s: float) -> list[Plan]:
    """What the users of a soak do. One in ten sends a recording that another has sent."""
    rng = random.Random(f"{seed} users")
    drawn: list[Plan] = []
    for number in range(jobs):
        script = Script(
            salt=f"{seed}-{number}",
            chunks=rng.choice([0, 1, 1, 2, 2, 3, 4, 5, 6, 6]),
            work_s=round(work_s * rng.uniform(0.3, 1.7), 3),
            misdeeds=_misdeeds(rng),
        )
        if drawn and rng.random() < 0.1:
            script = rng.choice(drawn).script
        parameters = {}
        if rng.random() < 0.2:
            parameters["diarize"] = "false"
        elif rng.random() < 0.2:
            parameters["num_speakers"] = str(rng.randint(1, 3))
        drawn.append(
            Plan(
                name=f"{seed}-{number}.mp4",
                script=script,
                parameters=parameters,
                cancel_after_s=rng.uniform(0.0, 3.0) if rng.random() < 0.12 else None,
                cancel_running=rng.random() < 0.7,
                delete=rng.random() < 0.08,
                share=rng.random() < 0.1,
                watch=rng.random() < 0.5,
            )
        )
    return drawn


def _misdeeds(rng: random.Random) -> list[Misdeed]:
    if rng.random() > 0.15:
        return []
    step = rng.choice(["extract", "plan", "transcribe", "diarize"])
    act, times = rng.choice([("crash", 1), ("crash", 2), ("retryable", 2), ("retryable", 9), ("permanent", 9)])
    return [Misdeed(step=step, act=act, times=times)]  # type: ignore[arg-type]


class Users:
    """All of them, and what they were promised."""

    def __init__(self, gateways: list[str], seed: int) -> None:
        self.promised: set[Run] = set()
        """Runs that were answered with 202."""
        self.watchers: list[Watcher] = []
        self.complaints: list[str] = []
        self.unanswered = 0
        """Requests whose answer was lost; each was sent again with the same key."""
        self.refused = 0
        self.ended: dict[str, int] = {}
        """Jobs by how they ended."""
        self.clock_off = timedelta()
        """By how much the clocks of the users are wrong."""
        self._gateways = gateways
        self._rng = random.Random(f"{seed} gateways")
        self._http = httpx.AsyncClient(timeout=_TIMEOUT_S, limits=httpx.Limits(max_connections=50))
        self._watching: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Leave."""
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        await self._http.aclose()

    async def watched(self, within_s: float) -> None:
        """Wait until every websocket has heard the end of its job."""
        if self._watching:
            _, waiting = await asyncio.wait(self._watching, timeout=within_s)
            if waiting:
                self.complaints.append(f"{len(waiting)} websockets did not hear the end of their job")

    async def live(self, plan: Plan) -> None:
        """One user from the submit to the end of the last run. Returns when the job is over for good."""
        accepted = await self._submit(plan)
        job_id, token = accepted["job_id"], accepted["access_token"]
        if plan.watch:
            self._watch(job_id, token)
        if plan.share:
            await self._ask("POST", job_id, token, "/share")
        if plan.cancel_after_s is not None:
            await asyncio.sleep(plan.cancel_after_s)
            await self._ask("DELETE", job_id, token, "", running=str(plan.cancel_running).lower())
        while True:
            job = await self._ended(job_id, token)
            if job["status"] == "completed" or job["run"] >= _RUNS_MAX:
                break
            if job["status"] == "failed" and job["error_code"] == "undecodable":
                break
            answer = await self._ask("POST", job_id, token, "/retry")
            if answer.status_code == 202:
                self.promised.add((job_id, answer.json()["run"]))
            elif answer.status_code != 409:
                self.complaints.append(f"job {job_id}: retry was answered with {answer.status_code} {answer.text}")
                break
        self.ended[job["status"]] = self.ended.get(job["status"], 0) + 1
        if job["status"] == "completed":
            await self._download(job_id, token)
        if plan.delete:
            await self._ask("DELETE", job_id, token, "", delete="true")

    async def _submit(self, plan: Plan) -> dict[str, Any]:
        """Until it is answered with 202: the same key, so that however many tries make one job."""
        content = plan.script.upload()
        while True:
            try:
                answer = await self._http.post(
                    f"{self._gateway()}/api/jobs/submit",
                    files={"file": (plan.name, content)},
                    data=plan.parameters,
                    headers={"Idempotency-Key": plan.name, **self._headers()},
                )
            except httpx.TransportError:
                self.unanswered += 1
                await asyncio.sleep(_AGAIN_S)
                continue
            if answer.status_code == 202:
                accepted: dict[str, Any] = answer.json()
                self.promised.add((accepted["job_id"], 1))
                return accepted
            self.refused += 1
            if answer.status_code not in (429, 503, 507):
                self.complaints.append(f"{plan.name}: submit was answered with {answer.status_code} {answer.text}")
            await self._wait(answer)

    async def _ask(self, method: str, job_id: str, token: str, path: str, **query: str) -> httpx.Response:
        """Until there is an answer other than `try again`."""
        while True:
            try:
                answer = await self._http.request(
                    method,
                    f"{self._gateway()}/api/jobs/{job_id}{path}",
                    params=query,
                    headers={"Authorization": f"Bearer {token}", **self._headers()},
                )
            except httpx.TransportError:
                self.unanswered += 1
                await asyncio.sleep(_AGAIN_S)
                continue
            if answer.status_code == 500:
                self.complaints.append(f"job {job_id}: {method} {path} was answered with 500 {answer.text}")
            if answer.status_code not in (429, 500, 503, 507):
                return answer
            await self._wait(answer)

    async def _ended(self, job_id: str, token: str) -> dict[str, Any]:
        while True:
            answer = await self._ask("GET", job_id, token, "")
            job: dict[str, Any] = answer.json()
            if answer.status_code != 200:
                self.complaints.append(f"job {job_id}: GET was answered with {answer.status_code} {answer.text}")
                return {"status": "completed", "run": 1}
            if job["status"] in _TERMINAL:
                return job
            await asyncio.sleep(_POLL_S)

    async def _download(self, job_id: str, token: str) -> None:
        answer = await self._ask("GET", job_id, token, "/download/srt")
        if answer.status_code != 200:
            self.complaints.append(f"job {job_id}: download was answered with {answer.status_code} {answer.text}")

    async def _wait(self, answer: httpx.Response) -> None:
        """As told by Retry-After, by a clock that may jump: then the user comes back too early, or waits the cap."""
        told_s = min(float(answer.headers.get("Retry-After", "1")), _RETRY_AFTER_CAP_S)
        deadline = self._now() + timedelta(seconds=told_s)
        latest = time.monotonic() + _RETRY_AFTER_CAP_S
        while self._now() < deadline and time.monotonic() < latest:  # noqa: ASYNC110 - a clock is no event
            await asyncio.sleep(0.05)

    def _watch(self, job_id: str, token: str) -> None:
        watcher = Watcher(self._gateway, job_id, token)
        self.watchers.append(watcher)
        self._watching.add(asyncio.create_task(watcher.watch()))

    def _gateway(self) -> str:
        return self._rng.choice(self._gateways)

    def _now(self) -> datetime:
        return datetime.now(UTC) + self.clock_off

    def _headers(self) -> dict[str, str]:
        return {"Date": format_datetime(self._now(), usegmt=True)}
