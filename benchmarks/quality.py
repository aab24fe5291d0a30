"""`make quality`: word and diarization error rates of the pipeline beside the plain script, with the same models."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
from pyannote.core import Annotation, Segment
from pyannote.database.util import load_rttm
from pyannote.metrics.diarization import DiarizationErrorRate
from rich.console import Console
from rich.table import Table

from benchmarks import media
from benchmarks.captions import words_of_result, words_of_srt, words_of_vtt
from benchmarks.pipeline import download, running_stack, transcribe
from benchmarks.plain_script import PlainResult
from benchmarks.words import reference_text, word_error_rate

WORDS = {
    "jfk.flac": "jfk.txt",
    "read-en.wav": "read-en.txt",
    "read-es.wav": "read-es.txt",
    "phone-call.wav": "phone-call.stm",
}
TURNS = ("phone-call.wav", "meeting-04.wav", "meeting-06.wav", "meeting-07.wav", "meeting-08.wav")
WER_MARGIN = 0.01
CALL_DER = 0.10


class Line(msgspec.Struct, kw_only=True):
    """One file. Rates are None where there is no reference."""

    file: str
    wer: float | None = None
    plain_wer: float | None = None
    der: float | None = None
    plain_der: float | None = None
    speakers: str = ""
    captions_whole: bool = False

    @property
    def missed(self) -> list[str]:
        """Which of the limits the file misses."""
        missed = []
        if self.wer is not None and self.plain_wer is not None and self.wer > self.plain_wer + WER_MARGIN:
            missed.append("word error rate")
        if self.file == "phone-call.wav" and (
            self.der is None or self.der > CALL_DER or not self.speakers.startswith("2 ")
        ):
            missed.append("diarization of the call")
        if not self.captions_whole:
            missed.append("captions")
        return missed


def main() -> None:
    """Print the table; exit with 1 where a limit is missed."""
    place = media.folder()
    lines = asyncio.run(_measured(place))
    table = Table(title=f"limits: WER within {WER_MARGIN} of the plain script's, DER of the call <= {CALL_DER}")
    for column in ("file", "WER", "plain", "DER", "plain", "speakers", "words in captions once", ""):
        table.add_column(column)
    for line in lines:
        rates = [_rate(value) for value in (line.wer, line.plain_wer, line.der, line.plain_der)]
        table.add_row(line.file, *rates, line.speakers, str(line.captions_whole), ", ".join(line.missed) or "ok")
    Console(width=120).print(table)
    sys.exit(any(line.missed for line in lines))


async def _measured(place: Path) -> list[Line]:
    lines = []
    async with running_stack() as address:
        for name in dict.fromkeys([*WORDS, *TURNS]):
            outcome = await transcribe(address, place / name)
            result: dict[str, Any] = outcome.job["result"]
            plain = await asyncio.to_thread(_plain_script, place / name)
            line = Line(file=name)
            if name in WORDS:
                reference = reference_text(place / WORDS[name])
                language = result["language"]
                heard = "".join(segment["text"] for segment in result["segments"])
                line.wer = word_error_rate(reference, heard, language)
                line.plain_wer = word_error_rate(reference, plain.text, language)
            if name in TURNS:
                truth = next(iter(load_rttm(str((place / name).with_suffix(".rttm"))).values()))
                line.der = _der(
                    truth, [(t["start"], t["end"], t["speaker"]) for t in result["turns"]], result["duration"]
                )
                line.plain_der = _der(truth, [(t.start, t.end, t.speaker) for t in plain.turns], result["duration"])
                line.speakers = f"{len(result['speakers'])} of {len(truth.labels())}"
            said = words_of_result(result)
            line.captions_whole = (
                words_of_srt(await download(address, outcome, "srt")) == said
                and words_of_vtt(await download(address, outcome, "vtt")) == said
            )
            lines.append(line)
    return lines


def _plain_script(path: Path) -> PlainResult:
    command = [sys.executable, "-m", "benchmarks.plain_script", str(path)]
    return msgspec.json.decode(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout, type=PlainResult)


def _der(truth: Annotation, turns: list[tuple[float, float, str]], duration_s: float) -> float:
    """Diarization error rate without a collar, overlap scored."""
    heard = Annotation()
    for n, (start, end, speaker) in enumerate(turns):
        heard[Segment(start, end), n] = speaker
    return float(DiarizationErrorRate(collar=0.0, skip_overlap=False)(truth, heard, uem=Segment(0, duration_s)))


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
