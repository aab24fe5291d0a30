"""Whether captions say what the transcript says: every word exactly once, in order."""

import html
import re
from typing import Any

_SPEAKER = re.compile(r"^Speaker \d+: ")
_VOICE = re.compile(r"^<v [^>]*>")


def words_of_srt(text: str) -> list[str]:
    """The words on the screen, without numbers, times and speaker labels."""
    words: list[str] = []
    for block in text.strip().split("\n\n"):
        lines = block.split("\n")[2:]
        words += _SPEAKER.sub("", "\n".join(lines)).split()
    return words


def words_of_vtt(text: str) -> list[str]:
    """The words on the screen, without times and voice spans."""
    words: list[str] = []
    for block in text.strip().split("\n\n")[1:]:
        lines = block.split("\n")[1:]
        words += html.unescape(_VOICE.sub("", "\n".join(lines))).split()
    return words


def words_of_result(result: dict[str, Any]) -> list[str]:
    """The words of result.json as they are read: pieces that Whisper wrote without a space belong together."""
    return "".join(word["word"] for segment in result["segments"] for word in segment["words"]).split()
