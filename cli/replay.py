"""`subtide replay`: a job's life as the log tells it, for whoever wants to know what happened."""

import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options
from cli.errors import CliError
from contracts.captioning import FORMATS

if TYPE_CHECKING:
    from nats.aio.client import Client
    from rich.table import Table

    from chassis.joblog import Entry
    from contracts import facts

_WIDTH_ELSEWHERE = 240


def replay(
    job: Annotated[str, typer.Argument(help="Id of the job, or how it begins.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="The facts themselves, one a line.")] = False,
    data: options.Data = None,
) -> None:
    """Print everything the log knows of a job, in order: what happened, when, at which try, and how long it took.

    Reads the broker at NATS_URL, else that of the stack that runs on the data folder. Needs no database.
    """
    from rich.console import Console

    from cli.broker import addresses

    history = asyncio.run(_history(addresses(data)["NATS_URL"], job))
    if as_json:
        _print_facts(history)
        return
    Console(width=None if sys.stdout.isatty() else _WIDTH_ELSEWHERE).print(_table(history))


async def _history(nats_url: str, job: str) -> list["Entry"]:
    from chassis.joblog import JobLog
    from cli.broker import connected

    async with connected(nats_url) as client:
        return await JobLog(client).history_of(await _job_id(client, job))


async def _job_id(client: "Client", job: str) -> str:
    """The id that is or begins with what was given. Raises CliError where there is none, or more than one."""
    from contracts import subjects, topology

    try:
        of_job = subjects.of_job(job)
    except ValueError:
        raise CliError(f"{job} is no job id.") from None
    js = client.jetstream()
    exactly = await js.stream_info(topology.JOBS, subjects_filter=of_job)
    if exactly.state.subjects:
        return job
    every = await js.stream_info(topology.JOBS, subjects_filter="job.>")
    found = {subject.split(".")[3] for subject in every.state.subjects or {} if len(subject.split(".")) > 4}
    found = {job_id for job_id in found if job_id.startswith(job)}
    if len(found) > 1:
        raise CliError(f"{len(found)} jobs begin with {job}. Give more of the id.")
    if not found:
        raise CliError(f"The log knows no job {job}. It tells of a job until some days after it has expired.")
    return found.pop()


def _print_facts(history: Sequence["Entry"]) -> None:
    import msgspec

    for entry in history:
        try:
            typer.echo(msgspec.json.format(entry.body, indent=-1))
        except msgspec.MsgspecError:
            typer.echo(f"Message {entry.seq} is no JSON and left out.", err=True)


def _table(history: Sequence["Entry"]) -> "Table":
    import msgspec
    from rich.table import Column, Table
    from rich.text import Text

    from cli.bars import printable
    from contracts import facts

    table = Table(
        Column("seq", no_wrap=True, justify="right"),
        Column("time", no_wrap=True),
        Column("fact", no_wrap=True),
        Column("what it says"),
        Column("tries", no_wrap=True, justify="right"),
        Column("seconds", no_wrap=True, justify="right"),
        Column("found stored", no_wrap=True),
        box=None,
        pad_edge=False,
    )
    seen: set[str] = set()
    for entry in history:
        again = entry.subject in seen
        seen.add(entry.subject)
        try:
            fact = facts.decode(entry.body)
            says = "came again, to wake those who should have acted on it" if again else _says(fact)
            cells = [_name(fact), says, *_receipt(fact)]
        except (msgspec.MsgspecError, ArithmeticError) as error:
            cells = [entry.subject.split(".")[1], f"is no fact: {error}", "", "", ""]
        table.add_row(
            str(entry.seq), f"{entry.stored_at.astimezone():%d %b %H:%M:%S}", *(Text(printable(cell)) for cell in cells)
        )
    return table


def _name(fact: "facts.AnyFact") -> str:
    from contracts import facts

    number = f" {fact.n}" if isinstance(fact, facts.NumberedFact) else ""
    return f"{facts.name(fact)}{number}" + (f" (run {fact.run})" if fact.run > 1 else "")


def _says(fact: "facts.AnyFact") -> str:
    from contracts import facts
    from contracts.failures import FAILURES

    match fact:
        case facts.JobAccepted():
            equal = ", like one that was completed before" if fact.cached_at else ""
            size = f"{fact.source.bytes / 1e6:.1f} MB" if fact.source else "to be fetched"
            return f"{fact.filename}, {size}{equal}"
        case facts.BatchAccepted():
            return _listed(*(item.filename for item in fact.items))
        case facts.JobStarted():
            return "got a place"
        case facts.SourceFetched():
            return f"{fact.filename}, {fact.source.bytes / 1e6:.1f} MB"
        case facts.AudioExtracted():
            return _listed(
                f"{_clock(fact.media.duration_s)} of sound from {fact.media.container}", *fact.media.warnings
            )
        case facts.TranscriptionPlanned():
            language = f"language {fact.language} ({fact.language_source})" if fact.language else "no language"
            return f"{language}, {_clock(fact.speech_s)} of speech in {_counted(fact.chunks, 'chunk')}"
        case facts.ChunkRequested():
            return f"{_clock(fact.chunk.start)} to {_clock(fact.chunk.end)}"
        case facts.ChunkTranscribed():
            return _counted(len(fact.captions), "caption")
        case facts.SpeakersDiarized() if fact.failed:
            return f"gone without: {FAILURES[fact.failed].sentence} Reference {fact.reference}"
        case facts.SpeakersDiarized():
            return _counted(fact.speakers, "speaker") if fact.turns else "nobody asked who speaks"
        case facts.JobCompleted():
            return _listed(
                _counted(fact.words, "word"), " ".join(name for name in FORMATS if name in fact.results), *fact.warnings
            )
        case facts.JobFailed():
            sentence = FAILURES[fact.code].sentence
            return f"{sentence} ({fact.code} in the {fact.stage}) {fact.told or fact.detail} Reference {fact.reference}"
        case facts.TranscriptEdited() if fact.restored is not None:
            return f"version {fact.restored} brought back"
        case facts.TranscriptEdited():
            changes = _listed(_counted(fact.words, "word"), _counted(fact.speakers, "speaker"))
            return f"{changes} corrected, from version {fact.based_on}"
        case facts.VersionExported() if fact.failed:
            return f"{FAILURES[fact.failed].sentence} Reference {fact.reference}"
        case facts.VersionExported():
            return _listed(_counted(fact.words, "word"), " ".join(name for name in FORMATS if name in fact.results))
        case facts.JobExpired():
            return "its owner had it deleted" if fact.on_request else "its time was over"
        case _:
            return ""


def _receipt(fact: "facts.AnyFact") -> tuple[str, str, str]:
    """Tries, seconds, and since when the result was stored, as far as the fact has them."""
    from contracts import facts

    receipt = getattr(fact, "receipt", None)
    if isinstance(receipt, facts.StageReceipt) and not receipt.skipped:
        found = f"since {receipt.cached_at.astimezone():%d %b %H:%M}" if receipt.cached_at else ""
        return str(receipt.attempts), f"{receipt.seconds:.1f}", found
    return (str(fact.attempts) if isinstance(fact, facts.JobFailed) else ""), "", ""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _listed(*parts: str) -> str:
    return ", ".join(part for part in parts if part)
