"""`subtide projection rebuild`: the tables in Postgres made anew from the log, while they are in use."""

import asyncio
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from cli import options
from cli.errors import CliError

if TYPE_CHECKING:
    from services.projector.rebuild import Rebuilt

_CONNECT_S = 5

app = typer.Typer(help="The tables in Postgres that lists are read from.", no_args_is_help=True)


@app.command(epilog="Example: subtide projection rebuild")
def rebuild(data: options.Data = None) -> None:
    """Make the tables anew from the log; lists can be read and jobs go on meanwhile. Safe to interrupt and to repeat.

    Uses the stack that is running on the data folder, unless NATS_URL and DATABASE_URL name others.
    """
    from cli.server import data_root
    from cli.standalone.folder import read_running

    running = read_running(data_root(data))
    addresses = {"NATS_URL": running.nats_url, "DATABASE_URL": running.database_url} if running else {}
    made = asyncio.run(_rebuild(addresses | {name: value for name, value in os.environ.items() if value}))
    aside = f", {made.unknown} messages that are no facts kept aside" if made.unknown else ""
    typer.echo(f"The tables are made anew: {made.facts} facts, {made.jobs} jobs{aside}.")


async def _rebuild(environ: Mapping[str, str]) -> "Rebuilt":
    try:
        import asyncpg
        import nats
        import nats.errors
        import nats.js.errors

        from chassis.settings import Connections, load
        from services.projector.engine import OutOfOrder
        from services.projector.rebuild import Refused, rebuild
    except ModuleNotFoundError as error:
        raise CliError(f"The projector is not installed ({error}). Run: pip install 'subtide[projector]'") from error

    connections = load(Connections, "", environ)
    try:
        client = await nats.connect(
            connections.nats_url,
            allow_reconnect=False,
            connect_timeout=_CONNECT_S,
            max_reconnect_attempts=1,
            error_cb=_ignored,
        )
    except (OSError, nats.errors.Error) as error:
        raise CliError(f"No broker answers at {_without_password(connections.nats_url)} ({_said(error)}).") from error
    try:
        return await rebuild(client, connections.database_url)
    except Refused as error:
        raise CliError(str(error)) from error
    except nats.js.errors.NotFoundError as error:
        raise CliError("The broker has no log yet. Run `subtide provision` first.") from error
    except (nats.errors.Error, OutOfOrder) as error:
        raise CliError(f"The log could not be read, so the tables are as they were ({_said(error)}).") from error
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        where = _without_password(connections.database_url)
        raise CliError(f"The database at {where} failed, so the tables are as they were ({_said(error)}).") from error
    finally:
        await client.close()


async def _ignored(_: Exception) -> None:
    """What goes wrong is raised by the call that it goes wrong in."""


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _without_password(url: str) -> str:
    return f"{url.partition('://')[0]}://{url.rpartition('@')[2].rpartition('://')[2]}"
