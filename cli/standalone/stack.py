"""The servers of the standalone stack: ours, or those that the environment names."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec

from cli.standalone.folder import DataFolder
from cli.standalone.nats import NatsServer
from cli.standalone.postgres import PostgresServer, place_for
from cli.standalone.server import STOP_S
from cli.standalone.supervisor import Supervisor


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where the servers are, with credentials."""

    nats_url: str
    database_url: str
    artifacts_url: str

    def environ(self) -> dict[str, str]:
        """The variables that tell a service."""
        return {
            "NATS_URL": self.nats_url,
            "DATABASE_URL": self.database_url,
            "ARTIFACTS_URL": self.artifacts_url,
        }


@asynccontextmanager
async def servers(folder: DataFolder, environ: Mapping[str, str]) -> AsyncIterator[Addresses]:
    """A broker, a database and a place for artifacts, kept running while the context lasts.

    NATS_URL, DATABASE_URL and ARTIFACTS_URL each replace ours, which is not started then. The caller holds
    `folder.locked()`. The broker stops before the database. Raises StartFailed.
    """
    credentials = folder.credentials()
    nats_url = environ.get("NATS_URL", "")
    database_url = environ.get("DATABASE_URL", "")
    keeping = folder.inherited
    async with Supervisor(logs=folder.logs, inherit=keeping, stop_s=2 * STOP_S, together=False) as supervisor:
        if not database_url:
            postgres = PostgresServer(
                place_for(folder.postgres, credentials.cluster_id),
                log=folder.logs / "postgres.log",
                password=credentials.postgres_password,
                inherit=keeping,
            )
            await supervisor.start(postgres)
            database_url = postgres.url
        if not nats_url:
            nats = NatsServer(
                folder.nats, log=folder.logs / "nats.log", password=credentials.nats_password, inherit=keeping
            )
            await supervisor.start(nats)
            nats_url = nats.url
        yield Addresses(
            nats_url=nats_url,
            database_url=database_url,
            artifacts_url=environ.get("ARTIFACTS_URL", "") or folder.artifacts.as_uri(),
        )
