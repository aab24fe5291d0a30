"""Settings of the notifier; where it may send at all is `contracts.addresses.Rules` (SUBTIDE_NOTIFIER_ALLOW ...)."""

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Environment prefix SUBTIDE_NOTIFIER_."""

    workers: int = 16
    """Ends of jobs that are told of at once."""
    private_key: str = ""
    """The VAPID key (`python -m services.notifier.keys`). Default: nobody is told of anything."""
    subject: str = "mailto:nobody@localhost"
    """Whom a push service can turn to: `mailto:` or `https:` (RFC 8292, 2.1). Some refuse who gives no real one."""
    connect_s: float = 10.0
    """Time to look a push service up and to connect."""
    answer_s: float = 20.0
    """A push service silent for so long counts as a connection that broke."""
    keep_s: int = 86400
    """How long a push service is to keep what it cannot deliver at once."""
    wait_max_s: float = 60.0
    """Longest wait that a push service may ask for before the next try."""

    def __post_init__(self) -> None:
        for name in ("workers", "connect_s", "answer_s", "keep_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"`{name}` must be positive")
        if not self.subject.startswith(("mailto:", "https://")):
            raise ValueError("`subject` must begin with mailto: or https://")
