"""The real servers of the integration tests, for these tests too."""

from tests.integration.conftest import (
    artifacts_url,
    client,
    database_url,
    environ,
    gateway,
    joblog,
    nats_server,
    numbers,
    postgres_server,
    store,
)

__all__ = [
    "artifacts_url", "client", "database_url", "environ", "gateway", "joblog", "nats_server", "numbers",
    "postgres_server", "store",
]  # fmt: skip
