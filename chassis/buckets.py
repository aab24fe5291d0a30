"""All that a KV bucket has under some keys, as its leader has it.

Not by the library's watch: that may say that there is nothing more before the first entry has come, and each leaves a
consumer behind for five minutes, of which a bucket can have a thousand (nats-py 2.16). What is missed here would be
deleted by the janitor, or told to nobody.
"""

from collections.abc import AsyncIterator

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

_OPERATION = "KV-Operation"
_MARKER = "Nats-Marker-Reason"


async def values(js: JetStreamContext, bucket: str, keys: str) -> AsyncIterator[bytes]:
    """The values of all keys that match `keys`, oldest first, one request for each; one that is written meanwhile may
    come twice. Raises nats.errors.Error.
    """
    seq = 1
    while True:
        try:
            message = await js.get_msg(f"KV_{bucket}", seq=seq, subject=f"$KV.{bucket}.{keys}", next=True)
        except NotFoundError:
            return
        seq = int(message.seq or 0) + 1
        headers = message.headers or {}
        if _OPERATION not in headers and _MARKER not in headers:
            yield message.data or b""
