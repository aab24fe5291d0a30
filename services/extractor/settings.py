"""Settings of the extractor."""

import os
from pathlib import Path

import msgspec

from chassis.sandbox import Sandbox
from services.extractor.limits import Limits

_WAV_MOST_S = 37 * 3600.0
_BYTES_PER_S = 16_000 * 2
_BESIDES_BYTES = 1 << 20
"""Room for the header of the WAV, and for the peaks, which are a file of their own."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Environment prefix SUBTIDE_EXTRACTOR_."""

    workers: int = 2
    """Recordings decoded at once, each in a process of its own."""
    engine: str = "services.extractor.engine:Extractor"
    """`module:Class` of the engine."""
    engine_folders: str = ""
    """Folders, separated as in PATH, that an engine of your own needs besides the recording and what it makes of it."""
    engine_variables: str = ""
    """Names in the environment, separated by commas, that an engine of your own needs."""
    max_duration_s: float = 12 * 3600.0
    """Longest recording, by what it says of itself and by what comes out of it; at most the 37 hours of a WAV."""
    max_streams: int = 64
    """Most tracks of every kind."""
    max_sample_rate: int = 768_000
    """Most samples a second in the track that is heard."""
    max_channels: int = 64
    """Most channels in the track that is heard."""
    max_cpu_s: int = 1800
    """Most processor time that one recording may take."""
    max_wall_s: float = 2 * 3600.0
    """Longest the decoding of one recording may take; another try follows."""
    max_memory_bytes: int = 2 << 30
    """Most memory, with all that is only reserved, that the decoding of one recording may have."""

    def __post_init__(self) -> None:
        if not 0 < self.max_duration_s <= _WAV_MOST_S:
            raise ValueError(f"`max_duration_s` must be above 0, and {_WAV_MOST_S:.0f} at most")
        for name in ("workers", "max_streams", "max_sample_rate", "max_channels", "max_cpu_s", "max_wall_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"`{name}` must be positive")
        if self.max_memory_bytes < 256 << 20:
            raise ValueError(f"`max_memory_bytes` must be {256 << 20} at least: the libraries alone need as much")

    @property
    def limits(self) -> Limits:
        """What a recording may be."""
        return Limits(
            duration_s=self.max_duration_s,
            streams=self.max_streams,
            sample_rate=self.max_sample_rate,
            channels=self.max_channels,
        )

    @property
    def sandbox(self) -> Sandbox:
        """What the process that decodes one may take."""
        return Sandbox(
            cpu_s=self.max_cpu_s,
            wall_s=self.max_wall_s,
            address_space_bytes=self.max_memory_bytes,
            file_bytes=int(self.max_duration_s * _BYTES_PER_S) + _BESIDES_BYTES,
            folders=tuple(Path(folder) for folder in self.engine_folders.split(os.pathsep) if folder),
            variables=tuple(name.strip() for name in self.engine_variables.split(",") if name.strip()),
        )
