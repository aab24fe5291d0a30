"""Ranges and names of downloads."""

import re
from email.message import Message
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.filenames import clean_filename
from services.gateway.downloads import byte_range, disposition
from services.gateway.problems import Problem


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-999", (0, 10)),
        ("bytes=4-", (4, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-30", (0, 10)),
        ("bytes=0-1,3-4", None),
        ("bytes=5-4", None),
        ("items=0-1", None),
        ("bytes=-", None),
    ],
)
def test_a_range_is_read_as_the_rfc_says(header: str, expected: tuple[int, int] | None) -> None:
    assert byte_range(header, 10) == expected


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-12", "bytes=-0"])
def test_a_range_outside_the_file_is_refused(header: str) -> None:
    with pytest.raises(Problem) as refused:
        byte_range(header, 10)
    assert refused.value.document.status == 416
    assert refused.value.headers == {"Content-Range": "bytes */10"}


@given(name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255))
def test_a_download_is_named_after_any_upload_and_stays_one_header(name: str) -> None:
    header = disposition(name, "srt")
    assert header.isascii()
    assert header.isprintable()
    encoded = header.partition("filename*=UTF-8''")[2]
    stem = unquote(encoded).removesuffix(".srt")
    assert name.startswith(stem)
    assert len(name) - len(stem) <= len(".webmx")
    parsed = Message()
    parsed["Content-Disposition"] = header.partition("; filename*")[0]
    assert parsed.get_content_disposition() == "attachment"
    assert str(parsed.get_filename()).endswith("srt")


@pytest.mark.parametrize(
    ("given", "saved"),
    [
        ('she said "hi".mp4', 'she said "hi".srt'),
        ("v1.0 final", "v1.0 final.srt"),
        ("archive.2024.01.02", "archive.2024.01.02.srt"),
        ("film.3gp", "film.srt"),
        ("a\r\nSet-Cookie: b=c.mp4", "a Set-Cookie: b=c.srt"),
        ("a\x00b\x1b[31m.mp4", "a b [31m.srt"),
        ("one; filename=evil.exe; x.mp4", "one; filename=evil.exe; x.srt"),
        ("a\";filename*=UTF-8''evil.exe.mp4", "a\";filename*=UTF-8''evil.exe.srt"),
        ("\u202egnp.exe\u202c.mp4", "gnp.exe .srt"),
        ("\u2066a\u2069\u200f.mp4", "a .srt"),
        ("100%41.mp4", "100%41.srt"),
        ("%0d%0aX: y.mp4", "%0d%0aX: y.srt"),
        ("../../etc/passwd", "passwd.srt"),
        ("C:\\windows\\system32\\a.dll", "a.srt"),
        ("..", "recording.srt"),
        (".mp4", ".mp4.srt"),
        ("", "recording.srt"),
        ("🎬" * 255, "🎬" * 255 + ".srt"),
        ("🎬" * 300 + ".mp4", "🎬" * 251 + ".srt"),
        ("a'b(c)*.mp4", "a'b(c)*.srt"),
        ("<script>alert(1)</script>.mp4", "script>.srt"),
        ("=?utf-8?b?YQ==?=.mp4", "=?utf-8?b?YQ==?=.srt"),
        ("tab\there\x85\u2028.mp4", "tab here .srt"),
        ("\ud800half.mp4", "half.srt"),
    ],
)
def test_a_hostile_name_is_saved_as_a_harmless_one(given: str, saved: str) -> None:
    header = disposition(clean_filename(given), "srt")
    assert header.isascii()
    assert header.isprintable()
    assert len(header) < 8192
    match = re.fullmatch(
        r"""attachment; filename="(?P<plain>[^"\\%]+)"; filename\*=UTF-8''(?P<full>[A-Za-z0-9%_.~-]+)""", header
    )
    assert match is not None
    assert unquote(match["full"]) == saved
    assert not set("/\\") & set(match["plain"])
