"""`subtide jobs`: what was submitted from here, and how far it is."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options

if TYPE_CHECKING:
    from rich.table import Table

    from cli.client import Job

_FEW = 20
_PAGE = 100
_ID_SHOWN = 12
_WIDTH_ELSEWHERE = 160


def jobs(
    everything: Annotated[bool, typer.Option("--all", help=f"All jobs, not the newest {_FEW} only.")] = False,
    server: options.Server = None,
) -> None:
    """List the jobs you have submitted to a server, newest first."""
    from rich.console import Console

    from cli.server import server_address
    from cli.tokens import TokenFile

    address = server_address(server)
    tokens = [job.token for job in TokenFile().of_server(address)]
    if not tokens:
        typer.echo(f"Nothing was submitted to {address} from here.", err=True)
        return
    found, total = asyncio.run(_query(address, tokens, everything=everything))
    console = Console()
    console.print(_table(found), width=None if console.is_terminal else _WIDTH_ELSEWHERE)
    if total > len(found):
        typer.echo(f"{total - len(found)} more: subtide jobs --all", err=True)


async def _query(address: str, tokens: Sequence[str], *, everything: bool) -> tuple[list["Job"], int]:
    from cli.client import Api

    found: list[Job] = []
    async with Api(address) as api:
        while True:
            page = await api.jobs(tokens, 1 + len(found) // _PAGE, _PAGE if everything else _FEW)
            found += page.jobs
            if not everything or not page.jobs or len(found) >= page.total:
                return found, page.total


def _table(found: Sequence["Job"]) -> "Table":
    from rich.table import Column, Table
    from rich.text import Text

    from cli.bars import printable

    table = Table(
        Column("job", no_wrap=True),
        Column("recording", no_wrap=True, overflow="ellipsis"),
        Column("status", no_wrap=True),
        Column("speakers", no_wrap=True, justify="right"),
        Column("language", no_wrap=True),
        Column("submitted", no_wrap=True),
        box=None,
        pad_edge=False,
    )
    for job in found:
        table.add_row(
            job.job_id[:_ID_SHOWN],
            Text(printable(job.filename)),
            _status(job),
            str(job.speakers or ""),
            job.language or "",
            f"{job.created_at.astimezone():%d %b %H:%M}" if job.created_at else "",
        )
    return table


def _status(job: "Job") -> str:
    from contracts.progress import Status

    return f"{job.progress_stage} {job.progress:.0f} %" if job.status is Status.PROCESSING else str(job.status)
