import pytest

from cli.client import form_fields
from cli.errors import CliError
from cli.options import parameters


def test_only_what_differs_from_the_defaults_is_sent_as_text() -> None:
    asked = parameters(language="es", num_speakers=2, diarize=True, multilingual=True, hotwords=None)
    assert form_fields(asked) == {"language": "es", "num_speakers": "2", "multilingual": "true"}


def test_a_contradiction_is_told_in_terms_of_the_options() -> None:
    with pytest.raises(CliError, match=r"^--speakers excludes --min-speakers and --max-speakers\.$"):
        parameters(num_speakers=2, min_speakers=1)


def test_a_wrong_value_is_told_with_its_option() -> None:
    with pytest.raises(CliError, match=r"^--speakers: Expected `int` >= 1\.$"):
        parameters(num_speakers=0)


def test_an_unknown_language_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(CliError, match="'xx' is not one that Whisper knows"):
        parameters(language="xx")
