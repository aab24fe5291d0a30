"""`subtide gateway`, `subtide transcriber` ...: one service alone, as in a pod; several in a process for the stack."""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import CliError

if TYPE_CHECKING:
    from chassis.service import Serve

_OURS = ("chassis", "cli", "contracts", "services")

SERVICES = {
    "gateway": "Serve the API, the websocket and the page.",
    "dispatcher": "Decide which accepted job starts next.",
    "fetcher": "Fetch recordings that jobs give the address of.",
    "extractor": "Turn recordings into 16 kHz mono sound.",
    "transcriber": "Write down what is said.",
    "diarizer": "Find out who speaks when.",
    "exporter": "Join words and speakers, and make the subtitles.",
    "janitor": "Remove what nobody can use any more.",
    "notifier": "Tell browsers that a job has ended.",
    "projector": "Keep the tables in Postgres that lists are read from.",
}


def register(app: typer.Typer) -> None:
    """Add a command for each service, and the hidden one for several."""
    for name, sentence in SERVICES.items():
        app.command(name, help=sentence, epilog=f"Example: NATS_URL=nats://broker:4222 subtide {name}")(_alone(name))
    app.command("services", hidden=True)(_services)


def serve(names: list[str]) -> None:
    """Run services in this process until SIGTERM. Raises CliError where one is unknown or not installed."""
    from chassis.service import main

    main({name: _entry_point(name) for name in names})


def _alone(name: str) -> Callable[[], None]:
    def run() -> None:
        serve([name])

    return run


def _services(names: Annotated[list[str], typer.Argument(help="Names of services.")]) -> None:
    """Run several services in one process."""
    serve(names)


def _entry_point(name: str) -> "Serve":
    if name not in SERVICES:
        raise CliError(f"There is no service {name}. There are: {', '.join(SERVICES)}.")
    try:
        serve: Serve = importlib.import_module(f"services.{name}.app").serve
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in _OURS:
            raise
        raise CliError(f"The {name} is not installed ({error}). Run: pip install 'subtide[{name}]'") from error
    return serve
