"""Settings of the dispatcher; the limits themselves are `chassis.admission.Limits` (SUBTIDE_MAX_ACTIVE_JOBS ...)."""

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Environment prefix SUBTIDE_DISPATCHER_."""

    ageing_s: float = 600.0
    """A waiting job rises by one tier for every so many seconds."""
    workers: int = 1
    """Messages in work at once. The ledger is changed by compare-and-set, so any number is safe."""

    def __post_init__(self) -> None:
        if self.ageing_s <= 0:
            raise ValueError("`ageing_s` must be positive")
