"""Settings of the gateway; how much is let in is `chassis.admission.Limits` (SUBTIDE_MAX_ACTIVE_JOBS ...)."""

import math
import re

import msgspec

from contracts.artifacts import LEAF_BYTES
from contracts.uploads import OPEN_MAX, PARTS_MAX

_SECRET_MIN = 16
_SIGNED_PART_MAX = 4 << 30  # every kind of store takes as much in one PUT
_SIGNED_S_MAX = 7 * 24 * 3600  # S3 signs for no longer
_HEADER_MIN = 8 << 10
_HEADER_MAX = 64 << 10  # the parser takes no longer address
_ORIGIN = re.compile(r"https?://[^/?#@*,\s]+")
_HOST = re.compile(r"\[[0-9a-f:.]+\]|[^/:?#@*,\s\[\]]+")


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
    notifications_key: str = ""
    """The public half of SUBTIDE_NOTIFIER_PRIVATE_KEY (`python -m services.notifier.keys`). Default: browsers cannot
    have themselves told of the end of a job."""
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
    max_receiving: int = 64
    """Requests with bytes of uploads that are received at once, half of them at most of one client; another waits. Each
    holds two parts of memory."""
    upload_part_bytes: int = LEAF_BYTES
    """Most that is stored of an upload at once."""
    upload_lease_s: float = 4.0
    """How long after its last byte a request keeps another from going on with the same upload."""
    upload_signed_part_bytes: int = 64 << 20
    """Size of the parts that clients put into the store themselves; each is one PUT."""
    upload_signed_s: int = 3600
    """How long the addresses of these parts hold; there are new ones for as long as the upload is kept."""
    requests_per_minute: int = 3000
    """Requests of one client, and messages of its websockets, counted by each gateway for itself; there are ten times
    as many pieces of uploads, and twenty times as many requests of all tokens from one address. 0: no limit."""
    submits_per_minute: int = 300
    """Requests from one address that create something. 0: no limit."""
    wrong_tokens_per_minute: int = 60
    """Requests from one address with a token that opens nothing. 0: no limit."""
    max_sockets_per_client: int = 100
    """Websockets of one client that are open at once. 0: no limit."""
    max_header_bytes: int = 64 << 10
    """Largest head of a request: its address and its headers."""
    header_s: float = 20.0
    """How long the head of a request may take to come."""
    body_idle_s: float = 30.0
    """How long the next KiB of a body may take to come."""
    write_idle_s: float = 60.0
    """How long a reader may take nothing of what waits for it."""
    cors_origins: str = ""
    """Origins, by comma, whose pages may use the API, e.g. https://intranet.example.org; `*` is any. Default: none."""
    allowed_hosts: str = ""
    """Names, by comma, under which the gateway may be asked besides that of `public_url`. Default: any, but on a
    loopback address only localhost, 127.0.0.1 and [::1]."""

    def __post_init__(self) -> None:
        if self.secret and len(self.secret) < _SECRET_MIN:
            raise ValueError(f"`secret` must have at least {_SECRET_MIN} characters")
        if not 0 <= self.port <= 65535:
            raise ValueError("`port` must be between 0 and 65535")
        if not 1 <= self.max_unfinished_uploads <= OPEN_MAX:
            raise ValueError(f"`max_unfinished_uploads` must be between 1 and {OPEN_MAX}")
        if self.max_receiving < 1:
            raise ValueError("`max_receiving` must be 1 or more")
        if not 1 <= self.upload_part_bytes <= LEAF_BYTES:
            raise ValueError(f"`upload_part_bytes` must be between 1 and {LEAF_BYTES}")
        if not 1 <= self.upload_signed_part_bytes <= _SIGNED_PART_MAX:
            raise ValueError(f"`upload_signed_part_bytes` must be between 1 and {_SIGNED_PART_MAX}")
        if self.upload_signed_part_bytes * PARTS_MAX < self.max_upload_bytes:
            least = math.ceil(self.max_upload_bytes / PARTS_MAX)
            raise ValueError(
                f"`upload_signed_part_bytes` must be at least {least}: a file has {PARTS_MAX:,} parts at most"
            )
        if not 1 <= self.upload_signed_s <= _SIGNED_S_MAX:
            raise ValueError(f"`upload_signed_s` must be between 1 and {_SIGNED_S_MAX}")
        for name in ("requests_per_minute", "submits_per_minute", "wrong_tokens_per_minute", "max_sockets_per_client"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must be 0, which is no limit, or more")
        for name in ("header_s", "body_idle_s", "write_idle_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"`{name}` must be above 0")
        if not _HEADER_MIN <= self.max_header_bytes <= _HEADER_MAX:
            raise ValueError(f"`max_header_bytes` must be between {_HEADER_MIN} and {_HEADER_MAX}")
        for origin in listed(self.cors_origins):
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(f"`cors_origins` has {origin!r}, which is no origin like https://example.org")
        for host in listed(self.allowed_hosts):
            if not _HOST.fullmatch(host):
                raise ValueError(f"`allowed_hosts` has {host!r}, which is no name of a host, without a port")


def listed(setting: str) -> list[str]:
    """The entries of a setting that is a list, by comma; lower case."""
    return [entry.strip().lower() for entry in setting.split(",") if entry.strip()]
