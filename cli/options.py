"""The options that several commands share, and the parameters of a job that they make."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer

from cli.errors import CliError
from contracts.captioning import PresetName
from contracts.parameters import Parameters

Server = Annotated[str | None, typer.Option(help="Address of the server.", envvar="SUBTIDE_URL", show_default=False)]
Output = Annotated[
    Path | None, typer.Option(help="Folder for the subtitles; by default beside the recording.", show_default=False)
]
Data = Annotated[
    Path | None,
    typer.Option(help="Data folder of the stack on this machine.", envvar="SUBTIDE_DATA", show_default=False),
]

Language = Annotated[str | None, typer.Option(help="Language of the speech, such as en; a hint unless forced.")]
ForceLanguage = Annotated[bool, typer.Option("--force-language", help="Take --language whatever is heard.")]
Multilingual = Annotated[bool, typer.Option("--multilingual", help="Detect the language again as it changes.")]
Model = Annotated[str, typer.Option(help="Whisper model; `subtide models list` shows what there is.")]
Task = Annotated[Literal["transcribe", "translate"], typer.Option(help="translate is into English.")]
Prompt = Annotated[str | None, typer.Option(help="Text in the style expected, with names that occur.")]
Hotwords = Annotated[str | None, typer.Option(help="Words likely to be said.")]
NoDiarize = Annotated[bool, typer.Option("--no-diarize", help="Do not say who speaks.")]
Speakers = Annotated[int | None, typer.Option(help="How many speakers there are, if known.")]
MinSpeakers = Annotated[int | None, typer.Option(help="At least so many speakers.")]
MaxSpeakers = Annotated[int | None, typer.Option(help="At most so many speakers.")]
Strict = Annotated[bool, typer.Option("--strict", help="Fail where the speakers cannot be found.")]
CaptionPreset = Annotated[PresetName, typer.Option(help="Limits of lines and times that the captions keep.")]

_OPTION_OF = {"initial_prompt": "--prompt", "num_speakers": "--speakers"}
_FIELD = re.compile(rf"\b({'|'.join(Parameters.__struct_fields__)})\b(?! models?\b)")
_PLACE = re.compile(r"^(.*) - at `\$\.(\w+)`$")


def parameters(**given: Any) -> Parameters:
    """The parameters of a job. Raises CliError on a contradiction, before anything is sent."""
    try:
        return msgspec.convert(given, Parameters)
    except msgspec.ValidationError as error:
        reason = str(error)
    place = _PLACE.match(reason)
    if place:
        raise CliError(f"{_option(place[2])}: {place[1]}.")
    raise CliError(f"{_FIELD.sub(lambda field: _option(field[1]), reason)}.")


def _option(field: str) -> str:
    return _OPTION_OF.get(field, f"--{field.replace('_', '-')}")
