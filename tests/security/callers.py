"""Every kind of caller and everything there is to open: a real gateway with jobs, uploads and batches in each state."""

import asyncio
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from chassis.broker import CONNECT_OPTIONS
from chassis.joblog import JobLog
from chassis.provision import provision
from chassis.store import Store
from cli.standalone.nats import NatsServer
from cli.standalone.postgres import PostgresServer
from contracts import facts, subjects, topology
from contracts.uploads import Upload, bucket_key
from services.gateway import access
from services.projector.app import serve as serve_projector
from tests.integration.conftest import Gateway, running_gateway
from tests.integration.stages import MORE, Stages

OPERATOR_TOKEN = "the-operator-of-this-test"
SETTINGS = {
    "SUBTIDE_MAX_QUEUED_JOBS": "1000",
    "SUBTIDE_GATEWAY_REQUESTS_PER_MINUTE": "0",
    "SUBTIDE_GATEWAY_SUBMITS_PER_MINUTE": "0",
    "SUBTIDE_GATEWAY_WRONG_TOKENS_PER_MINUTE": "0",
    "SUBTIDE_GATEWAY_OPERATOR_TOKEN": OPERATOR_TOKEN,
    "SUBTIDE_GATEWAY_SECRET": "the same for every gateway",
    "SUBTIDE_GATEWAY_NOTIFICATIONS_KEY": "what browsers subscribe with",
}
"""Nothing is refused for coming too often: that has tests of its own."""

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = TUS | {"Content-Type": "application/offset+octet-stream"}


class World:
    """What there is. `ids` are things by what they are called, `tokens` callers by what they are."""

    def __init__(self, gateway: Gateway, client: Client, store: Store) -> None:
        self.gateway = gateway
        self.client = client
        self.joblog = JobLog(client)
        self.store = store
        self.ids: dict[str, str] = {}
        self.tokens: dict[str, str] = {}

    async def fill(self) -> None:
        """Make one of everything."""
        job = await self.completed("job", "owner")
        await self.completed("job of another", "owner of another job")
        for thing in ("expired job", "deleted job"):
            of_it = await self.completed(thing, f"owner of the {thing}")
            self.tokens[f"share of the {thing}"] = (await self.shared(of_it))["share_token"]
        await self.joblog.append(facts.JobExpired(**Stages(self.joblog, self.ids["expired job"]).of_job))
        deleted = await self.gateway.http.delete(
            f"/api/jobs/{self.ids['deleted job']}?delete=true", headers=bearer(self.tokens["owner of the deleted job"])
        )
        assert deleted.status_code == 200, deleted.text
        self.tokens["share"] = (await self.shared(job))["share_token"]
        revoked = await self.shared(job)
        self.tokens["revoked share"] = revoked["share_token"]
        for who in ("owner", "share", "revoked share"):
            self.tokens[f"ticket of the {who}"] = await self.ticket("job", self.tokens[who])
        self.tokens["ticket of another job"] = await self.ticket("job of another", self.tokens["owner of another job"])
        gone = await self.gateway.http.delete(
            f"/api/jobs/{job['job_id']}/share/{revoked['share_id']}", headers=bearer(job["access_token"])
        )
        assert gone.status_code == 204
        self.ids["revoked share"] = str(revoked["share_id"])

        upload = await self.uploaded("upload", "holder of the upload")
        await self.uploaded("upload of another", "holder of another upload")
        past = await self.uploaded("upload gone by", "holder of the upload gone by")
        await self.date_back(past["upload_id"])
        made = await self.gateway.http.post(
            "/api/jobs/submit", json={"upload_id": upload["upload_id"]}, headers=bearer(upload["upload_token"])
        )
        assert made.status_code == 202, made.text
        self.tokens["owner of the upload's job"] = made.json()["access_token"]
        await self.signed("upload signed", "holder of the upload signed")
        await self.batched("batch", "holder of the batch")
        await self.batched("batch of another", "holder of another batch")

        wrong, _ = access.mint()
        self.tokens |= {
            "wrong token": wrong,
            "hash of the owner's token": access.digest(self.tokens["owner"]),
            "part of the owner's token": self.tokens["owner"][:-1],
            "more than the owner's token": self.tokens["owner"] + "A",
            "owner's token in the wrong case": self.tokens["owner"].swapcase(),
            "endless token": "x" * (access.TOKEN_LENGTH_MAX + 1),
            "operator": OPERATOR_TOKEN,
        }

    async def completed(self, thing: str, owner: str) -> dict[str, Any]:
        """A job that is over, its recording, outline and results stored."""
        job = await self.gateway.submit(thing.encode())
        stages = Stages(self.joblog, job["job_id"])
        await stages.start()
        await stages.extract()
        view = await stages.view()
        assert view.peaks is not None
        peaks = {
            "version": 2, "channels": 1, "sample_rate": 16_000, "samples_per_pixel": 256, "bits": 8, "length": 1,
            "data": [0, 1],
        }  # fmt: skip
        await self.store.put(view.peaks.key, msgspec.json.encode(peaks))
        await stages.complete(self.store, MORE)
        self.ids[thing], self.tokens[owner] = job["job_id"], job["access_token"]
        return job

    async def shared(self, job: dict[str, Any]) -> dict[str, Any]:
        """A new share of a job."""
        answer = await self.gateway.http.post(f"/api/jobs/{job['job_id']}/share", headers=bearer(job["access_token"]))
        assert answer.status_code == 201, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def ticket(self, thing: str, token: str) -> str:
        """A ticket for the media of a job."""
        answer = await self.gateway.http.post(f"/api/jobs/{self.ids[thing]}/playable", headers=bearer(token))
        found = re.search(r"ticket=([0-9a-f.]+)", answer.json()["url"])
        assert found is not None
        return found[1]

    async def uploaded(self, thing: str, holder: str) -> dict[str, Any]:
        """A finished upload."""
        content = thing.encode()
        answer = await self.gateway.http.post(
            "/api/uploads", headers=BYTES | {"Upload-Length": str(len(content))}, content=content
        )
        assert answer.status_code == 201, answer.text
        body: dict[str, Any] = answer.json()
        self.ids[thing], self.tokens[holder] = body["upload_id"], body["upload_token"]
        return body

    async def signed(self, thing: str, holder: str) -> None:
        """An upload straight to the store, of two parts of which one is there."""
        length = (64 << 20) + 1
        begun = (await self.gateway.http.post("/api/uploads/signed", json={"length": length})).json()
        put = await self.gateway.http.put(begun["parts"][1]["url"], content=b"x")
        assert put.status_code == 200, put.text
        signature = re.search(r"signature=([0-9a-f]+)", begun["parts"][1]["url"])
        assert signature is not None
        self.ids[thing], self.tokens[holder] = begun["upload_id"], begun["upload_token"]
        self.tokens[f"signature of the {thing}"] = signature[1]

    async def batched(self, thing: str, holder: str) -> None:
        """A batch of one upload."""
        item = await self.uploaded(f"upload of the {thing}", f"holder of the upload of the {thing}")
        named = {key: item[key] for key in ("upload_id", "upload_token")}
        answer = await self.gateway.http.post("/api/batches", json={"items": [named]})
        assert answer.status_code == 202, answer.text
        self.ids[thing], self.tokens[holder] = answer.json()["batch_id"], answer.json()["batch_token"]
        self.tokens[f"owner of a job of the {thing}"] = answer.json()["jobs"][0]["access_token"]

    async def date_back(self, upload_id: str) -> None:
        """An upload whose time has passed, and that nobody has removed yet."""
        bucket = await self.client.jetstream().key_value(topology.UPLOADS)
        entry = await bucket.get(bucket_key(upload_id))
        assert entry.value is not None
        upload = msgspec.json.decode(entry.value, type=Upload)
        upload = msgspec.structs.replace(upload, expires_at=datetime.now(UTC) - timedelta(seconds=1))
        await bucket.put(bucket_key(upload_id), msgspec.json.encode(upload))


