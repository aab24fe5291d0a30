"""`subtide up`: the whole stack on this machine. Ctrl-C and SIGTERM stop it, with running work handed back."""

import asyncio
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cli import options
from cli.errors import CliError

if TYPE_CHECKING:
    from cli.standalone.folder import DataFolder
    from cli.standalone.supervisor import Child

R = TypeVar("R")

PROCESSES = {
    "flow": ["dispatcher", "fetcher", "extractor", "exporter", "projector", "janitor", "notifier"],
    "transcriber": ["transcriber"],
    "diarizer": ["diarizer"],
    "gateway": ["gateway"],
}
"""Which services share a process: the light ones. The gateway comes last, its readiness is that of the stack."""

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - an operator may ask for it


class Terminated(Exception):
    """We were told to stop (SIGTERM, or the terminal was closed), and have stopped."""


def up(
    data: options.Data = None,
    port: Annotated[
        int,
        typer.Option(help="Port to listen on; 0 takes a free one.", envvar="SUBTIDE_GATEWAY_PORT", min=0, max=65535),
    ] = 8000,
) -> None:
    """Start everything on this machine and leave it running until Ctrl-C.

    NATS_URL, DATABASE_URL and ARTIFACTS_URL each replace the server that would be started otherwise.
    """
    from cli.server import data_root

    root = data_root(data)
    log_to_file(root)
    with suppress(Terminated):
        until_told(_up(root, port))


def say(sentence: str) -> None:
    """A line on stderr; a terminal that is gone does not keep anything from stopping in order."""
    with suppress(OSError):
        typer.echo(sentence, err=True)


def log_to_file(root: Path) -> None:
    """What the supervisor has to say goes to `logs/up.log` in the data folder; a child that dies gets a line here."""
    import structlog

    from chassis import telemetry

    telemetry.configure_logs("up")
    [stream] = logging.getLogger().handlers
    file = logging.FileHandler(root / "logs" / "up.log", delay=True)
    file.setFormatter(stream.formatter)
    sentences = logging.StreamHandler()
    sentences.addFilter(lambda record: isinstance(record.msg, dict) and record.msg.get("event") == "child_died")
    sentences.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processor=lambda _, __, event: f"{event['child']} stopped and is started again; see {event['log']}"
        )
    )
    logging.getLogger().handlers[:] = [file, sentences]


@asynccontextmanager
async def stack(
    data: Path, port: int, environ: Mapping[str, str], on_phase: Callable[[str], None]
) -> AsyncIterator[str]:
    """The stack on a data folder, for as long as the context lasts; yields its address once jobs can be submitted.

    `port` 0 takes a free one. `on_phase` hears a sentence a phase. On leaving, work is handed back and everything has
    stopped within 20 s. Raises CliError where the folder or the port is taken or a server does not start. Use it from
    the main thread: the children die with the thread that starts them.
    """
    from chassis.store import Store
    from cli.provision import keep_provisioned
    from cli.standalone.folder import DataFolder, Running
    from cli.standalone.stack import servers
    from cli.standalone.supervisor import Supervisor

    folder = DataFolder(data)
    with folder.locked():
        host = environ.get("SUBTIDE_GATEWAY_HOST", "") or "127.0.0.1"
        port = _free(host, port)
        on_phase(f"Data and logs are in {folder.root}")
        async with servers(folder, environ) as addresses:
            Store(addresses.artifacts_url)  # which says so here where it is none, and not in the log of a service
            on_phase("Broker and database are up")
            environ = {**environ, **addresses.environ()}
            async with (
                keep_provisioned(environ),
                Supervisor(logs=folder.logs, inherit=folder.inherited) as supervisor,
            ):
                on_phase("Starting the services")
                url = f"http://{_reached_at(host)}:{port}"
                for child in _children(folder, environ, host, port, url):
                    await supervisor.start(child)
                folder.publish(
                    Running(
                        pid=os.getpid(),
                        gateway_url=url,
                        nats_url=addresses.nats_url,
                        database_url=addresses.database_url,
                        artifacts_url=addresses.artifacts_url,
                    )
                )
                try:
                    yield url
                finally:
                    on_phase("Stopping")


def until_told(work: Coroutine[Any, Any, R]) -> R:
    """Run to the end; on Ctrl-C (KeyboardInterrupt) and on SIGTERM or SIGHUP (Terminated) unwind first."""
    told = False

    async def guarded() -> R:
        task = asyncio.current_task()
        assert task is not None

        def tell() -> None:
            nonlocal told
            told = True
            task.cancel()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                loop.add_signal_handler(number, tell)
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as with `&` in a script, where `kill -INT` is meant
            loop.add_signal_handler(signal.SIGINT, tell)
        return await work

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        if told:
            raise Terminated from None
        raise


async def _up(root: Path, port: int) -> None:
    async with stack(root, port, os.environ, say) as url:
        typer.echo(f"Subtide is ready at {url}")
        _say_what_is_missing()
        say("Ctrl-C stops it.")
        await asyncio.get_running_loop().create_future()


def _say_what_is_missing() -> None:
    """Jobs are taken without models, and fail for want of them."""
    from chassis import models
    from contracts.failures import EngineError

    try:
        for model in models.manifest().defaults():
            models.find(model.name)
    except EngineError as error:
        say(f"Jobs will fail: {error.detail}")


def _children(folder: "DataFolder", environ: Mapping[str, str], host: str, port: int, url: str) -> "Iterator[Child]":
    from chassis.models import models_dir
    from cli.standalone.supervisor import Child
    from services.notifier import keys

    secret = environ.get("SUBTIDE_GATEWAY_SECRET", "") or folder.credentials().gateway_secret
    vapid_key = environ.get("SUBTIDE_NOTIFIER_PRIVATE_KEY", "") or keys.derived(secret)
    env = {
        **environ,
        "SUBTIDE_GATEWAY_HOST": host,
        "SUBTIDE_GATEWAY_PORT": str(port),
        "SUBTIDE_GATEWAY_SECRET": secret,
        "SUBTIDE_GATEWAY_NOTIFICATIONS_KEY": keys.public(vapid_key),
        "SUBTIDE_NOTIFIER_PRIVATE_KEY": vapid_key,
        "SUBTIDE_MODELS_DIR": str(models_dir(environ).absolute()),  # children run in another folder
        "SUBTIDE_DEBUG": "1",  # their stderr is a log
    }
    for name, services in PROCESSES.items():
        yield Child(
            name=name,
            argv=[sys.executable, "-P", "-m", "cli.main", "services", *services],
            env=env,
            ready_url=f"{url}/health/ready" if name == "gateway" else "",
        )


def _free(host: str, port: int) -> int:
    """The port, or a free one for 0. Raises CliError where it cannot be had."""
    from cli.standalone.server import free_port

    if port == 0:
        return free_port()
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family):
            return port
    except OSError as error:
        taken = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
        raise CliError(
            f"Port {port} on {host} {taken}. Choose another with --port; --port 0 takes a free one."
        ) from error


def _reached_at(host: str) -> str:
    reached = _EVERYWHERE.get(host, host)
    return f"[{reached}]" if ":" in reached else reached
