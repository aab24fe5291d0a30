"""Settings of the transcriber."""

import os
from typing import Literal

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Environment prefix SUBTIDE_TRANSCRIBER_."""

    workers: int = 1
    """Chunks transcribed at once; each worker holds a model of its own."""
    threads: int = max(1, (os.cpu_count() or 2) // 2)
    """Threads of a worker. Half the cores by default: the diarizer works beside it and needs the other half."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs."""
    default_model: str = "base"
    """The model that is loaded at start."""
    engine: str = "services.transcriber.engine:Transcriber"
    """`module:Class` of the engine."""
