import msgspec
import pytest

from contracts.artifacts import cache_key, finished_key, recipe_digest
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
        ({"caption_preset": "cinema"}, "caption_preset"),
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


def test_parameters_of_before_there_were_presets_are_read_as_the_standard() -> None:
    assert msgspec.json.decode(b'{"language":"en","diarize":false}', type=Parameters).caption_preset == "standard"


def test_a_caption_preset_changes_nothing_that_words_and_speakers_are_made_from() -> None:
    asked = msgspec.convert({"language": "en", "caption_preset": "social"}, Parameters)

    assert asked.deciding() == Parameters(language="en").deciding()
    assert asked.deciding() != Parameters(language="de").deciding()
    assert finished_key("anon", "d" * 64, asked) == finished_key("anon", "d" * 64, Parameters(language="en"))


def test_the_note_of_a_finished_job_is_found_where_it_was_before_there_were_presets() -> None:
    before = {
        "language": None, "force_language": False, "multilingual": False, "model": "base", "task": "transcribe",
        "initial_prompt": None, "hotwords": None, "diarize": True, "num_speakers": None, "min_speakers": None,
        "max_speakers": None, "strict": False,
    }  # fmt: skip
    digest = recipe_digest("job", "", before, ["d" * 64])

    assert finished_key("anon", "d" * 64, Parameters()) == cache_key("anon", "job", digest, "json")


def test_a_model_has_one_name() -> None:
    assert Parameters(model="whisper-small") == Parameters(model="small")
