import msgspec
import pytest

from contracts.languages import LANGUAGES
from contracts.parameters import Parameters


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"min_speakers": 4, "max_speakers": 2}, "min_speakers"),
        ({"num_speakers": 2, "min_speakers": 2}, "num_speakers"),
        ({"num_speakers": 2, "max_speakers": 2}, "num_speakers"),
        ({"num_speakers": 0}, "num_speakers"),
        ({"max_speakers": 51}, "max_speakers"),
        ({"language": "klingon"}, "language"),
        ({"force_language": True}, "force_language"),
        ({"language": "en", "force_language": True, "multilingual": True}, "multilingual"),
        ({"task": "summarise"}, "task"),
        ({"model": "../../etc/passwd"}, "model"),
        ({"initial_prompt": "x" * 1001}, "initial_prompt"),
    ],
)
def test_a_contradiction_is_refused_and_named(asked: dict[str, object], word: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=word):
        msgspec.convert(asked, Parameters)


def test_equal_bounds_are_no_contradiction() -> None:
    assert msgspec.convert({"min_speakers": 2, "max_speakers": 2}, Parameters).max_speakers == 2


def test_the_languages_are_those_of_the_installed_whisper() -> None:
    from faster_whisper import tokenizer

    assert frozenset(tokenizer._LANGUAGE_CODES) == LANGUAGES
