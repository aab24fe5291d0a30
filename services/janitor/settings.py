"""Settings of the janitor."""

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Environment prefix SUBTIDE_JANITOR_."""

    workers: int = 1
    """Jobs tidied up after at once."""
