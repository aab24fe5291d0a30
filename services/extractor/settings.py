"""Settings of the extractor."""

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Environment prefix SUBTIDE_EXTRACTOR_."""

    workers: int = 2
    """Recordings decoded at once, each in a process of its own."""
    engine: str = "services.extractor.engine:Extractor"
    """`module:Class` of the engine."""
