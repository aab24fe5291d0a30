"""`subtide run`: one recording, from file to subtitles, with a stack of its own unless one is running."""

import importlib.util
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer

from cli import options
from cli.errors import CliError
from cli.up import log_to_file, say, stack, until_told
from contracts.parameters import Parameters

_SAMPLE = Path("sample", "sample.wav")


def run(
    file: Annotated[
        Path | None,
        typer.Argument(help="Any audio or video; a sample telephone call by default.", show_default=False),
    ] = None,
    output: options.Output = None,
    data: options.Data = None,
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
    """Transcribe a recording, write .srt .vtt .json .txt beside it, and print the captions.

    Uses the stack that is running on the data folder; else starts one and stops it again.
    """
    from cli import results
    from cli.server import data_root

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
    recording = file or _sample()
    results.check_recording(recording)
    folder = output or (Path.cwd() if file is None else None)
    stem = results.places([recording], folder)[recording]
    until_told(_run(recording, stem, asked, data_root(data)))


async def _run(recording: Path, stem: Path, asked: Parameters, root: Path) -> None:
    from cli import results
    from cli.bars import display
    from cli.client import Api
    from cli.following import follow
    from cli.handover import hand_over_one
    from cli.standalone.folder import read_running
    from contracts.failures import FailureCode
    from contracts.progress import Status

    async with AsyncExitStack() as started:
        running = read_running(root)
        if running is not None:
            address = running.gateway_url
            say(f"Using the stack at {address}")
        else:
            _check_models(asked)
            log_to_file(root)
            address = await started.enter_async_context(stack(root, 0, os.environ, say))
        api = await started.enter_async_context(Api(address))
        with display() as shown:
            accepted = await hand_over_one(api, recording, asked, shown)
            job = await follow(api, accepted.job_id, accepted.access_token, shown)
        if job.status is not Status.COMPLETED:
            logs = f" The logs are in {root / 'logs'}." if job.error_code == FailureCode.INTERNAL else ""
            raise CliError(f"{recording.name}: {job.failure}{logs}")
        written = await results.write(api, accepted.job_id, accepted.access_token, stem)
        typer.echo(written["srt"].read_text(encoding="utf-8"))
        if job.cached:
            say("Nothing was computed again: the same recording was transcribed with the same parameters before.")
        for note in job.notes:
            say(note)
        say(f"Written: {', '.join(str(target) for target in written.values())}")


def _sample() -> Path:
    """The two-speaker telephone call that comes with pyannote.audio, found without importing it."""
    found = importlib.util.find_spec("pyannote")
    for place in found.submodule_search_locations or [] if found else []:
        sample = Path(place, "audio", _SAMPLE)
        if sample.is_file():
            return sample
    raise CliError("The sample call comes with pyannote.audio, which is not installed. Name a recording of your own.")


def _check_models(asked: Parameters) -> None:
    """Refuse a job whose models are not installed, before anything is started. Raises CliError."""
    from chassis import models
    from contracts.failures import Permanent

    needed = [asked.model]
    if asked.diarize:
        needed += [model.name for model in models.manifest().defaults() if not model.name.startswith("whisper-")]
    for name in needed:
        try:
            models.find(name)
        except Permanent as error:
            raise CliError(f"{error.detail[:1].upper()}{error.detail[1:]}.") from error
