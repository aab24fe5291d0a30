"""Engines that are fast, deterministic and badly behaved on request; injected by setting, as `module:Class`.

An upload is a `Script`: how many chunks the recording has, and what is to go wrong in which stage how often. The sound
that the extractor makes of it carries the script on, so every stage can read it. What an engine did is noted in
the folder that the environment names; there the misdeeds are counted too, because a crashed process forgets.
"""

import errno
import hashlib
import os
import random
import signal
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from contracts.failures import FailureCode, Permanent, Retryable
from contracts.transcript import Chunk, MediaFacts, MediaTrack, Region, Segment, Turn, Word
from services.extractor.limits import Limits
from services.transcriber.plan import Planned

FOLDER = "SUBTIDE_CHAOS_FOLDER"
"""Environment: where engines note what they do."""
WORK_S = "SUBTIDE_CHAOS_WORK_S"
"""Environment: about how long a call takes, unless the script says so."""

CHUNK_S = 0.25
_SAMPLE_RATE = 16_000
_CHUNK_BYTES = round(CHUNK_S * _SAMPLE_RATE) * 2
_STEP_S = 0.02

Report = Callable[[float, str], None]
Step = Literal["extract", "plan", "transcribe", "diarize"]
Act = Literal["crash", "hang", "retryable", "permanent"]


