"""`subtide watch`: shows a job while it runs."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options
from cli.errors import CliError

if TYPE_CHECKING:
    from contracts.facts import Caption


def watch(
    job: Annotated[str, typer.Argument(help="Id of the job, or how it begins.", show_default=False)],
    token: Annotated[
        str | None, typer.Option(help="Its token, if it was not submitted from here.", show_default=False)
    ] = None,
    server: options.Server = None,
) -> None:
    """Follow a job to its end: a bar for each stage, and captions as they are written."""
    from cli.server import server_address
    from cli.tokens import TokenFile

    address = server_address(server)
    if token is None:
        known = TokenFile().find(address, job)
        job, token = known.job_id, known.token
    asyncio.run(_watch(address, job, token))


async def _watch(address: str, job_id: str, token: str) -> None:
    from cli.bars import display
    from cli.client import Api
    from cli.following import follow
    from contracts.progress import Status

    async with Api(address) as api:
        with display() as shown:
            job = await follow(api, job_id, token, shown, on_caption=_print_caption)
            for note in job.notes:
                shown.say(note)
    if job.status is not Status.COMPLETED:
        raise CliError(job.failure)


def _print_caption(caption: "Caption") -> None:
    minutes, seconds = divmod(caption.start, 60)
    hours, minutes = divmod(int(minutes), 60)
    typer.echo(f"{hours}:{minutes:02d}:{seconds:04.1f}  {caption.text.strip()}")
