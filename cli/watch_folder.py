"""`subtide watch-folder`: submits the recordings that appear in a folder, and writes the subtitles beside them."""

from pathlib import Path
from typing import Annotated

import typer

from cli import options
from cli.errors import CliError
from cli.up import until_told
from contracts.parameters import Parameters


def watch_folder(
    folder: Annotated[Path, typer.Argument(help="Where recordings appear.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for the subtitles; by default beside the recordings.", show_default=False),
    ] = None,
    pattern: Annotated[
        list[str] | None,
        typer.Option(
            help="What a recording is called, such as '*.mp4'; may be given several times. By default, as audio and "
            "video files are.",
            show_default=False,
        ),
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", help="Look into the folders in it, too.")] = False,
    once: Annotated[bool, typer.Option("--once", help="End when all that is there has its subtitles.")] = False,
    settle: Annotated[
        float, typer.Option(help="Seconds for which a file must not change before it is submitted.", min=0.0)
    ] = 5.0,
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
    """Submit what appears in a folder once it is complete, and write .srt .vtt .json .txt beside it.

    A recording that fails gets a NAME.error.txt, and is tried again when it changes.

    Ctrl-C ends the watching only: jobs go on, and are found again at the next start.

    Links, hidden and unfinished files (.part, .crdownload, .tmp, ~) are left alone.
    """
    from cli.appearing import PATTERNS
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
    folder = folder.expanduser().absolute()
    if not folder.is_dir():
        raise CliError(f"There is no folder {folder}.")
    into = output.expanduser().absolute() if output else folder
    until_told(
        _watch(
            folder,
            into,
            asked,
            server_address(server),
            pattern or list(PATTERNS),
            recursive=recursive,
            once=once,
            settle_s=settle,
        )
    )


async def _watch(
    folder: Path,
    into: Path,
    asked: Parameters,
    address: str,
    patterns: list[str],
    *,
    recursive: bool,
    once: bool,
    settle_s: float,
) -> None:
    from cli.client import Api
    from cli.folder_watcher import FolderWatcher
    from cli.watched import journal

    with journal(folder) as known:
        async with Api(address) as api:
            watcher = FolderWatcher(api, folder, into, asked, known, patterns, recursive=recursive, settle_s=settle_s)
            failures = await watcher.run(once=once)
    if failures:
        raise CliError(f"{failures} of the recordings failed; see the .error.txt beside them.")
