"""The command `subtide`. Everything heavy is imported by the command that needs it, so that help comes at once."""

import io
import os
import sys
from collections.abc import Iterator
from typing import Annotated

import typer
from typer._click.exceptions import ClickException, UsageError  # typer names only some of them publicly

from cli import (
    assets,
    dead,
    jobs,
    models,
    projection,
    provision,
    replay,
    run,
    services,
    submit,
    up,
    watch,
    watch_folder,
)
from cli.errors import CliError

INTERRUPTED = 130
TERMINATED = 143

app = typer.Typer(
    name="subtide",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command(epilog="Example: subtide run talk.mp4 --speakers 2")(run.run)
app.command(epilog="Example: subtide up --data ~/subtide --port 8000")(up.up)
app.command(epilog="Example: subtide submit lecture.mp4 --wait --output subtitles/")(submit.submit)
app.command(epilog="Example: subtide watch 3f9c")(watch.watch)
app.command(epilog="Example: subtide watch-folder ~/recordings --output ~/subtitles --recursive")(
    watch_folder.watch_folder
)
app.command(epilog="Example: subtide jobs --all")(jobs.jobs)
app.command(epilog="Example: subtide replay 3f9c")(replay.replay)
app.add_typer(dead.app, name="dead", epilog="Example: subtide dead list")
app.command(epilog="Example: NATS_URL=nats://broker:4222 subtide provision")(provision.provision)
app.add_typer(models.app, name="models", epilog="Example: subtide models pull")
app.add_typer(assets.app, name="assets", epilog="Example: subtide assets pull")
app.add_typer(projection.app, name="projection", epilog="Example: subtide projection rebuild")
services.register(app)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"subtide {version('subtide')}")
        raise typer.Exit


@app.callback(epilog="Example: subtide run talk.mp4")
def _common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Long recordings in, speaker-labelled subtitles out."""


def main() -> None:
    """Run a command and end the process: 0 done, 1 with a sentence on stderr, 130 after Ctrl-C.

    SUBTIDE_DEBUG=1 shows the traceback of what is not expected; without it there is a sentence for that, too.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: no caption and no file name stops a command
    try:
        code = app(prog_name="subtide", standalone_mode=False)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except up.Terminated:
        code = TERMINATED
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            if os.environ.get("SUBTIDE_DEBUG"):
                raise
            sentence = f"Unexpected {type(error).__name__}: {error}. SUBTIDE_DEBUG=1 shows where."
        typer.echo(f"subtide: {sentence}", err=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _sentence(error: BaseException) -> str | None:
    """What a person is told of an error; None where it is none that we know."""
    from chassis.settings import SettingsError

    for one in _leaves(error):
        match one:
            case CliError() | SettingsError():
                return str(one)
            case UsageError():
                where = one.ctx.command_path if one.ctx else "subtide"
                return f"{one.format_message().rstrip('.')}. `{where} --help` shows how it is used."
            case ClickException():
                return one.format_message()
    return None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error


if __name__ == "__main__":
    main()
