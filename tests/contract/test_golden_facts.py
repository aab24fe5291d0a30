"""The bytes of every fact are kept: a change that old messages or old readers would not survive shows here first.

After a deliberate, compatible change: `python -m tests.contract.test_golden_facts` writes the files anew.
"""

import typing
from pathlib import Path

import msgspec
import pytest

from contracts import facts
from tests.contract.examples import EXAMPLES

GOLDEN = Path(__file__).parent / "golden"


def _file(fact: facts.Fact) -> Path:
    return GOLDEN / f"{facts.name(fact)}.json"


@pytest.mark.parametrize("fact", EXAMPLES, ids=facts.name)
def test_a_fact_is_written_as_it_always_was(fact: facts.Fact) -> None:
    assert facts.encode(fact) == _file(fact).read_bytes().rstrip(b"\n")


@pytest.mark.parametrize("fact", EXAMPLES, ids=facts.name)
def test_a_stored_fact_is_read_as_what_it_was(fact: facts.Fact) -> None:
    assert facts.decode(_file(fact).read_bytes()) == fact


@pytest.mark.parametrize("fact", EXAMPLES, ids=facts.name)
def test_a_reader_passes_over_fields_of_a_later_version(fact: facts.Fact) -> None:
    body = msgspec.json.decode(_file(fact).read_bytes()) | {"added_later": {"deep": [1]}}
    assert facts.decode(msgspec.json.encode(body)) == fact


def test_every_fact_has_an_example_and_no_file_is_left_over() -> None:
    names = {facts.name(kind) for kind in typing.get_args(facts.AnyFact)}
    assert {facts.name(fact) for fact in EXAMPLES} == names
    assert {path.stem for path in GOLDEN.glob("*.json")} == names


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"fact":"accepted"}', b'{"fact":"unheard-of"}', b"\xff"])
def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        facts.decode(body)


@pytest.mark.parametrize("fact", [fact for fact in EXAMPLES if isinstance(fact, facts.JobAccepted | facts.JobStarted)])
def test_a_job_has_a_source_or_an_address(fact: facts.JobAccepted | facts.JobStarted) -> None:
    with_address = msgspec.structs.replace(fact, source=None, source_url="https://example.com/talk.mp4")
    assert facts.decode(facts.encode(with_address)) == with_address
    assert b'"source"' not in facts.encode(with_address)
    body = msgspec.json.decode(facts.encode(fact))
    for wrong in (body | {"source": None}, body | {"source_url": "https://example.com/talk.mp4"}):
        with pytest.raises(msgspec.ValidationError, match="either a source or a source_url"):
            facts.decode(msgspec.json.encode(wrong))


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for example in EXAMPLES:
        _file(example).write_bytes(facts.encode(example) + b"\n")
