"""Generated requests against the whole HTTP interface: a real gateway, broker and database, and jobs in several states.

    python -m tests.security.schema [--seed N] [--examples N]

schemathesis makes the requests from our own OpenAPI, right ones and wrong ones, alone and in sequences, and holds
every answer against it with all its checks. Each pass is made as another kind of caller. What the checks object to is
printed with the request that shows it, and the exit status is 1.
"""

import argparse
import asyncio
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import nats
import structlog

from chassis.broker import CONNECT_OPTIONS
from chassis.joblog import JobLog
from chassis.provision import provision
from chassis.store import Store
from cli.standalone.nats import NatsServer
from cli.standalone.postgres import PostgresServer
from contracts import topology
from services.janitor.app import serve as serve_janitor
from services.projector.app import serve as serve_projector
from tests.integration.conftest import Gateway, running_gateway
from tests.integration.stages import Stages

OPERATOR_TOKEN = "the-operator-of-this-test"
SETTINGS = {
    "SUBTIDE_MAX_QUEUED_JOBS": "1000000",
    "SUBTIDE_GATEWAY_MAX_UNFINISHED_UPLOADS": "10000",
    "SUBTIDE_GATEWAY_REQUESTS_PER_MINUTE": "0",
    "SUBTIDE_GATEWAY_SUBMITS_PER_MINUTE": "0",
    "SUBTIDE_GATEWAY_WRONG_TOKENS_PER_MINUTE": "0",
    "SUBTIDE_GATEWAY_OPERATOR_TOKEN": OPERATOR_TOKEN,
}
"""Nothing is refused for being too much: that has tests of its own, and would hide everything else here."""
PHASES = "examples,coverage,fuzzing,stateful"
QUICK_PHASES = "coverage"

_ROOT = Path(__file__).parents[2]
_CONFIG = """\
[headers]
{authorization}
[parameters]
{job_id}
[checks]
enabled = true
# What the document cannot say of a request: that its key was used, its job deleted, its upload in another state.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "304", "401", "404", "409", "410", "413", "416", "422", "423", "460"]
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "404", "405", "409", "410", "412", "413", "415", "416", "422", "423", "431", "460"]
[checks.missing_required_header]
expected-statuses = ["400", "412"]
# Nor that one parameter excludes another, and which languages the models know. In text, `null` is nothing.
[[operations]]
include-path-regex = "^/api/(jobs/submit|batches$)"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "404", "409", "410", "422"]
checks.negative_data_rejection.enabled = false
# Headers that it does not know are no mistake of a client; and the form of `Upload-Metadata` it does not tell.
[[operations]]
include-path = "/api/uploads"
checks.negative_data_rejection.enabled = false
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "409", "413", "422"]
# The checksum is of the body, which a generated one is not.
[[operations]]
include-method = "PATCH"
include-path = "/api/uploads/{{upload_id}}"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "404", "409", "413", "423", "460"]
"""


