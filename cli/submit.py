"""`subtide submit`: hands recordings over and, if asked to, waits for the subtitles and writes them."""

import asyncio
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
    caption_preset: options.CaptionPreset = "standard",
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
        caption_preset=caption_preset,
    )
    if output is not None and not wait:
        raise CliError("--output needs --wait: without it there are no subtitles to write yet.")
    asyncio.run(_submit([_recording(one) for one in recordings], asked, server_address(server), output, wait=wait))


def _recording(given: str) -> "Path | Address":
    """A file, or the address of one. Raises CliError."""
    from contracts import addresses

    if not given.lower().startswith(("http:", "https:")):
        return Path(given)
    try:
        return addresses.parse(given)
    except addresses.Malformed as error:
        raise CliError(f"{given[:200]}: {error}") from None


async def _submit(
    recordings: "list[Path | Address]", asked: Parameters, address: str, output: Path | None, *, wait: bool
) -> None:
    from cli import handover, results
    from cli.bars import display
    from cli.client import BATCH_MAX, Api

    for recording in recordings:
        if isinstance(recording, Path):
            results.check_recording(recording)
    names = [handover.name_of(recording) for recording in recordings]
    stems = results.places(names, output) if wait else {}
    if len(recordings) > BATCH_MAX:
        typer.echo(f"{len(recordings)} recordings are sent as batches of at most {BATCH_MAX}.", err=True)
    jobs: dict[int, Accepted] = {}
    failed: dict[int, CliError] = {}
    broken: CliError | None = None

    def accepted(n: int, job: "Accepted") -> None:
        jobs[n] = job
        typer.echo(job.job_id)

    async with Api(address) as api:
        with display() as shown:
            try:
                await handover.hand_over(api, recordings, asked, shown, accepted, failed.__setitem__)
            except CliError as error:
                if not jobs and not failed:
                    raise
                broken = error
            if wait:
                labels = [name.name if len(recordings) > 1 else "" for name in names]
                finishing = (_finish(api, job, stems[names[n]], shown, label=labels[n]) for n, job in jobs.items())
                for n, end in zip(jobs, await asyncio.gather(*finishing, return_exceptions=True), strict=True):
                    if isinstance(end, CliError):
                        failed[n] = end
                    elif end is not None:
                        raise end
    if failed and len(recordings) == 1 and not jobs:
        raise failed[0]
    sentences = [f"{names[n]}: {failed[n]}" for n in sorted(failed)]
    if broken is not None:
        unsent = len(recordings) - len(jobs) - len(failed.keys() - jobs.keys())
        sentences.append(f"{unsent} of {len(recordings)} recordings were not submitted: {broken}")
    if sentences:
        raise CliError("\n".join(sentences))


async def _finish(api: "Api", accepted: "Accepted", stem: Path, shown: "Display", *, label: str) -> None:
    from cli import results
    from cli.following import follow
    from cli.handover import until_there
    from contracts.progress import Status

    await until_there(api, accepted)
    job = await follow(api, accepted.job_id, accepted.access_token, shown, label=label)
    if job.status is not Status.COMPLETED:
        raise CliError(job.failure)
    written = await results.write(api, accepted.job_id, accepted.access_token, stem)
    for note in job.notes:
        shown.say(f"{label or stem.name}: {note}")
    shown.say(f"Written: {', '.join(str(target) for target in written.values())}")
