"""Settings of the janitor."""

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Environment prefix SUBTIDE_JANITOR_."""

    workers: int = 1
    """Jobs tidied up after at once."""
    second_look_s: float = 2.0
    """Wait of the reconciliation before it believes that something is missing: a worker may be about to say it."""