class Pass(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of caller, and what it may touch."""

    name: str
    token: str = ""
    job_id: str = ""
    """Every address of a job is this one's; empty: generated ids."""
    deletes: bool = True


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a pass found."""

    name: str
    requests: int
    objections: list[str]
    """What the checks object to, one line each kind."""
    output: str

    @property
    def summary(self) -> str:
        """One line."""
        return f"{self.name}: {self.requests} requests, {len(self.objections)} objections"


class _Counted(msgspec.Struct):
    generated: int


class _Failure(msgspec.Struct):
    title: str
    operations: list[str] = []


class _Error(msgspec.Struct):
    title: str


class _Report(msgspec.Struct):
    test_cases: _Counted
    failures: list[_Failure]
    errors: list[_Error]
    exit_code: int


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[tuple[Gateway, list[Pass]]]:
    """A gateway on real servers that live in a folder, and the passes to make on it."""
    async with AsyncExitStack() as stack:
        postgres = stack.enter_context(PostgresServer(folder / "postgres"))
        broker = stack.enter_context(NatsServer(folder / "nats"))
        client = await nats.connect(broker.url, **CONNECT_OPTIONS)
        stack.push_async_callback(client.close)
        await provision(client, topology.Numbers(jobs_max_bytes=1 << 30))
        artifacts_url = (folder / "artifacts").as_uri()
        environ = {"NATS_URL": broker.url, "DATABASE_URL": postgres.url, "ARTIFACTS_URL": artifacts_url} | SETTINGS
        stop = asyncio.Event()
        beside = [asyncio.create_task(serve(environ, stop)) for serve in (serve_projector, serve_janitor)]
        try:
            async with running_gateway(environ) as gateway:
                yield gateway, await _passes(gateway, JobLog(client), Store(artifacts_url))
        finally:
            stop.set()
            await asyncio.gather(*beside)


async def made(one: Pass, gateway: Gateway, folder: Path, *, seed: int, examples: int, phases: str) -> Outcome:
    """Make a pass, with at most so many generated requests for each operation in each phase."""
    folder.mkdir()
    config, report = folder / "schemathesis.toml", folder / "report.json"
    config.write_text(
        _CONFIG.format(
            authorization=f'Authorization = "Bearer {one.token}"' if one.token else "",
            job_id=f'"path.job_id" = "{one.job_id}"' if one.job_id else "",
        )
    )
    command = [sys.executable, "-m", "schemathesis.cli", "--no-color", "--config-file", str(config), "run"]
    command += [f"{gateway.url}/schema/openapi.json", f"--phases={phases}", f"--seed={seed}"]
    command += [
        f"--max-examples={examples}",
        "--generation-database=none",
        "--no-shrink",
        "--continue-on-failure",
    ]
    command += ["--report=json", f"--report-json-path={report}", *([] if one.deletes else ["--exclude-method=DELETE"])]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=os.environ | {"SCHEMATHESIS_HOOKS": "tests.security.tus_bytes", "PYTHONPATH": str(_ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    text = output.decode(errors="replace")
    if not report.is_file():
        return Outcome(name=one.name, requests=0, objections=["schemathesis made no report"], output=text)
    found = msgspec.json.decode(report.read_bytes(), type=_Report)
    objections = [f"{failure.title}: {', '.join(failure.operations)}" for failure in found.failures]
    objections += [f"not tested: {error.title}" for error in found.errors]
    if found.exit_code and not objections:
        objections = ["schemathesis failed without saying why"]
    return Outcome(name=one.name, requests=found.test_cases.generated, objections=objections, output=text)


@asynccontextmanager
async def folder_of_servers() -> AsyncIterator[Path]:
    """A temporary folder that others may pass through: as root, Postgres runs as somebody else."""
    folder = Path(tempfile.mkdtemp(prefix="subtide-schema-"))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _passes(gateway: Gateway, joblog: JobLog, store: Store) -> list[Pass]:
    completed, failed, waiting, doomed = [await gateway.submit(b"sound %d" % n) for n in range(4)]
    for job in (completed, doomed):
        stages = Stages(joblog, job["job_id"])
        await stages.start()
        await stages.extract()
        await stages.complete(store)
    stages = Stages(joblog, failed["job_id"])
    await stages.start()
    await stages.fail()
    share = (await gateway.http.post(f"/api/jobs/{completed['job_id']}/share", headers=_bearer(completed))).json()
    return [
        Pass(name="nobody"),
        Pass(name="owner", token=completed["access_token"], job_id=completed["job_id"], deletes=False),
        Pass(name="share", token=share["share_token"], job_id=completed["job_id"]),
        Pass(name="stranger", token=failed["access_token"], job_id=completed["job_id"]),
        Pass(name="owner who retries", token=failed["access_token"], job_id=failed["job_id"], deletes=False),
        Pass(name="owner who cancels", token=waiting["access_token"], job_id=waiting["job_id"]),
        Pass(name="owner who deletes", token=doomed["access_token"], job_id=doomed["job_id"]),
        Pass(name="operator", token=OPERATOR_TOKEN),
    ]


def _bearer(job: dict[str, str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {job['access_token']}"}


async def main(seed: int, examples: int) -> int:
    """Make every pass, and print what came of it. Returns the exit status."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    requests = objections = 0
    async with folder_of_servers() as folder, served(folder) as (gateway, passes):
        for number, one in enumerate(passes):
            outcome = await made(one, gateway, folder / str(number), seed=seed, examples=examples, phases=PHASES)
            print(outcome.output if outcome.objections else "", end="", flush=True)
            print(f"schema, as {outcome.summary}", *outcome.objections, sep="\n  ", flush=True)
            requests += outcome.requests
            objections += len(outcome.objections)
    print(f"schema: {requests} requests (seed {seed}), {objections} objections")
    return 1 if objections or not requests else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument(
        "--examples", type=int, default=60, help="generated requests for an operation and phase, at most"
    )
    given = parser.parse_args()
    sys.exit(asyncio.run(main(given.seed, given.examples)))
