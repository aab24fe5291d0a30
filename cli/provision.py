"""`subtide provision`: makes the streams, durables and buckets on a broker. Safe to repeat."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import typer

from cli.errors import CliError

_CONNECT_S = 5
_RETRY_S = 1.0


def provision() -> None:
    """Make or update the streams of the broker at NATS_URL. Safe to repeat."""
    asyncio.run(provision_on(os.environ))
    typer.echo("The broker has every stream, durable and bucket.")


async def provision_on(environ: Mapping[str, str]) -> None:
    """Provision the broker an environment names. Raises CliError where it cannot be reached or refuses."""
    import nats
    import nats.errors
    import nats.js.errors

    from chassis.provision import provision as make
    from chassis.settings import Connections, load
    from contracts.topology import Numbers

    url = load(Connections, "", environ).nats_url
    numbers = load(Numbers, "SUBTIDE_", environ)
    try:
        client = await nats.connect(
            url, allow_reconnect=False, connect_timeout=_CONNECT_S, max_reconnect_attempts=1, error_cb=_ignored
        )
    except (OSError, nats.errors.Error) as error:
        raise CliError(f"No broker answers at {_without_password(url)} ({_said(error)}).") from error
    try:
        await make(client, numbers)
    except nats.js.errors.ServiceUnavailableError as error:
        raise CliError(f"The broker at {_without_password(url)} runs without JetStream; start it with -js.") from error
    except (OSError, nats.errors.Error, nats.js.errors.Error) as error:
        raise CliError(f"The broker at {_without_password(url)} refused: {_said(error)}.") from error
    finally:
        await client.close()


@asynccontextmanager
async def keep_provisioned(environ: Mapping[str, str]) -> AsyncIterator[None]:
    """Provision, and again whenever the broker comes back: a restart empties what it keeps in memory."""
    import nats

    from chassis.broker import CONNECT_OPTIONS
    from chassis.settings import Connections, load

    await provision_on(environ)
    back = asyncio.Event()

    async def reconnected() -> None:
        back.set()

    client = await nats.connect(
        load(Connections, "", environ).nats_url,
        name="subtide-provision",
        reconnected_cb=reconnected,
        error_cb=_ignored,
        **CONNECT_OPTIONS,
    )
    keeper = asyncio.create_task(_provision_again(environ, back), name="keep-provisioned")
    try:
        yield
    finally:
        keeper.cancel()
        await client.close()


async def _provision_again(environ: Mapping[str, str], back: asyncio.Event) -> None:
    from chassis import telemetry

    log = telemetry.logger()
    while True:
        await back.wait()
        back.clear()
        try:
            await provision_on(environ)
        except CliError as error:
            log.warning("not_provisioned", error=str(error))
            await asyncio.sleep(_RETRY_S)
            back.set()
        else:
            log.info("provisioned_again")


async def _ignored(_: Exception) -> None:
    """What goes wrong is raised by the call that it goes wrong in."""


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _without_password(url: str) -> str:
    return f"{url.partition('://')[0]}://{url.rpartition('@')[2].rpartition('://')[2]}"
