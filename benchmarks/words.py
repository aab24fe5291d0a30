"""Word error rate as speech recognisers report it: jiwer, after the normaliser published with Whisper."""

from pathlib import Path

import jiwer
from whisper_normalizer.basic import BasicTextNormalizer  # type: ignore[import-untyped]
from whisper_normalizer.english import EnglishTextNormalizer  # type: ignore[import-untyped]


def word_error_rate(reference: str, heard: str, language: str) -> float:
    """Errors per word of the reference; English has its own normaliser, the others share the basic one."""
    normalise = EnglishTextNormalizer() if language == "en" else BasicTextNormalizer()
    return float(jiwer.wer(normalise(reference), normalise(heard)))


def reference_text(path: Path) -> str:
    """The words of a reference: plain text, or the transcript column of an STM file in order."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".stm":
        return text
    return " ".join(line.split(maxsplit=5)[5] for line in text.splitlines() if line.strip())
