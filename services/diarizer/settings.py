"""Settings of the diarizer."""

import os
from typing import Literal

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Environment prefix SUBTIDE_DIARIZER_."""

    workers: int = 1
    """Recordings diarized at once; each worker holds the models."""
    threads: int = max(1, (os.cpu_count() or 2) // 2)
    """Threads of a worker. Half the cores by default: the transcriber works beside it and needs the other half."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the models run."""
    engine: str = "services.diarizer.engine:Diarizer"
    """`module:Class` of the engine."""
