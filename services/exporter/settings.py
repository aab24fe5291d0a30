"""Settings of the exporter."""

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Environment prefix SUBTIDE_EXPORTER_."""

    workers: int = 2
    """Jobs joined at once."""
