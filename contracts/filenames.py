"""Names of files that strangers give: made fit to show, and to make the names of downloads from."""

import re

_LENGTH_MAX = 255
_SUFFIX_MAX = 16
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]+")


def clean_filename(name: str) -> str:
    """The last part of a path, without control characters, in at most 255 characters."""
    name = _CONTROL.sub(" ", name.replace("\\", "/").rsplit("/", 1)[-1]).strip()
    if name in ("", ".", ".."):
        return "recording"
    if len(name) > _LENGTH_MAX:
        stem, dot, suffix = name.rpartition(".")
        kept = f"{dot}{suffix}" if stem and len(suffix) <= _SUFFIX_MAX else ""
        name = name[: _LENGTH_MAX - len(kept)] + kept
    return name
