"""What a user may ask of a job; checked once, at the door, and carried by the facts from then on."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, structs

from contracts.captioning import PresetName
from contracts.languages import LANGUAGES

SpeakerCount = Annotated[int, Meta(ge=1, le=50)]
ShortText = Annotated[str, Meta(max_length=1000)]


class Parameters(Struct, frozen=True, kw_only=True):
    """Settings of one job. Raises ValueError (msgspec: ValidationError) on a contradiction."""

    language: Annotated[
        str | None, Meta(description="ISO 639 code. A hint that detection may overrule, unless it is forced.")
    ] = None
    force_language: Annotated[bool, Meta(description="Decode in `language` whatever is heard.")] = False
    multilingual: Annotated[bool, Meta(description="Detect the language again in every chunk.")] = False
    model: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Whisper model.")] = "base"
    task: Annotated[Literal["transcribe", "translate"], Meta(description="`translate` is into English.")] = "transcribe"
    initial_prompt: Annotated[ShortText | None, Meta(description="Text in the style expected.")] = None
    hotwords: Annotated[ShortText | None, Meta(description="Words likely to be said.")] = None
    diarize: Annotated[bool, Meta(description="Say who speaks.")] = True
    num_speakers: Annotated[SpeakerCount | None, Meta(description="Exactly so many; excludes the two bounds.")] = None
    min_speakers: SpeakerCount | None = None
    max_speakers: SpeakerCount | None = None
    strict: Annotated[bool, Meta(description="Fail where the speakers cannot be found, instead of going without.")] = (
        False
    )
    caption_preset: Annotated[
        PresetName, Meta(description="Limits of lines and times that the captions keep; the words are the same.")
    ] = "standard"

    def __post_init__(self) -> None:
        structs.force_setattr(self, "model", self.model.removeprefix("whisper-") or self.model)
        if self.language is not None and self.language not in LANGUAGES:
            raise ValueError(f"language {self.language[:20]!r} is not one that Whisper knows; use a code such as en")
        if self.force_language and self.language is None:
            raise ValueError("force_language needs a language")
        if self.force_language and self.multilingual:
            raise ValueError("force_language and multilingual exclude each other")
        if self.num_speakers is not None and (self.min_speakers, self.max_speakers) != (None, None):
            raise ValueError("num_speakers excludes min_speakers and max_speakers")
        if self.min_speakers is not None and self.max_speakers is not None and self.min_speakers > self.max_speakers:
            raise ValueError("min_speakers must not be greater than max_speakers")

    def deciding(self) -> dict[str, Any]:
        """What decides the words and who says them. Captions of every preset are made of these, whichever was chosen,
        so that the same recording with another is found stored.
        """
        return {name: value for name, value in structs.asdict(self).items() if name != "caption_preset"}
