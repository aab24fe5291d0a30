"""How long a recording may be: the extractor holds every recording to it, and the gateway tells it."""

import msgspec


class Longest(msgspec.Struct, frozen=True, kw_only=True):
    """What others read of the extractor's settings (environment: SUBTIDE_EXTRACTOR_<NAME>)."""

    max_duration_s: float = 12 * 3600.0
    """Longest recording."""
