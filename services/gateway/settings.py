"""Settings of the gateway; how much is let in is `chassis.admission.Limits` (SUBTIDE_MAX_ACTIVE_JOBS ...)."""

import msgspec

from contracts.artifacts import LEAF_BYTES

_SECRET_MIN = 16


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Environment prefix SUBTIDE_GATEWAY_."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8000
    """Port to listen on."""
    public_url: str = ""
    """How users reach the gateway, e.g. https://subtitles.example.org; used in share links. Default: as asked."""
    trusted_proxies: str = ""
    """Addresses, by comma, whose X-Forwarded-For is believed; empty believes nobody."""
    secret: str = ""
    """Key of the hash that stands for a client's address, and of the ids and tokens that follow from an
    `Idempotency-Key`; the same for every gateway, 16 characters or more. Default: random at each start, so that neither
    outlives the process."""
    operator_token: str = ""
    """Opens what is the operator's (`POST /api/jobs/check-stale`). Default: nobody has one."""
    max_upload_bytes: int = 2 << 30
    """Largest recording."""
    max_jobs_per_socket: int = 200
    """Jobs that one websocket may watch."""
    max_messages_behind: int = 1000
    """Facts that may wait for a slow websocket before it is closed; it resumes with `since`."""
    shutdown_s: int = 5
    """Time that requests in work have at shutdown."""
    max_unfinished_uploads: int = 100
    """Uploads of one client of which no job was made yet."""
    upload_part_bytes: int = LEAF_BYTES
    """Most that is stored of an upload at once, and sent again after a gateway was killed."""
    upload_lease_s: float = 4.0
    """How long after its last byte a request keeps another from going on with the same upload."""

    def __post_init__(self) -> None:
        if self.secret and len(self.secret) < _SECRET_MIN:
            raise ValueError(f"`secret` must have at least {_SECRET_MIN} characters")
        if not 0 <= self.port <= 65535:
            raise ValueError("`port` must be between 0 and 65535")
        if not 1 <= self.upload_part_bytes <= LEAF_BYTES:
            raise ValueError(f"`upload_part_bytes` must be between 1 and {LEAF_BYTES}")
