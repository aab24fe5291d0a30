"""`subtide submit`: hands recordings over and, if asked to, waits for the subtitles and writes them."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options
from cli.errors import CliError
from contracts.parameters import Parameters

if TYPE_CHECKING:
    from cli.bars import Display
    from cli.client import Accepted, Api
    from contracts.addresses import Address


def submit(
    recordings: Annotated[
        list[str],
        typer.Argument(help="Audio or video: files, or http addresses to fetch them from.", show_default=False),
    ],
    wait: Annotated[bool, typer.Option("--wait", help="Wait, and write the subtitles.")] = False,
    output: options.Output = None,
    server: options.Server = None,
    language: options.Language = None,
    force_language: options.ForceLanguage = False,
    multilingual: options.Multilingual = False,
    model: options.Model = "base",
    task: options.Task = "transcribe",
    prompt: options.Prompt = None,
    hotwords: options.Hotwords = None,
    no_diarize: options.NoDiarize = False,
    speakers: options.Speakers = None,
    min_speakers: options.MinSpeakers = None,
    max_speakers: options.MaxSpeakers = None,
    strict: options.Strict = False,
) -> None:
    """Hand recordings over to a server. Prints the id of each job; its token is kept for you."""
    from cli.server import server_address

    asked = options.parameters(
        language=language,
        force_language=force_language,
        multilingual=multilingual,
        model=model,
        task=task,
        initial_prompt=prompt,
        hotwords=hotwords,
        diarize=not no_diarize,
        num_speakers=speakers,
        min_speakers=min_speakers,
        max_speakers=max_speakers,
        strict=strict,
    )
    if output is not None and not wait:
        raise CliError("--output needs --wait: without it there are no subtitles to write yet.")
    asyncio.run(_submit([_recording(one) for one in recordings], asked, server_address(server), output, wait=wait))


async def hand_over(api: "Api", recording: Path, asked: Parameters, shown: "Display", *, label: str = "") -> "Accepted":
    """Send one recording, with a bar, and keep its token. Raises CliError with the server's own sentence."""
    from cli.client import sent_name

    size, sent = max(1, recording.stat().st_size), 0

    def count(more: int) -> None:
        nonlocal sent
        sent += more
        shown.stage(label, "uploading", min(1.0, sent / size))

    accepted = await api.submit(recording, asked, count)
    _keep_token(api, accepted, sent_name(recording))
    return accepted


def _recording(given: str) -> "Path | Address":
    """A file, or the address of one. Raises CliError."""
    from contracts import addresses

    if not given.lower().startswith(("http:", "https:")):
        return Path(given)
    try:
        return addresses.parse(given)
    except addresses.Malformed as error:
        raise CliError(f"{given[:200]}: {error}") from None


def _name(recording: "Path | Address") -> Path:
    """What a recording is called here; one at an address is as if it lay in the current folder."""
    from contracts import addresses

    return recording if isinstance(recording, Path) else Path(addresses.filename(recording))


def _keep_token(api: "Api", accepted: "Accepted", filename: str) -> None:
    from cli.tokens import SubmittedJob, TokenFile, server_name

    TokenFile().add(
        SubmittedJob(
            job_id=accepted.job_id,
            token=accepted.access_token,
            server=server_name(api.server),
            filename=filename,
            submitted_at=datetime.now(UTC),
        )
    )


async def _hand_over(
    api: "Api", recording: "Path | Address", asked: Parameters, shown: "Display", *, label: str
) -> "Accepted":
    if isinstance(recording, Path):
        return await hand_over(api, recording, asked, shown, label=label)
    accepted = await api.submit_address(recording.url, asked)
    _keep_token(api, accepted, _name(recording).name)
    return accepted


async def _submit(
    recordings: "list[Path | Address]", asked: Parameters, address: str, output: Path | None, *, wait: bool
) -> None:
    from cli import results
    from cli.bars import display
    from cli.client import Api

    for recording in recordings:
        if isinstance(recording, Path):
            results.check_recording(recording)
    names = {recording: _name(recording) for recording in recordings}
    stems = results.places([names[recording] for recording in recordings], output) if wait else {}
    labels = {recording: name.name if len(recordings) > 1 else "" for recording, name in names.items()}
    async with Api(address) as api:
        with display() as shown:
            jobs: dict[Path | Address, Accepted] = {}
            for recording in recordings:
                jobs[recording] = await _hand_over(api, recording, asked, shown, label=labels[recording])
                typer.echo(jobs[recording].job_id)
            if not wait:
                return
            ended = await asyncio.gather(
                *(
                    _finish(api, accepted, stems[names[recording]], shown, label=labels[recording])
                    for recording, accepted in jobs.items()
                ),
                return_exceptions=True,
            )
    for error in ended:
        if isinstance(error, BaseException) and not isinstance(error, CliError):
            raise error
    failures = [f"{names[recording]}: {error}" for recording, error in zip(jobs, ended, strict=True) if error]
    if failures:
        raise CliError("\n".join(failures))


async def _finish(api: "Api", accepted: "Accepted", stem: Path, shown: "Display", *, label: str) -> None:
    from cli import results
    from cli.following import follow
    from contracts.progress import Status

    job = await follow(api, accepted.job_id, accepted.access_token, shown, label=label)
    if job.status is not Status.COMPLETED:
        raise CliError(job.failure)
    written = await results.write(api, accepted.job_id, accepted.access_token, stem)
    for note in job.notes:
        shown.say(f"{label or stem.name}: {note}")
    shown.say(f"Written: {', '.join(str(target) for target in written.values())}")
