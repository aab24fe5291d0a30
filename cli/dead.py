"""`subtide dead`: messages that were delivered too often, and what can be done about them."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
import typer

from cli import options
from cli.errors import CliError

if TYPE_CHECKING:
    from nats.aio.client import Client

    from contracts import facts

_DATABASE_S = 5.0
_WIDTH_ELSEWHERE = 160

app = typer.Typer(help="Messages that nobody could deal with.", no_args_is_help=True)

Seq = Annotated[int, typer.Argument(help="Number of the dead letter, as listed.", min=1, show_default=False)]


class Letter(NamedTuple):
    """A dead letter."""

    seq: int
    durable: str
    died_at: datetime | None
    fact: "facts.AnyFact | None"
    """None where the message has left the log, or is no fact."""
    job_is: str


class _Advisory(msgspec.Struct, frozen=True):
    """What the broker says of a message that it no longer delivers."""

    stream_seq: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class Aside(NamedTuple):
    """A message of the log that is no fact we know."""

    seq: int
    subject: str
    reason: str


@app.command("list", epilog="Example: subtide dead list")
def list_letters(data: options.Data = None) -> None:
    """List the messages that were delivered too often, and those that were kept aside because they are no facts.

    Reads the broker at NATS_URL and the database at DATABASE_URL, else those of the stack on the data folder.
    """
    from cli.broker import addresses

    known = addresses(data)
    letters = asyncio.run(_letters(known["NATS_URL"]))
    aside = asyncio.run(_kept_aside(known["DATABASE_URL"])) if "DATABASE_URL" in known else []
    if not letters and not aside:
        typer.echo("There are no dead letters.", err=True)
    if letters:
        _print(
            ("seq", "durable", "fact", "job", "the job is", "when"),
            [
                (
                    str(letter.seq),
                    letter.durable,
                    _name(letter.fact) if letter.fact else "gone from the log, or no fact",
                    letter.fact.job_id if letter.fact else "",
                    letter.job_is,
                    f"{letter.died_at.astimezone():%d %b %H:%M}" if letter.died_at else "",
                )
                for letter in letters
            ],
        )
    if aside:
        typer.echo("Kept aside, because no service knows what it means:", err=True)
        _print(("seq", "subject", "reason"), [(str(one.seq), one.subject, one.reason) for one in aside])


@app.command(epilog="Example: subtide dead retry 3")
def retry(seq: Seq, data: options.Data = None) -> None:
    """Deliver the message of a dead letter once more, as if it were new, and drop the letter."""
    from cli.broker import addresses

    name = asyncio.run(_retry(addresses(data)["NATS_URL"], seq))
    typer.echo(f"Published again: {name}.")


@app.command(epilog="Example: subtide dead drop 3")
def drop(seq: Seq, data: options.Data = None) -> None:
    """Forget a dead letter. Nothing else changes."""
    from cli.broker import addresses

    asyncio.run(_drop(addresses(data)["NATS_URL"], seq))
    typer.echo(f"Dropped: {seq}.")


async def _letters(nats_url: str) -> list[Letter]:
    from cli.broker import connected

    async with connected(nats_url) as client:
        letters: list[Letter] = []
        while (letter := await _next(client, letters[-1].seq + 1 if letters else 1)) is not None:
            letters.append(letter)
        return letters


async def _retry(nats_url: str, seq: int) -> str:
    from chassis.joblog import JobLog
    from cli.broker import connected
    from contracts import facts, topology

    async with connected(nats_url) as client:
        letter = await _at(client, seq)
        fact = letter.fact
        if fact is None:
            raise CliError(
                f"The message of dead letter {seq} has left the log, or is no fact. `subtide dead drop {seq}`"
            )
        recorded = [one.fact for one in await JobLog(client).facts_of(fact.job_id)]
        over = next((one for one in recorded if one.run == fact.run and facts.ends_run(one)), None)
        if over is not None and not facts.ends_run(fact) and not facts.follows_end(fact):
            raise CliError(
                f"The run is over: it is {facts.name(over)}. "
                f"Retry the job instead: on its page, or POST /api/jobs/{fact.job_id}/retry."
            )
        await JobLog(client).again(fact)
        await client.jetstream().delete_msg(topology.DEAD, seq)
        return f"{_name(fact)} of job {fact.job_id}"


async def _drop(nats_url: str, seq: int) -> None:
    from cli.broker import connected
    from contracts import topology

    async with connected(nats_url) as client:
        await _at(client, seq)
        await client.jetstream().delete_msg(topology.DEAD, seq)


async def _at(client: "Client", seq: int) -> Letter:
    letter = await _next(client, seq)
    if letter is None or letter.seq != seq:
        raise CliError(f"There is no dead letter {seq}. `subtide dead list` shows those there are.")
    return letter


async def _next(client: "Client", seq: int) -> Letter | None:
    """The dead letter with this number or the next one."""
    from nats.js.errors import NotFoundError

    from chassis.joblog import JobLog
    from contracts import facts, topology

    js = client.jetstream()
    await js.stream_info(topology.DEAD)  # where there is none, that is another matter
    try:
        message = await js.get_msg(topology.DEAD, seq=seq, subject=">", next=True)
    except NotFoundError:
        return None
    assert message.seq is not None
    joblog = JobLog(client)
    fact, job_is = None, ""
    try:
        about = msgspec.json.decode(message.data or b"", type=_Advisory).stream_seq
        entries = await joblog.read(about, 1)
        fact = facts.decode(entries[0].body) if entries and entries[0].seq == about else None
    except msgspec.MsgspecError:
        pass
    if fact is not None:
        view = await joblog.view(fact.job_id)
        job_is = str(view.status) if view and not view.expired_at else "gone"
    return Letter(message.seq, (message.subject or "").rpartition(".")[2], message.time, fact, job_is)


async def _kept_aside(database_url: str) -> list[Aside]:
    """What the projection could not read; nothing, with a word on stderr, where it cannot be asked."""
    from cli.broker import said

    try:
        import asyncpg

        from contracts.projection import SCHEMA

        connection = await asyncpg.connect(
            database_url, timeout=_DATABASE_S, server_settings={"search_path": SCHEMA}, command_timeout=_DATABASE_S
        )
    except ModuleNotFoundError:
        typer.echo("What was kept aside is not shown: asyncpg is not installed.", err=True)
        return []
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        typer.echo(f"What was kept aside is not shown: the database does not answer ({said(error)}).", err=True)
        return []
    try:
        rows = await connection.fetch("SELECT seq, subject, reason FROM unknown_facts ORDER BY seq")
        return [Aside(row["seq"], row["subject"], row["reason"]) for row in rows]
    except asyncpg.UndefinedTableError:
        return []
    finally:
        await connection.close()


def _print(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    from cli.bars import printable

    table = Table(*(Column(name, no_wrap=name not in ("job", "reason")) for name in columns), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else _WIDTH_ELSEWHERE).print(table)


def _name(fact: "facts.AnyFact") -> str:
    from contracts import facts

    return f"{facts.name(fact)} {fact.n}" if isinstance(fact, facts.NumberedFact) else facts.name(fact)
