"""Settings of the dispatcher; the limits themselves are `chassis.admission.Limits` (SUBTIDE_MAX_ACTIVE_JOBS ...)."""

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Environment prefix SUBTIDE_DISPATCHER_."""

    workers: int = 1
    """Messages in work at once. The ledger is changed by compare-and-set, so any number is safe."""