class Misdeed(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong: in which step, and in how many of its first calls."""

    step: Step
    act: Act
    times: int = 1_000_000
    chunk: int | None = None
    """Only in this chunk."""


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """The content of an upload. `salt` makes it unlike others: equal uploads are one piece of work."""

    salt: str
    chunks: int = 2
    work_s: float | None = None
    """How long each call takes."""
    misdeeds: list[Misdeed] = []

    def upload(self) -> bytes:
        """The recording."""
        return _pad(self)

    @property
    def digest(self) -> str:
        """Names the script in the notes."""
        return hashlib.sha256(self.upload()).hexdigest()[:16]


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the notes: a call of an engine that began or ended."""

    script: str
    step: Step
    chunk: int | None
    pid: int
    ended: bool
    at: float


def notes(folder: Path) -> list[Note]:
    """What the engines noted, in order."""
    path = folder / "notes.jsonl"
    if not path.exists():
        return []
    return [msgspec.json.decode(line, type=Note) for line in path.read_bytes().splitlines()]


class FakeExtractor:
    """Has the interface of services.extractor.engine.Extractor."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits

    def identity(self) -> str:
        """See Extractor."""
        return "chaos-extractor/1"

    def extract(self, source: Sequence[Path], wav: Path, peaks: Path, *, report: Report) -> MediaFacts:
        """A sound of CHUNK_S a chunk, that carries the script. Raises Permanent NOT_MEDIA for anything but a script."""
        script = _script(b"".join(path.read_bytes() for path in source))
        _work(script, "extract", None, report)
        data = _pad(script) * max(1, script.chunks)
        try:
            wav.write_bytes(_header(len(data)) + data)
            peaks.write_text("[0,1]")
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise Retryable(FailureCode.STORE_FULL, str(error)) from error
        return MediaFacts(
            duration_s=CHUNK_S * max(1, script.chunks),
            container="script",
            tracks=[MediaTrack(index=0, kind="audio", codec="pcm_s16le")],
            audio_track=0,
        )


class FakeTranscriber:
    """Has the interface of services.transcriber.engine.Transcriber."""

    def __init__(self, models: Path, device: str = "auto", threads: int = 1) -> None:
        self._threads = threads

    def identity(self, model: str) -> str:
        """See Transcriber."""
        return f"chaos-transcriber/1 {model}"

    def plan(
        self,
        model: str,
        wav: Path,
        *,
        language: str | None = None,
        force_language: bool = False,
        multilingual: bool = False,
        report: Report = lambda fraction, message: None,
    ) -> Planned:
        """As many chunks as the script says."""
        script = _script(wav.read_bytes()[44:])
        _work(script, "plan", None, report)
        regions = [Region(n * CHUNK_S, (n + 1) * CHUNK_S) for n in range(script.chunks)]
        return Planned(
            regions=regions,
            chunks=[Chunk(n=n, start=one.start, end=one.end, regions=[one]) for n, one in enumerate(regions)],
            language=language or "en",
            language_probability=0.9,
            language_source="detected",
            speech_s=CHUNK_S * script.chunks,
        )

    def transcribe(
        self,
        model: str,
        pcm: bytes,
        chunk: Chunk,
        *,
        language: str | None,
        task: str = "transcribe",
        initial_prompt: str | None = None,
        hotwords: str | None = None,
        multilingual: bool = False,
        report: Report = lambda fraction, message: None,
    ) -> list[Segment]:
        """One segment of two words made from a hash."""
        script = _script(pcm)
        _work(script, "transcribe", chunk.n, report)
        seed = hashlib.sha256(pcm + f"{chunk.n} {language} {task}".encode()).hexdigest()
        middle = round((chunk.start + chunk.end) / 2, 3)
        words = [
            Word(word=f" {seed[:6]}", start=chunk.start, end=middle, probability=0.9),
            Word(word=f" {seed[6:12]}", start=middle, end=chunk.end, probability=0.9),
        ]
        return [
            Segment(
                id=0, start=chunk.start, end=chunk.end, text="".join(word.word for word in words), speaker=None,
                words=words,
            )
        ]  # fmt: skip


class FakeDiarizer:
    """Has the interface of services.diarizer.engine.Diarizer."""

    def __init__(self, models: Path, device: str = "auto", threads: int = 0) -> None:
        self._threads = threads

    def identity(self) -> str:
        """See Diarizer."""
        return "chaos-diarizer/1"

    def diarize(
        self,
        wav: Path,
        *,
        num_speakers: int | None,
        min_speakers: int | None,
        max_speakers: int | None,
        report: Report,
    ) -> list[Turn]:
        """A turn a chunk, speakers in turn."""
        script = _script(wav.read_bytes()[44:])
        _work(script, "diarize", None, report)
        speakers = num_speakers or max_speakers or 2
        return [
            Turn(start=n * CHUNK_S, end=(n + 1) * CHUNK_S, speaker=f"SPEAKER_{n % speakers:02}")
            for n in range(script.chunks)
        ]


def _script(content: bytes) -> Script:
    try:
        return msgspec.json.decode(content[:_CHUNK_BYTES].partition(b"\n")[0], type=Script)
    except msgspec.MsgspecError as error:
        raise Permanent(FailureCode.NOT_MEDIA, "no script") from error


def _pad(script: Script) -> bytes:
    line = msgspec.json.encode(script) + b"\n"
    assert len(line) <= _CHUNK_BYTES, "the script is too long for a chunk"
    return line + b"\0" * (_CHUNK_BYTES - len(line))


def _header(data: int) -> bytes:
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", 36 + data, b"WAVE", b"fmt ", 16, 1, 1, _SAMPLE_RATE, _SAMPLE_RATE * 2, 2, 16, b"data", data),
    )


def _work(script: Script, step: Step, chunk: int | None, report: Report) -> None:
    """Take the time that work takes, and misbehave half-way where the script says so."""
    _note(script, step, chunk, ended=False)
    usual = float(os.environ.get(WORK_S, "0.03"))
    work_s = usual * random.uniform(0.5, 1.5) if script.work_s is None else script.work_s
    began = time.monotonic()
    misbehaved = False
    while (passed := time.monotonic() - began) < work_s:
        if passed > work_s / 2 and not misbehaved:
            misbehaved = True
            _misbehave(script, step, chunk)
        report(passed / work_s, "")
        time.sleep(min(_STEP_S, work_s))
    if not misbehaved:
        _misbehave(script, step, chunk)
    _note(script, step, chunk, ended=True)


def _misbehave(script: Script, step: Step, chunk: int | None) -> None:
    for number, misdeed in enumerate(script.misdeeds):
        if misdeed.step != step or misdeed.chunk not in (None, chunk):
            continue
        if not _counted(f"{script.digest}-{number}", misdeed.times):
            continue
        match misdeed.act:
            case "crash":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                time.sleep(3600)
            case "retryable":
                raise Retryable(FailureCode.INTERNAL, "as the script says")
            case "permanent":
                raise Permanent(FailureCode.UNDECODABLE, "as the script says")


def _counted(name: str, times: int) -> bool:
    """Whether this is one of the first `times` calls; of calls in two processes each is counted."""
    folder = Path(os.environ[FOLDER]) / "misdeeds"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(times):
        try:
            os.close(os.open(folder / f"{name}-{number}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        return True
    return False


def _note(script: Script, step: Step, chunk: int | None, *, ended: bool) -> None:
    folder = os.environ.get(FOLDER)
    if not folder:
        return
    note = Note(script=script.digest, step=step, chunk=chunk, pid=os.getpid(), ended=ended, at=time.time())
    descriptor = os.open(Path(folder) / "notes.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, msgspec.json.encode(note) + b"\n")  # one short write: whole, whoever else appends
    finally:
        os.close(descriptor)
