"""Whether a file ends before its own structure does; FFmpeg keeps this to itself for some containers.

Sources: ISO/IEC 14496-12 (boxes), RIFF (chunk size), the Xing and VBRI headers of MP3.
"""

import struct
from collections.abc import Sequence
from pathlib import Path

from services.extractor.joined import Joined, open_joined

_UNKNOWN_SIZES = (0, 0xFFFFFFFF)
_MAX_BOXES = 100_000
_MP3_HEAD_BYTES = 4096


def is_cut(source: Sequence[Path]) -> bool:
    """True where an MP4 box or the RIFF chunk reaches past the end of the file; False where nothing tells."""
    with open_joined(source) as file:
        size = file.size
        head = file.read(12)
        if head.startswith(b"RIFF") and len(head) == 12:
            promised = struct.unpack("<I", head[4:8])[0]
            return promised not in _UNKNOWN_SIZES and promised + 8 > size
        return head[4:8] in (b"ftyp", b"styp", b"moov") and _last_box_reaches_past(file, size)


def states_its_length(source: Sequence[Path]) -> bool:
    """Whether an MP3 says how many frames it has; without that its length is a guess from the bit rate."""
    with open_joined(source) as file:
        start, head = 0, file.read(10)
        if head.startswith(b"ID3") and len(head) == 10:
            start = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        file.seek(start)
        head = file.read(_MP3_HEAD_BYTES)
    return any(mark in head for mark in (b"Xing", b"Info", b"VBRI"))


def _last_box_reaches_past(file: Joined, size: int) -> bool:
    at = 0
    for _ in range(_MAX_BOXES):
        if at >= size:
            break
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            return True
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:  # 0: to the end of the file; else nonsense, and none of our business
            return False
        at += length
    return at > size
