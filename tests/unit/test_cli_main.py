import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer

from chassis.settings import SettingsError
from cli import main
from cli.errors import CliError
from cli.services import SERVICES
from cli.standalone.folder import DataFolder, default_root
from cli.tokens import SubmittedJob, TokenFile

HEAVY = {"torch", "av", "numpy", "ctranslate2", "faster_whisper", "litestar", "nats", "httpx", "websockets", "asyncpg"}


def commands(group: Any, path: str = "subtide") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} {name}")


COMMANDS = dict(commands(typer.main.get_command(main.app)))


def subtide(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "cli.main", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("path", [path for path, command in COMMANDS.items() if not command.hidden])
def test_every_command_has_help_with_an_example(path: str) -> None:
    assert COMMANDS[path].help
    assert COMMANDS[path].epilog.startswith("Example: ")
    assert path in COMMANDS[path].epilog


def test_every_service_can_run_alone() -> None:
    assert {f"subtide {name}" for name in SERVICES} <= set(COMMANDS)


def test_help_comes_without_loading_anything_heavy() -> None:
    asked = f"import sys, cli.main; print(sorted({HEAVY!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_version_is_that_of_the_package() -> None:
    result = subtide("--version")
    assert (result.returncode, result.stdout.split()[0]) == (0, "subtide")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("submit", "--bogus"), "No such option: --bogus. `subtide submit --help` shows how it is used."),
        (("bogus",), "No such command 'bogus'. `subtide --help` shows how it is used."),
        (("run", "/no/talk.mp4"), "There is no file /no/talk.mp4."),
        (("run", "--speakers", "2", "--min-speakers", "1"), "--speakers excludes --min-speakers and --max-speakers."),
        (("services", "bogus"), f"There is no service bogus. There are: {', '.join(SERVICES)}."),
    ],
)
def test_an_error_is_a_sentence_on_stderr_and_exit_code_1(arguments: tuple[str, ...], sentence: str) -> None:
    result = subtide(*arguments)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", f"subtide: {sentence}\n")


def raised(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    def app(**_: object) -> None:
        raise error

    monkeypatch.setattr(main, "app", app)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_ctrl_c_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert raised(monkeypatch, KeyboardInterrupt()) == 130
    assert capsys.readouterr() == ("", "")


def test_a_wrong_setting_is_found_in_a_group_of_failures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    group = ExceptionGroup("services", [ExceptionGroup("one", [SettingsError("SUBTIDE_WINDOW: Expected `int`")])])
    assert raised(monkeypatch, group) == 1
    assert capsys.readouterr().err == "subtide: SUBTIDE_WINDOW: Expected `int`\n"


def test_even_the_unexpected_is_a_sentence_unless_asked_for_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SUBTIDE_DEBUG", raising=False)
    assert raised(monkeypatch, ZeroDivisionError("division by zero")) == 1
    assert capsys.readouterr().err == (
        "subtide: Unexpected ZeroDivisionError: division by zero. SUBTIDE_DEBUG=1 shows where.\n"
    )
    monkeypatch.setenv("SUBTIDE_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        raised(monkeypatch, ZeroDivisionError("division by zero"))


def test_the_sample_call_is_found_without_loading_what_it_comes_with() -> None:
    asked = "import sys; from cli.run import _sample; print(_sample().is_file(), 'torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["True", "False"]


def test_a_user_who_only_submitted_can_have_a_stack_in_the_same_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    TokenFile().add(
        SubmittedJob(job_id="a", token="b", server="local", filename="c", submitted_at=datetime(2026, 1, 2, tzinfo=UTC))
    )
    assert DataFolder(default_root()).root == tmp_path / "subtide"


def test_an_error_of_ours_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert raised(monkeypatch, CliError("There is no room.")) == 1
    assert capsys.readouterr().err == "subtide: There is no room.\n"
