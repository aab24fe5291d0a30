"""Settings of the fetcher; what may be fetched at all is `contracts.addresses.Rules` (SUBTIDE_FETCHER_ALLOW ...)."""

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Environment prefix SUBTIDE_FETCHER_."""

    workers: int = 4
    """Recordings fetched at once."""
    connect_s: float = 10.0
    """Time to look a name up and to connect."""
    idle_s: float = 30.0
    """A server silent for so long counts as a connection that broke."""
    total_s: float = 4 * 3600.0
    """Longest a recording may take in one try."""
    redirects_max: int = 5
    """Redirects that are followed, one after another."""
    breaks_max: int = 20
    """Connections that may break, one after another, without 8 MiB more having come."""
    break_wait_s: float = 1.0
    """Wait before going on after a connection broke."""

    def __post_init__(self) -> None:
        for name in ("workers", "connect_s", "idle_s", "total_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"`{name}` must be positive")