class Servers(msgspec.Struct, frozen=True, kw_only=True):
    """What services stand on."""

    folder: Path
    """Everything that is stored lies below it."""
    broker: NatsServer
    postgres: PostgresServer
    client: Client
    store: Store
    environ: dict[str, str]


@asynccontextmanager
async def servers(**settings: str) -> AsyncIterator[Servers]:
    """Real servers in a folder of their own, provisioned, and the environment of a service on them."""
    async with AsyncExitStack() as stack:
        # Not pytest's folder, which is its user's alone: as root, Postgres runs as somebody else.
        folder = Path(tempfile.mkdtemp(prefix="subtide-callers-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        postgres = stack.enter_context(PostgresServer(folder / "postgres"))
        broker = stack.enter_context(NatsServer(folder / "nats"))
        client = await nats.connect(broker.url, **CONNECT_OPTIONS)
        stack.push_async_callback(client.close)
        await provision(client, topology.Numbers(jobs_max_bytes=64 << 20))
        artifacts_url = (folder / "artifacts").as_uri()
        environ = {"NATS_URL": broker.url, "DATABASE_URL": postgres.url, "ARTIFACTS_URL": artifacts_url}
        yield Servers(
            folder=folder,
            broker=broker,
            postgres=postgres,
            client=client,
            store=Store(artifacts_url),
            environ=environ | SETTINGS | settings,
        )


@asynccontextmanager
async def world(**settings: str) -> AsyncIterator[World]:
    """A gateway on real servers, with one of everything; somebody answers beside it as the janitor would."""
    async with servers(**settings) as on:

        async def reconciled(message: Msg) -> None:
            await message.respond(b'{"processed":0}')

        await on.client.subscribe(subjects.RECONCILE, cb=reconciled)
        stop = asyncio.Event()
        projecting = asyncio.create_task(serve_projector(on.environ, stop))
        try:
            async with running_gateway(on.environ) as gateway:
                made = World(gateway, on.client, on.store)
                await made.fill()
                yield made
        finally:
            stop.set()
            await projecting


def bearer(token: str) -> dict[str, str]:
    """The header that a token travels in."""
    return {"Authorization": f"Bearer {token}"}


def absent(thing: str) -> str:
    """The id of something that is not there, shaped as that of the thing."""
    return os.urandom(24 if thing.startswith("upload") else 16).hex()
