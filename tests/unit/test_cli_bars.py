import pytest

from cli.bars import Lines, printable


def test_without_a_terminal_a_stage_gets_a_line_every_quarter(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    for fraction in (0.0, 0.1, 0.26, 0.27, 0.8, 1.0, 1.0):
        lines.stage("", "transcribing", fraction)
    assert capsys.readouterr().err.splitlines() == ["transcribing 25%", "transcribing 75%", "transcribing 100%"]


def test_several_files_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    lines.stage("a.mp4", "uploading", 1.0)
    lines.stage("b.mp4", "uploading", 1.0)
    assert capsys.readouterr().err.splitlines() == ["uploading 100% a.mp4", "uploading 100% b.mp4"]


def test_a_file_name_cannot_move_the_cursor() -> None:
    assert printable("a\nb\x1b[2Jc 🎬") == "a b [2Jc 🎬"
