"""The script of the API reference."""

from pathlib import Path

import pytest

from cli.assets import install
from cli.errors import CliError


def test_a_package_that_is_not_the_pinned_one_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="not the one expected"):
        install(b"something else", tmp_path / "assets" / "scalar.js")
    assert list(tmp_path.iterdir()) == []
