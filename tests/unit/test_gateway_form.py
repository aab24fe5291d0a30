"""The multipart form, whatever way its bytes are cut."""

import hashlib
import itertools
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.artifacts import ArtifactRef
from contracts.parameters import Parameters
from services.gateway import form
from services.gateway.problems import Problem

FILE = b"\r\n--bound\r\n-- sound \x00\xff" * 50
BODY = (
    b'--boundary\r\nContent-Disposition: form-data; name="language"\r\n\r\nde\r\n'
    b'--boundary\r\nContent-Disposition: form-data; name="file"; filename="talk.mp4"\r\n'
    b"Content-Type: video/mp4\r\n\r\n" + FILE + b"\r\n"
    b'--boundary\r\nContent-Disposition: form-data; name="diarize"\r\n\r\noff\r\n--boundary--\r\n'
)


async def read(body: bytes, cuts: list[int]) -> tuple[form.Submission, bytes]:
    saved = bytearray()

    async def blocks() -> AsyncIterator[bytes]:
        edges = [0, *sorted(cut % len(body) for cut in cuts), len(body)]
        for start, end in itertools.pairwise(edges):
            yield body[start:end]

    async def save(content: AsyncIterator[bytes]) -> ArtifactRef:
        async for block in content:
            saved.extend(block)
        return ArtifactRef(key="k", digest=hashlib.sha256(saved).hexdigest(), bytes=len(saved))

    submission = await form.read("multipart/form-data; boundary=boundary", blocks(), save, max_file_bytes=10_000)
    return submission, bytes(saved)


@given(cuts=st.lists(st.integers(min_value=0), max_size=40))
async def test_a_form_reads_the_same_however_its_bytes_are_cut(cuts: list[int]) -> None:
    submission, saved = await read(BODY, cuts)
    assert saved == FILE
    assert submission.filename == "talk.mp4"
    assert submission.parameters == Parameters(language="de", diarize=False)


@given(end=st.integers(min_value=0, max_value=len(BODY) - 5))
async def test_a_form_that_ends_too_early_is_refused(end: int) -> None:
    with pytest.raises(Problem) as refused:
        await read(BODY[:end] or b"-", [])
    assert refused.value.document.code in ("malformed_form", "file_missing")


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("1", True), ("on", True), ("Yes", True), ("false", False), ("0", False), ("off", False)],
)
def test_switches_are_read_as_forms_write_them(text: str, value: bool) -> None:
    assert form.parameters({"diarize": text}).diarize is value


def test_an_empty_field_is_not_given() -> None:
    assert form.parameters({"language": "", "num_speakers": " ", "task": ""}) == Parameters()


def test_text_parameters_stay_text() -> None:
    assert form.parameters({"hotwords": "on", "initial_prompt": "1"}) == Parameters(hotwords="on", initial_prompt="1")


@pytest.mark.parametrize(
    ("given_text", "field"),
    [
        ({"num_speakers": "0"}, "num_speakers"),
        ({"diarize": "perhaps"}, "diarize"),
        ({"model": "../x"}, "model"),
        ({"force_language": "true"}, "force_language"),
        ({"num_speakers": "2", "max_speakers": "3"}, "num_speakers"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_parameter_is_named(given_text: dict[str, str], field: str) -> None:
    with pytest.raises(Problem) as refused:
        form.parameters(given_text)
    assert refused.value.document.status == 400
    assert refused.value.document.field == field
    assert field in refused.value.document.detail


@given(name=st.text(max_size=600))
def test_any_name_becomes_one_that_can_be_shown_and_stored(name: str) -> None:
    cleaned = form.clean_filename(name)
    assert 0 < len(cleaned) <= 255
    assert "/" not in cleaned
    assert cleaned.isprintable() or not any(ord(letter) < 32 for letter in cleaned)
    cleaned.encode()


def test_a_long_name_keeps_its_suffix() -> None:
    assert form.clean_filename("a" * 400 + ".mp4").endswith("a.mp4")
    assert len(form.clean_filename("a" * 400 + ".mp4")) == 255
