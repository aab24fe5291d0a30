"""Hostile media, made here: nothing of it lies in the repository, and the same seed makes the same bytes again.

A specimen says which outcomes are right for it; where it says none, any outcome is but a crash.
"""

import gzip
import io
import itertools
import math
import random
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from contracts.failures import FailureCode
from tests.media import Sound, record

DECODED = "decoded"
REFUSED = frozenset({FailureCode.NOT_MEDIA, FailureCode.UNDECODABLE, FailureCode.NO_AUDIO})
LIMIT = frozenset({FailureCode.MEDIA_LIMIT})
HARMLESS = REFUSED | {DECODED}
ANY = frozenset({DECODED, *FailureCode})

_TONE = Sound(seconds=0.5, rate=48_000)
_SEEDS = {
    "wav": ("wav", "pcm_s16le"),
    "mp3": ("mp3", "libmp3lame"),
    "flac": ("flac", "flac"),
    "ogg": ("ogg", "libopus"),
    "mkv": ("matroska", "aac"),
    "webm": ("webm", "libopus"),
    "mp4": ("mp4", "aac"),
    "avi": ("avi", "libmp3lame"),
    "ts": ("mpegts", "aac"),
    "flv": ("flv", "aac"),
    "aiff": ("aiff", "pcm_s16be"),
    "caf": ("caf", "pcm_s16le"),
}
"""Suffix to FFmpeg's names of the container and the codec."""
_HOURS = 13
"""What is too long by what comes out of it is so by one hour: a decoder that went on would be seen to."""


class Specimen(msgspec.Struct, frozen=True, kw_only=True):
    """A file as a stranger sends it."""

    kind: str
    name: str
    content: bytes
    right: frozenset[str] = ANY
    """DECODED, or codes of a failure."""


class Bait(msgspec.Struct, frozen=True, kw_only=True):
    """What a file may try to reach: one that lies on this machine, and a server that counts."""

    file: Path
    address: str


def seeds() -> dict[str, bytes]:
    """A small sound file of each container, by suffix."""
    with tempfile.TemporaryDirectory() as folder:
        made = {
            suffix: record(Path(folder) / f"seed.{suffix}", [msgspec.structs.replace(_TONE, codec=codec)], form=form)
            for suffix, (form, codec) in _SEEDS.items()
        }
        return {suffix: path.read_bytes() for suffix, path in made.items()}


def mutations(whole: dict[str, bytes], count: int, seed: int) -> Iterator[Specimen]:
    """`count` damaged files; the n-th depends on `seed` and n alone."""
    for n in range(count):
        chance = random.Random(f"{seed}/{n}")  # text: its hash is the same in every process
        suffix = sorted(whole)[n % len(whole)]
        content = bytearray(whole[suffix])
        for _ in range(chance.choice([1, 1, 2, 5])):
            chance.choice(_DAMAGES)(content, chance)
        yield Specimen(kind="mutated", name=f"{seed}-{n}.{suffix}", content=bytes(content))


def made(bait: Bait, whole: dict[str, bytes]) -> Iterator[Specimen]:
    """Every specimen that is no mutation."""
    yield from truncated(whole)
    yield from pointing(bait, whole)
    yield from long_silence()
    yield from many_streams()
    yield from nested()
    yield from endless_headers(whole)
    yield from odd_clocks(whole)
    yield from absurd_sound()
    yield from misnamed(whole)


