"""How captions may look: the limits of the guides that broadcasters, streaming services and phones go by.

A preset is chosen with the upload or with the download; whichever it is, the words are the same, and all of them are
there. Where the words leave no room for a limit, the limit gives way and the quality report says so.
"""

from typing import Final, Literal

import msgspec

PresetName = Literal["standard", "broadcast", "streaming", "social"]

CAPTION_FORMATS: Final = ("srt", "vtt")
"""Formats that a preset shapes; each is stored for every preset."""
FORMATS: Final = (*CAPTION_FORMATS, "json", "txt")
"""What a user takes away."""


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one caption. Columns are characters; East Asian wide ones take two."""

    line_width: int
    """Columns of a line."""
    lines: Literal[1, 2]
    read_per_s: float
    """Columns that a viewer reads in a second."""
    min_s: float
    max_s: float
    gap_s: float = 0.0
    """Least time between two captions."""
    chain_s: float = 0.0
    """A shorter time between two captions is not shown: the first stays until `gap_s` before the second."""
    pause_s: float = 0.8
    """Silence of this length ends a caption."""


STANDARD: Final = Preset(line_width=42, lines=2, read_per_s=17.0, min_s=1.0, max_s=7.0)
"""What most guides have in common: two lines of 42, 17 characters a second, 7 seconds at most."""

BROADCAST: Final = Preset(line_width=37, lines=2, read_per_s=15.0, min_s=1.0, max_s=7.0, chain_s=1.0)
"""BBC Subtitle Guidelines: 37 characters of teletext (3.1), two lines (3.3), 160 to 180 words a minute (4.1), which at
five characters a word are 15 a second, and no gap shorter than a second (4.5). The BBC gives time by the word, 0.3 s:
`min_s` is that of three. It names no longest time: `max_s` is that of the others."""

STREAMING: Final = Preset(line_width=42, lines=2, read_per_s=20.0, min_s=0.834, max_s=7.0, gap_s=0.084, chain_s=0.5)
"""Netflix Timed Text Style Guide: two lines, 5/6 s to 7 s (General Requirements 1 and 4), 42 characters, 20 a second in
programmes for adults (English), two frames between captions, and gaps of half a second or less closed to these
(Subtitle Timing Guidelines 1). Frames are of 24 a second, rounded up to whole milliseconds."""

SOCIAL: Final = Preset(line_width=28, lines=1, read_per_s=20.0, min_s=0.834, max_s=4.0, chain_s=0.5, pause_s=0.5)
"""A portrait video on a phone. No body rules these: 28 columns of letters as high as a thirtieth of the picture, half
as wide as high, fill five sixths of the width of 9:16, and one line leaves the picture free. Who scrolls reads fast:
the speed is that of streaming, which the Timed Text Style Guide even lets marketing clips exceed."""

PRESETS: Final[dict[PresetName, Preset]] = {
    "standard": STANDARD,
    "broadcast": BROADCAST,
    "streaming": STREAMING,
    "social": SOCIAL,
}


def of_preset(preset: str, name: str) -> str:
    """What a caption format is called among the results of a job, e.g. `social.srt`."""
    return f"{preset}.{name}"
