"""How large a recording may be; what is past a limit is refused with a sentence that names the limit and the value."""

import math

import msgspec

from contracts.failures import FailureCode, Permanent


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Every check raises Permanent MEDIA_LIMIT one past the limit, and nothing at it."""

    duration_s: float = 12 * 3600.0
    streams: int = 64
    sample_rate: int = 768_000
    channels: int = 64
    least_sample_rate: int = 1_000
    """Below it a packet of a few bytes is hours of sound, and no longer bounded by what a packet holds."""

    def check_duration(self, seconds: float) -> None:
        """Of what is declared, or of what has come out."""
        if seconds > self.duration_s:
            raise _beyond(f"It lasts {_clock(math.ceil(seconds))} or more; the most is {_clock(self.duration_s)}.")

    def check_streams(self, count: int) -> None:
        """Of every kind together."""
        if count > self.streams:
            raise _beyond(f"It holds {count:,} streams or more; the most is {self.streams:,}.")

    def check_sound(self, sample_rate: int, channels: int) -> None:
        """Of the track that is heard."""
        if sample_rate > self.sample_rate:
            raise _beyond(f"Its sound has {sample_rate:,} samples a second; the most is {self.sample_rate:,}.")
        if 0 < sample_rate < self.least_sample_rate:
            raise _beyond(f"Its sound has {sample_rate:,} samples a second; the least is {self.least_sample_rate:,}.")
        if channels > self.channels:
            raise _beyond(f"Its sound has {channels:,} channels; the most is {self.channels:,}.")


def _beyond(told: str) -> Permanent:
    return Permanent(FailureCode.MEDIA_LIMIT, told, told=told)


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:,}:{whole // 60 % 60:02d}:{whole % 60:02d} hours"
