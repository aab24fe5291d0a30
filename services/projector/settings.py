"""Settings of the projector."""

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Environment prefix SUBTIDE_PROJECTOR_."""

    batch: int = 200
    """Facts read and written in one transaction."""
    poll_s: float = 1.0
    """Longest wait for a sign of new facts; signs may be lost, the poll is not."""
    retry_s: float = 0.5
    """Wait after a first failure; doubled after each further one."""
    retry_max_s: float = 10.0
    """Longest wait between two tries."""

    def __post_init__(self) -> None:
        if not 1 <= self.batch <= 1000:
            raise ValueError("`batch` must be between 1 and 1000")