def truncated(whole: dict[str, bytes]) -> Iterator[Specimen]:
    """Each container cut at its beginning, in its middle and before its last byte."""
    for suffix, content in whole.items():
        for kept in (1, 8, 64, len(content) // 2, len(content) - 1):
            yield Specimen(kind="truncated", name=f"{kept}.{suffix}", content=content[:kept], right=HARMLESS)


def pointing(bait: Bait, whole: dict[str, bytes]) -> Iterator[Specimen]:
    """Playlists, scripts, subtitles and references, under their own names and under those of media."""
    for target in (str(bait.file), bait.file.as_uri(), bait.address, f"subfile,,start,0,end,0,,:{bait.file}"):
        for form, text in _scripts(target).items():
            for suffix in (form, "mp4", "wav", "mp3", "ts"):
                yield Specimen(kind="pointing", name=f"{form}.{suffix}", content=text.encode(), right=REFUSED)
        for entry in (_url_entry(target), _alias_entry(target)):
            elsewhere = _edited(
                whole["mp4"],
                ("moov", "trak", "mdia", "minf", "dinf", "dref"),
                _always(bytes(4) + struct.pack(">I", 1) + entry),
            )
            yield Specimen(kind="pointing", name="reference.mov", content=elsewhere, right=HARMLESS)
        reference = _box(b"moov", _box(b"rmra", _box(b"rmda", _box(b"rdrf", _reference(target)))))
        yield Specimen(kind="pointing", name="rmra.mov", content=_box(b"ftyp", b"qt  " * 2) + reference, right=REFUSED)
        yield Specimen(
            kind="pointing", name="subtitle.avi", content=_avi_with_subtitle(_scripts(target)["m3u8"]), right=HARMLESS
        )
        attached = _matroska(attachments=[("list.m3u8", _scripts(target)["m3u8"].encode())])
        yield Specimen(kind="pointing", name="attached.mkv", content=attached, right=frozenset({DECODED}))
        inside = whole["wav"] + b"\n" + _scripts(target)["m3u8"].encode()
        yield Specimen(kind="pointing", name="tail.wav", content=inside, right=frozenset({DECODED}))


def long_silence(hours: int = _HOURS) -> Iterator[Specimen]:
    """Few bytes that claim, or give, more hours than may be."""
    seconds = hours * 3600
    for claimed, name in ((seconds * 8000, "claimed"), (0, "given")):
        yield Specimen(kind="long", name=f"{name}.flac", content=_flac(seconds, claimed), right=LIMIT)
    yield Specimen(kind="long", name="given.opus", content=_opus(seconds), right=LIMIT)
    bomb = [zlib.compress(bytes(8_000_000), 9)] * math.ceil(seconds / 1000)
    packed = _matroska(blocks=[(n * 1_000_000, block) for n, block in enumerate(bomb)], rate=8000, bits=8, packed=True)
    yield Specimen(kind="long", name="packed.mkv", content=packed, right=LIMIT)
    claimed_only = _matroska(blocks=[(0, bytes(1600))], rate=8000, bits=8, declared_s=1e9)
    yield Specimen(kind="long", name="claimed.mkv", content=claimed_only, right=LIMIT)
    infinite = _matroska(blocks=[(0, bytes(1600))], rate=8000, bits=8, declared_s=math.inf)
    yield Specimen(kind="long", name="infinite.mkv", content=infinite)
    yield Specimen(kind="long", name="slow.wav", content=_wav(rate=1, data=bytes(2 * seconds)), right=LIMIT)


def many_streams(count: int = 10_000) -> Iterator[Specimen]:
    """Thousands of tracks, none of them long."""
    yield Specimen(kind="streams", name="many.mkv", content=_matroska(tracks=count), right=LIMIT)
    with tempfile.TemporaryDirectory() as folder:
        one = record(Path(folder) / "one.mp4", [_TONE]).read_bytes()
    tracks = _box(b"trak", _found(one, ("moov", "trak"))) * count
    crowded = _edited(one, ("moov",), lambda moov: moov + tracks)
    yield Specimen(kind="streams", name="many.mp4", content=crowded, right=LIMIT)
    begin = b"".join(_ogg_page(_OPUS_HEAD, n, 0, flags=2) for n in range(count))
    yield Specimen(kind="streams", name="many.ogg", content=begin, right=LIMIT | REFUSED)
    list_of = _riff(b"LIST", b"strl" + _avi_stream(b"auds")) * count
    crowded_avi = _riff(b"RIFF", b"AVI " + _riff(b"LIST", b"hdrl" + _riff(b"avih", bytes(56)) + list_of))
    yield Specimen(kind="streams", name="many.avi", content=crowded_avi, right=LIMIT | REFUSED)
    yield Specimen(kind="streams", name="many.ts", content=_transport(min(count, 4000)), right=LIMIT | REFUSED)


def nested(depth: int = 20_000) -> Iterator[Specimen]:
    """What holds what holds what."""
    inner = _matroska(blocks=[(0, bytes(1600))])
    for _ in range(8):
        inner = _matroska(blocks=[(0, bytes(1600))], attachments=[("inner.mkv", inner)] * 2)
    yield Specimen(kind="nested", name="attachments.mkv", content=inner, right=frozenset({DECODED}) | LIMIT)
    thousands = _matroska(blocks=[(0, bytes(1600))], attachments=[("a", b"b")] * 5000)
    yield Specimen(kind="nested", name="thousands-of-attachments.mkv", content=thousands, right=LIMIT)
    tags = b"T"
    for _ in range(min(depth, 3000)):
        tags = _ebml(0x67C8, _ebml(0x45A3, b"N"), tags)
    yield Specimen(kind="nested", name="tags.mkv", content=_matroska(blocks=[(0, bytes(1600))], tags=tags))
    for kind in (b"moov", b"udta", b"trak", b"meta"):
        boxes = b"".join(struct.pack(">I4s", 8 * n, kind) for n in range(depth, 0, -1))
        content = _box(b"ftyp", b"isomiso2") + boxes
        yield Specimen(kind="nested", name=f"{kind.decode()}.mp4", content=content, right=REFUSED | LIMIT)
    lists = b"".join(struct.pack("<4sI4s", b"LIST", 12 * n, b"INFO") for n in range(depth, 0, -1))
    yield Specimen(kind="nested", name="lists.avi", content=_riff(b"RIFF", b"AVI " + lists), right=REFUSED)
    script = b"\x02\x00\x0aonMetaData" + b"\x03\x00\x01a" * depth
    tag = struct.pack(">B3s3sB3s", 18, len(script).to_bytes(3, "big"), bytes(3), 0, bytes(3)) + script
    yield Specimen(
        kind="nested", name="script.flv", content=b"FLV\x01\x04\x00\x00\x00\x09" + bytes(4) + tag, right=REFUSED
    )


def endless_headers(whole: dict[str, bytes]) -> Iterator[Specimen]:
    """Headers that are huge, say that they are, or never end."""
    kind = "headers"
    for said in (0x0FFFFFFF, 30_000_000):
        tag = b"ID3\x04\x00\x00" + _synchsafe(said)
        yield Specimen(kind=kind, name="claims.mp3", content=tag + whole["mp3"])
    frames = b"".join(b"TXXX" + _synchsafe(8) + bytes(2) + b"\x03a\x00%05d" % n for n in range(50_000))
    yield Specimen(kind=kind, name="tags.mp3", content=b"ID3\x04\x00\x00" + _synchsafe(len(frames)) + frames)
    empty = b"ID3\x04\x00\x00" + _synchsafe(0)
    yield Specimen(kind=kind, name="again.mp3", content=empty * 200_000 + whole["mp3"])
    picture = b"APIC" + _synchsafe(20_000_014) + bytes(2) + b"\x00image/png\x00\x03\x00\x00" + bytes(20_000_000)
    yield Specimen(
        kind=kind, name="cover.mp3", content=b"ID3\x04\x00\x00" + _synchsafe(len(picture)) + picture + whole["mp3"]
    )
    for path, table in (
        (("moov", "trak", "mdia", "minf", "stbl", "stsz"), bytes(8) + b"\xff\xff\xff\xf0"),
        (("moov", "trak", "mdia", "minf", "stbl", "stsz"), bytes(4) + struct.pack(">II", 1, 0xFFFFFFF0)),
        (("moov", "trak", "mdia", "minf", "stbl", "stts"), bytes(4) + b"\xff\xff\xff\xf0"),
        (("moov", "trak", "mdia", "minf", "stbl", "stts"), bytes(4) + struct.pack(">III", 1, 0xFFFFFFF0, 1)),
        (("moov", "trak", "mdia", "minf", "stbl", "stsc"), bytes(4) + struct.pack(">IIII", 1, 1, 0xFFFFFFF0, 1)),
        (("moov", "trak", "mdia", "minf", "stbl", "stco"), bytes(4) + b"\xff\xff\xff\xf0"),
        (("moov", "trak", "mdia", "minf", "stbl", "stsd"), bytes(4) + b"\x7f\xff\xff\xff"),
    ):
        changed = _edited(whole["mp4"], path, _always(table))
        yield Specimen(kind=kind, name=f"{path[-1]}.mp4", content=changed)
    for size in (b"\xff\xff\xff\xff", b"\x00\x00\x00\x01", bytes(4)):
        at = whole["mp4"].index(b"moov") - 4
        yield Specimen(
            kind=kind, name="moov.mp4", content=whole["mp4"][:at] + size + whole["mp4"][at + 4 :], right=HARMLESS
        )
    skipped = struct.pack(">I4s", 8, b"free") * 500_000
    yield Specimen(kind=kind, name="free.mp4", content=skipped + whole["mp4"])
    # Enough to show what many comments cost: FFmpeg compares each with all before it.
    comments = b"".join(struct.pack("<I", 9) + b"A%04x=bcd" % (n % 65536) for n in range(12_000))
    vorbis = struct.pack("<I", 1) + b"x" + struct.pack("<I", 12_000) + comments
    for comment in (vorbis, struct.pack("<I", 1) + b"x" + b"\xff\xff\xff\xff" + comments):
        head = _ogg_page(_OPUS_HEAD, 1, 0, flags=2) + _ogg_packet(b"OpusTags" + comment, 1, 1)
        yield Specimen(kind=kind, name="comments.opus", content=head + _opus_body(2, first=1000))
        block = b"\x84" + len(comment).to_bytes(3, "big") + comment
        yield Specimen(kind=kind, name="comments.flac", content=_flac(2, 0, blocks=block))
    padding = (b"\x01" + (0).to_bytes(3, "big")) * 500_000 + b"\x81" + bytes(3)
    yield Specimen(kind=kind, name="padding.flac", content=_flac(2, 0, blocks=padding))
    image = struct.pack(">II", 3, 0xFFFFFFFF) + bytes(100)
    yield Specimen(
        kind=kind, name="cover.flac", content=_flac(2, 0, blocks=b"\x86" + len(image).to_bytes(3, "big") + image)
    )
    yield Specimen(
        kind=kind,
        name="junk.wav",
        content=_riff(b"RIFF", b"WAVE" + _riff(b"junk", b"") * 500_000 + whole["wav"][12:]),
    )
    forever = _EBML_HEAD + b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff" + _ebml(0xEC, b"") * 300_000
    yield Specimen(kind=kind, name="void.mkv", content=forever, right=REFUSED)
    yield Specimen(kind=kind, name="zeros.mp3", content=whole["mp3"][:200] + bytes(30_000_000))
    yield Specimen(kind=kind, name="sync.mp3", content=b"\xff\xfb\x90\x64" * 3_000_000)
    yield Specimen(kind=kind, name="sync.ts", content=(b"\x47\x1f\xff\x10" + b"\xff" * 184) * 100_000, right=REFUSED)


def odd_clocks(whole: dict[str, bytes]) -> Iterator[Specimen]:
    """Time stamps below zero, backwards, and with holes that add up to days."""
    kind = "clocks"
    second = bytes(8000)

    def at(*seconds: float) -> bytes:
        return _matroska(blocks=[(round(one * 1000), second) for one in seconds], rate=8000, bits=8)

    yield Specimen(kind=kind, name="holes.mkv", content=at(*(n * 3000 for n in range(40))), right=LIMIT)
    yield Specimen(kind=kind, name="days.mkv", content=at(0, 1, 1_000_000, 2, 2_000_000, 3), right=HARMLESS | LIMIT)
    yield Specimen(kind=kind, name="backwards.mkv", content=at(*range(60, 0, -1)), right=HARMLESS)
    yield Specimen(kind=kind, name="saw.mkv", content=at(*([0, 3000] * 40)), right=HARMLESS | LIMIT)
    yield Specimen(kind=kind, name="far.mkv", content=at(4e12, 4e12 + 1), right=HARMLESS | LIMIT)
    table = ("moov", "trak", "mdia", "minf", "stbl", "stts")
    unedited = whole["mp4"].replace(b"edts", b"free")  # else the list of edits cuts the jumps out
    for delta in (48_000 * 3000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0):
        jumping = _edited(unedited, table, _always(bytes(4) + struct.pack(">III", 1, 1000, delta)))
        yield Specimen(kind=kind, name=f"stts-{delta}.mp4", content=jumping)
    for start, count in ((-1, 1), (-(2**62), 1), (2**62, 1), (0, 0xFFFFFFFF)):
        entry = bytes([1, 0, 0, 0]) + struct.pack(">IQqHH", count, 2**40, start, 1, 0)
        edits = _box(b"edts", _box(b"elst", entry))
        yield Specimen(
            kind=kind,
            name="edits.mp4",
            content=_edited(whole["mp4"], ("moov", "trak"), _always(_found(whole["mp4"], ("moov", "trak")) + edits)),
        )
    for jump in (-1, 1, 2**31, 2**32 - 1):
        yield Specimen(kind=kind, name=f"jump{jump}.ts", content=_shifted(whole["ts"], jump), right=HARMLESS | LIMIT)
    for granule in (-(2**62), -1, 2**62):
        yield Specimen(kind=kind, name="granule.opus", content=_opus(2, granule=granule))


def absurd_sound() -> Iterator[Specimen]:
    """Rates, channels and sample sizes that no sound has."""
    kind = "sound"
    for rate in (0, 1, 768_000, 768_001, 2**31 - 1, 2**31, 2**32 - 1):
        past = LIMIT | REFUSED if rate > 768_000 else ANY
        yield Specimen(kind=kind, name=f"rate{rate}.wav", content=_wav(rate=rate, data=bytes(4000)), right=past)
    for channels in (0, 1, 64, 65, 255, 1024, 65535):
        past = LIMIT | REFUSED if channels > 64 else ANY
        content = _wav(channels=channels, data=bytes(2 * max(1, channels) * 500))
        yield Specimen(kind=kind, name=f"channels{channels}.wav", content=content, right=past)
    for bits in (0, 1, 7, 33, 64, 65535):
        yield Specimen(kind=kind, name=f"bits{bits}.wav", content=_wav(bits=bits, data=bytes(4000)))
    for codec in (2, 6, 7, 0x11, 0x31, 0x50, 0x55, 0x161, 0x2000, 0xFFFE, 0xFFFF):
        yield Specimen(kind=kind, name=f"codec{codec:x}.wav", content=_wav(codec=codec, data=bytes(4000)))
    for number in (0.0, -1.0, 1e-300, 1e300, math.inf, math.nan):
        described = struct.pack(">d4sIIIII", number, b"lpcm", 0, 2, 1, 1, 16)
        caf = b"caff\x00\x01\x00\x00" + b"desc" + struct.pack(">q", 32) + described
        content = caf + b"data" + struct.pack(">qI", -1, 0) + bytes(4000)
        yield Specimen(kind=kind, name=f"rate{number}.caf", content=content)
        yield Specimen(kind=kind, name=f"rate{number}.mkv", content=_matroska(blocks=[(0, bytes(1600))], rate=number))
    for channels in (0, 65, 2**31, 2**62):
        content = _matroska(blocks=[(0, bytes(1600))], channels=channels)
        yield Specimen(kind=kind, name=f"channels{channels}.mkv", content=content)
    for rate80 in (bytes(10), b"\x40\x1e" + b"\xff" * 8, b"\x7f\xff" + bytes(8), b"\xff" * 10):
        common = struct.pack(">HIH", 1, 2000, 16) + rate80
        aiff = b"AIFF" + b"COMM" + struct.pack(">I", len(common)) + common
        aiff += b"SSND" + struct.pack(">III", 4008, 0, 0) + bytes(4000)
        yield Specimen(kind=kind, name="rate.aiff", content=b"FORM" + struct.pack(">I", len(aiff)) + aiff)
    for words in ((0, 4000, 1, 2**32 - 1, 1), (24, 2**32 - 1, 3, 2**31, 2**31), (2**31, 1, 3, 8000, 1)):
        yield Specimen(kind=kind, name="absurd.au", content=b".snd" + struct.pack(">IIIII", *words) + bytes(4000))


def misnamed(whole: dict[str, bytes]) -> Iterator[Specimen]:
    """What is no recording under the name of one, and recordings under other names."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("talk.wav", whole["wav"])
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/hostname"/></svg>'
    entity = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><a>&b;</a>'
    others = {
        "zip": packed.getvalue(),
        "gz": gzip.compress(whole["wav"], mtime=0),
        "pdf": b"%PDF-1.7\n1 0 obj\n<</Type/Catalog>>\nendobj\n" + bytes(range(256)) * 20,
        "png": b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 2**31 - 1, 2**31 - 1, 8, 6, 0, 0, 0),
        "jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(2000),
        "gif": b"GIF89a\xff\xff\xff\xff\x00" + bytes(2000),
        "svg": drawing,
        "xml": entity,
        "html": b"<!doctype html><script src=http://127.0.0.1/></script>" * 20,
        "elf": b"\x7fELF\x02\x01\x01" + bytes(4000),
        "exe": b"MZ" + bytes(4000),
        "sh": b"#!/bin/sh\ntouch /tmp/owned\n",
        "py": b"import os; os.system('id')\n",
        "class": b"\xca\xfe\xba\xbe" + bytes(2000),
        "sqlite": b"SQLite format 3\x00" + bytes(4000),
        "text": b"Dear diary, nothing was recorded today.\n" * 100,
        "zeros": bytes(100_000),
        "noise": random.Random(0).randbytes(100_000),
        "srt": b"1\n00:00:01,000 --> 00:00:02,000\nhello\n\n" * 20,
        "ass": b"[Script Info]\nScriptType: v4.00+\n[Events]\n" * 20,
    }
    for form, content in others.items():
        right = ANY if form == "noise" else REFUSED
        for suffix in ("mp4", "wav"):
            yield Specimen(kind="misnamed", name=f"{form}.{suffix}", content=content, right=right)
    for suffix, other in itertools.zip_longest(whole, ("m3u8", "srt", "png", "txt", "sh"), fillvalue="exe"):
        yield Specimen(kind="misnamed", name=f"{suffix}.{other}", content=whole[suffix], right=frozenset({DECODED}))


def _flip(content: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice([1, 4, 30, 300])):
        content[_place(content, chance)] = chance.randrange(256)


def _word(content: bytearray, chance: random.Random) -> None:
    """Numbers that are read as sizes and counts."""
    number = chance.choice(
        [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]
    )
    width = next(width for width in (1, 2, 4, 8) if number < 256**width)
    at = _place(content, chance)
    content[at : at + width] = number.to_bytes(width, chance.choice(["big", "little"]))


def _cut_out(content: bytearray, chance: random.Random) -> None:
    at = _place(content, chance)
    del content[at : at + chance.choice([1, 7, 100, 1000])]
    content += b"" if content else b"\x00"


def _cut_off(content: bytearray, chance: random.Random) -> None:
    del content[max(1, chance.randrange(len(content))) :]


def _repeat(content: bytearray, chance: random.Random) -> None:
    start = _place(content, chance)
    piece = bytes(content[start : start + chance.choice([4, 50, 2000])])
    at = _place(content, chance)
    content[at:at] = piece * chance.choice([1, 2, 50])


def _fill(content: bytearray, chance: random.Random) -> None:
    at, count = _place(content, chance), chance.choice([4, 64, 1024])
    content[at : at + count] = bytes([chance.choice([0, 0xFF, 0x41])]) * count


def _place(content: bytearray, chance: random.Random) -> int:
    """Headers are hit more often than what follows."""
    return chance.randrange(min(len(content), chance.choice([64, 512, 4096, len(content)])))


_DAMAGES: Sequence[Callable[[bytearray, random.Random], None]] = (_flip, _word, _cut_out, _cut_off, _repeat, _fill)


def _scripts(target: str) -> dict[str, str]:
    """Texts that FFmpeg, or another player, would follow to `target`."""
    return {
        "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10.0,\n{target}\n#EXT-X-ENDLIST\n",
        "key.m3u8": f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n#EXTINF:10.0,\n{target}\n#EXT-X-ENDLIST\n',
        "map.m3u8": f'#EXTM3U\n#EXT-X-MAP:URI="{target}"\n#EXTINF:10.0,\n{target}\n#EXT-X-ENDLIST\n',
        "master.m3u8": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{target}\n",
        "concat": f"ffconcat version 1.0\nfile '{target}'\n",
        "bare.concat": f"file '{target}'\nduration 10\n",
        "mpd": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
        f'<Representation id="1"><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>',
        "ism": f'<?xml version="1.0"?><SmoothStreamingMedia><StreamIndex Url="{target}"/></SmoothStreamingMedia>',
        "pls": f"[playlist]\nNumberOfEntries=1\nFile1={target}\n",
        "asx": f'<asx version="3.0"><entry><ref href="{target}"/></entry></asx>',
        "ram": f"{target}\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        "qtl": f'<?xml version="1.0"?><?quicktime type="application/x-quicktime-media-link"?><embed src="{target}"/>',
        "rtsp": f"RTSPtext\n{target}\n",
        "idx": f"# VobSub index file, v7\nid: en, index: 0\n# {target}\ntimestamp: 00:00:00:000, filepos: 0\n",
        "ffmeta": f";FFMETADATA1\ntitle={target}\n[STREAM]\nfile={target}\n",
        "avs": f'AviSource("{target}")\n',
        "lavfi": f"amovie={target}\n",
        "pattern": f"{target}.%03d.png\n",
        "cue": f'FILE "{target}" WAVE\n  TRACK 01 AUDIO\n    INDEX 01 00:00:00\n',
    }


def _box(kind: bytes, *parts: bytes) -> bytes:
    payload = b"".join(parts)
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        yield kind, content[at + 8 : at + size]
        at += size


def _edited(content: bytes, path: Sequence[str], change: Callable[[bytes], bytes]) -> bytes:
    """MP4 with the payload of the box at `path` changed. The samples lie before the table, so they stay in place."""
    edited = [
        (
            kind,
            (_edited(payload, path[1:], change) if path[1:] else change(payload))
            if kind == path[0].encode()
            else payload,
        )
        for kind, payload in _boxes(content)
    ]
    return b"".join(_box(kind, payload) for kind, payload in edited)


def _always(payload: bytes) -> Callable[[bytes], bytes]:
    return lambda _: payload


def _found(content: bytes, path: Sequence[str]) -> bytes:
    for name in path:
        content = next(payload for kind, payload in _boxes(content) if kind == name.encode())
    return content


def _url_entry(target: str) -> bytes:
    return _box(b"url ", bytes(4), target.encode() + b"\x00")


def _alias_entry(target: str) -> bytes:
    """A Macintosh alias with the path in each of its forms (types 2 and 18)."""
    path = target.encode()
    path += b"\x00" * (len(path) % 2)
    head = bytes(4) + bytes(6) + b"\x00\x02" + bytes(2) + bytes([4]) + b"disk".ljust(27, b"\x00") + bytes(12)
    head += bytes([8]) + b"file.wav".ljust(63, b"\x00") + bytes(16) + struct.pack(">hh", 1, 1) + bytes(16)
    records = b"".join(struct.pack(">hh", kind, len(path)) + path for kind in (2, 18))
    return _box(b"alis", head + records + struct.pack(">hh", -1, 0))


def _reference(target: str) -> bytes:
    url = target.encode() + b"\x00"
    return bytes(4) + b"url " + struct.pack(">I", len(url)) + url


def _riff(kind: bytes, payload: bytes) -> bytes:
    return kind + struct.pack("<I", len(payload)) + payload + b"\x00" * (len(payload) % 2)


def _wav(
    *, rate: int = 8000, channels: int = 1, bits: int = 16, codec: int = 1, data: bytes, said: int | None = None
) -> bytes:
    align = min(channels * bits // 8, 65535)
    described = struct.pack("<HHIIHHH", codec, channels, rate, min(rate * align, 2**32 - 1), align, bits, 0)
    content = b"WAVE" + _riff(b"fmt ", described) + b"data" + struct.pack("<I", len(data) if said is None else said)
    return _riff(b"RIFF", content + data)


def _avi_stream(kind: bytes) -> bytes:
    head = kind + bytes(4) + struct.pack("<IHHIIIIIIIII", 0, 0, 0, 0, 1, 8000, 0, 100, 0, 0, 1, 0)
    form = struct.pack("<HHIIHH", 1, 1, 8000, 8000, 1, 8) if kind == b"auds" else b""
    return _riff(b"strh", head) + _riff(b"strf", form)


def _avi_with_subtitle(text: str) -> bytes:
    """The GAB2 chunk: FFmpeg opens what lies in it as a file of its own."""
    streams = b"".join(_riff(b"LIST", b"strl" + _avi_stream(kind)) for kind in (b"txts", b"auds"))
    script = text.encode()
    inside = b"GAB2\x00" + struct.pack("<HI", 2, 2) + b"a\x00" + struct.pack("<HI", 4, len(script)) + script
    main = struct.pack("<IIIIIIIIII", 40_000, 0, 0, 0, 1, 0, 2, 0, 64, 48) + bytes(16)
    movie = b"movi" + (_riff(b"00tx", inside) + _riff(b"01wb", bytes(800))) * 5
    header = _riff(b"LIST", b"hdrl" + _riff(b"avih", main) + streams)
    return _riff(b"RIFF", b"AVI " + header + _riff(b"LIST", movie))


def _ebml(number: int, *parts: bytes) -> bytes:
    payload = b"".join(parts)
    return number.to_bytes((number.bit_length() + 7) // 8, "big") + b"\x01" + len(payload).to_bytes(7, "big") + payload


def _whole(number: int) -> bytes:
    return number.to_bytes(8, "big")


_EBML_HEAD = _ebml(0x1A45DFA3, _ebml(0x4282, b"matroska"), _ebml(0x4287, _whole(4)), _ebml(0x4285, _whole(2)))


def _matroska(
    *,
    blocks: Sequence[tuple[int, bytes]] = ((0, bytes(1600)),),
    rate: float = 8000.0,
    channels: int = 1,
    bits: int = 16,
    tracks: int = 1,
    declared_s: float | None = None,
    packed: bool = False,
    attachments: Sequence[tuple[str, bytes]] = (),
    tags: bytes = b"",
) -> bytes:
    """PCM in Matroska: `blocks` are (milliseconds, samples), zlib-compressed ones if `packed`."""
    sound = _ebml(
        0xE1, _ebml(0xB5, struct.pack(">d", rate)), _ebml(0x9F, _whole(channels)), _ebml(0x6264, _whole(bits))
    )
    coding = _ebml(0x6D80, _ebml(0x6240, _ebml(0x5034, _ebml(0x4254, _whole(0))))) if packed else b""
    described = [
        _ebml(
            *(0xAE, _ebml(0xD7, _whole(n)), _ebml(0x73C5, _whole(n)), _ebml(0x83, _whole(2))),
            *(_ebml(0x86, b"A_PCM/INT/LIT"), sound, coding),
        )
        for n in range(1, tracks + 1)
    ]
    length = _ebml(0x4489, struct.pack(">d", declared_s * 1000)) if declared_s is not None else b""
    files = [
        _ebml(
            0x61A7,
            _ebml(0x466E, name.encode()),
            _ebml(0x4660, b"text/plain"),
            _ebml(0x46AE, _whole(n + 1)),
            _ebml(0x465C, content),
        )
        for n, (name, content) in enumerate(attachments)
    ]
    clusters = [
        _ebml(0x1F43B675, _ebml(0xE7, _whole(at)), _ebml(0xA3, b"\x81\x00\x00\x80" + block)) for at, block in blocks
    ]
    return _EBML_HEAD + _ebml(
        0x18538067,
        _ebml(0x1549A966, _ebml(0x2AD7B1, _whole(1_000_000)), length),
        _ebml(0x1654AE6B, *described),
        _ebml(0x1941A469, *files) if files else b"",
        _ebml(0x1254C367, _ebml(0x7373, tags)) if tags else b"",
        *clusters,
    )


_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _ogg_page(
    payload: bytes, serial: int, number: int, *, flags: int = 0, granule: int = 0, lengths: bytes = b""
) -> bytes:
    """The checksum is CRC-32 with the bits of every byte the other way round."""
    lengths = lengths or bytes([len(payload)])
    head = struct.pack("<4sBBqII", b"OggS", 0, flags, granule, serial, number)
    rest = bytes([len(lengths)]) + lengths + payload
    crc = zlib.crc32((head + bytes(4) + rest).translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return head + struct.pack("<I", int(f"{crc:032b}"[::-1], 2)) + rest


def _ogg_packet(packet: bytes, serial: int, first: int) -> bytes:
    """A packet over as many pages as it needs."""
    pages = []
    for number, at in enumerate(range(0, len(packet) + 1, 255 * 255)):
        piece = packet[at : at + 255 * 255]
        full, rest = divmod(len(piece), 255)
        ends = full < 255
        lengths = b"\xff" * full + (bytes([rest]) if ends else b"")
        pages.append(_ogg_page(piece, serial, first + number, flags=int(number > 0), lengths=lengths))
    return b"".join(pages)


_OPUS_HEAD = b"OpusHead" + struct.pack("<BBHIhB", 1, 1, 0, 48_000, 0, 0)
_OPUS_PACKET, _OPUS_SAMPLES = b"\xfb\x06", 6 * 960
"""Six frames of 20 ms with nothing in them."""


def _opus(seconds: int, granule: int | None = None) -> bytes:
    tags = _ogg_page(b"OpusTags" + struct.pack("<II", 0, 0), 1, 1)
    return _ogg_page(_OPUS_HEAD, 1, 0, flags=2) + tags + _opus_body(seconds, first=2, granule=granule)


def _opus_body(seconds: int, *, first: int, granule: int | None = None) -> bytes:
    count = math.ceil(seconds * 48_000 / (255 * _OPUS_SAMPLES))
    return b"".join(
        _ogg_page(
            *(_OPUS_PACKET * 255, 1, first + n),
            granule=(n + 1) * 255 * _OPUS_SAMPLES if granule is None else granule,
            lengths=bytes([len(_OPUS_PACKET)]) * 255,
        )
        for n in range(count)
    )


def _flac(seconds: int, claimed: int, blocks: bytes = b"") -> bytes:
    """Silence at 8 kHz in frames of one value each; `claimed` samples stand in the header, 0 being unknown."""
    packed = (8000 << 44) | (15 << 36) | claimed
    info = struct.pack(">HH", 65535, 65535) + bytes(6) + packed.to_bytes(8, "big") + bytes(16)
    first = b"\x00" if blocks else b"\x80"
    return (
        b"fLaC"
        + first
        + len(info).to_bytes(3, "big")
        + info
        + blocks
        + b"".join(_flac_frame(n) for n in range(math.ceil(seconds * 8000 / 65535)))
    )


def _flac_frame(number: int) -> bytes:
    coded = chr(number).encode("utf-8", "surrogatepass")
    head = b"\xff\xf8\x74\x08" + coded + struct.pack(">H", 65534)
    head += _crc(head, 0x07, 8)
    return head + bytes(3) + _crc(head + bytes(3), 0x8005, 16)


def _crc(content: bytes, polynomial: int, width: int) -> bytes:
    register = 0
    for byte in content:
        register ^= byte << (width - 8)
        for _ in range(8):
            register = (register << 1) ^ (polynomial if register >> (width - 1) else 0)
            register &= (1 << width) - 1
    return register.to_bytes(width // 8, "big")


def _synchsafe(size: int) -> bytes:
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


def _transport(tracks: int) -> bytes:
    """MPEG-TS with its tracks in many programs of sixty."""
    programs = [range(first, min(first + 60, tracks)) for first in range(0, tracks, 60)]
    table = b"".join(struct.pack(">HH", n + 1, 0xE000 | (32 + n)) for n in range(len(programs)))
    packets = [_section(0, b"\x00", 1, table)]
    for n, members in enumerate(programs):
        streams = b"".join(struct.pack(">BHH", 3, 0xE000 | (256 + member), 0xF000) for member in members)
        packets.append(_section(32 + n, b"\x02", n + 1, struct.pack(">HH", 0xE100, 0xF000) + streams))
    sound = b"\x00\x00\x01\xc0\x00\x00\x80\x80\x05\x21\x00\x01\x00\x01" + b"\xff\xfd\x80\x04" + bytes(160)
    packets += [_transport_packet(256 + member, sound) for member in range(tracks)]
    return b"".join(packets)


def _section(pid: int, table: bytes, number: int, body: bytes) -> bytes:
    payload = struct.pack(">HBBB", number, 0xC1, 0, 0) + body
    section = table + struct.pack(">H", 0xB000 | (len(payload) + 4)) + payload
    register = zlib.crc32(section.translate(_REVERSED)) ^ 0xFFFFFFFF
    section += struct.pack(">I", int(f"{register:032b}"[::-1], 2))
    pieces = b"\x00" + section
    return b"".join(_transport_packet(pid, pieces[at : at + 184], at == 0) for at in range(0, len(pieces), 184))


def _transport_packet(pid: int, payload: bytes, starts: bool = True) -> bytes:
    return struct.pack(">BHB", 0x47, (0x4000 if starts else 0) | pid, 0x10) + payload[:184].ljust(184, b"\xff")


def _shifted(content: bytes, jump: int) -> bytes:
    """MPEG-TS whose every other packet has its clock moved by `jump`."""
    moved = bytearray(content)
    for n, at in enumerate(range(0, len(content) - 188, 188)):
        head = content.find(b"\x00\x00\x01\xc0", at, at + 188)
        if head >= 0 and n % 2:
            stamp = (jump % 2**33) << 3
            moved[head + 9 : head + 14] = (0x2100010001 | stamp & 0xFE).to_bytes(5, "big")
    return bytes(moved)
