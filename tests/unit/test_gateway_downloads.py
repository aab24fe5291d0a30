"""Ranges and names of downloads."""

from email.message import Message
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    assert unquote(encoded) == (name.rpartition(".")[0] or name) + ".srt"
    parsed = Message()
    parsed["Content-Disposition"] = header.partition("; filename*")[0]
    assert parsed.get_content_disposition() == "attachment"
    assert str(parsed.get_filename()).endswith("srt")
