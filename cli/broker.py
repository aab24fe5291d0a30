"""The broker a command works on: the one that is named, else that of the stack that runs on this machine."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cli.errors import CliError

if TYPE_CHECKING:
    from nats.aio.client import Client

_CONNECT_S = 5
_DEFAULT = "nats://127.0.0.1:4222"


def addresses(data: Path | None) -> dict[str, str]:
    """NATS_URL, and DATABASE_URL where it is known: from the environment, else from the stack on the folder."""
    from cli.server import data_root
    from cli.standalone.folder import read_running

    running = read_running(data_root(data))
    known = {"NATS_URL": _DEFAULT}
    if running:
        known = {"NATS_URL": running.nats_url, "DATABASE_URL": running.database_url}
    return known | {name: os.environ[name] for name in ("NATS_URL", "DATABASE_URL") if os.environ.get(name)}


@asynccontextmanager
async def connected(nats_url: str) -> AsyncIterator["Client"]:
    """A connection for the length of a command. Whatever the broker refuses in it is a CliError."""
    import nats
    import nats.errors
    import nats.js.errors

    where = without_password(nats_url)
    try:
        client = await nats.connect(
            nats_url, allow_reconnect=False, connect_timeout=_CONNECT_S, max_reconnect_attempts=1, error_cb=_ignored
        )
    except (OSError, nats.errors.Error) as error:
        raise CliError(
            f"No broker answers at {where} ({said(error)}). Set NATS_URL, or name the stack's folder with --data."
        ) from error
    try:
        yield client
    except (nats.js.errors.NotFoundError, nats.errors.NoRespondersError) as error:
        raise CliError(f"The broker at {where} has no log yet. Run `subtide provision` first.") from error
    except (OSError, TimeoutError, nats.errors.Error) as error:
        raise CliError(f"The broker at {where} refused: {said(error)}.") from error
    finally:
        await client.close()


def said(error: Exception) -> str:
    """What an error says, its kind where it says nothing."""
    return str(error) or type(error).__name__


def without_password(url: str) -> str:
    """An address to be shown."""
    return f"{url.partition('://')[0]}://{url.rpartition('@')[2].rpartition('://')[2]}"


async def _ignored(_: Exception) -> None:
    """What goes wrong is raised by the call that it goes wrong in."""
