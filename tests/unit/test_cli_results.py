import os
from pathlib import Path

import pytest

from cli.errors import CliError
from cli.results import check_recording, places


def recording(path: Path) -> Path:
    path.write_bytes(b"sound")
    return path


def test_subtitles_go_beside_the_recording_unless_a_folder_is_given(tmp_path: Path) -> None:
    talk = recording(tmp_path / "my talk.v2.mp4")
    assert places([talk], None) == {talk: tmp_path / "my talk.v2"}
    assert places([talk], tmp_path / "out" / "subs") == {talk: tmp_path / "out" / "subs" / "my talk.v2"}
    assert (tmp_path / "out" / "subs").is_dir()


def test_two_recordings_never_write_the_same_file(tmp_path: Path) -> None:
    talks = [recording(tmp_path / "talk.mp4"), recording(tmp_path / "talk.mp3")]
    with pytest.raises(CliError, match=r"Two recordings would write .*talk\.srt"):
        places(talks, None)


def test_a_recording_is_never_replaced_by_its_subtitles(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="would replace"):
        places([recording(tmp_path / "talk.txt")], None)


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    talk = recording(tmp_path / "talk.mp4")
    with pytest.raises(CliError, match="cannot be made"):
        places([talk], talk)


def test_a_missing_file_a_folder_and_an_unreadable_file_each_have_their_sentence(tmp_path: Path) -> None:
    with pytest.raises(CliError, match=r"There is no file .*talk\.mp4"):
        check_recording(tmp_path / "talk.mp4")
    with pytest.raises(CliError, match="is a folder"):
        check_recording(tmp_path)
    locked = recording(tmp_path / "locked.mp4")
    locked.chmod(0)
    if os.getuid() != 0:
        with pytest.raises(CliError, match="cannot be read"):
            check_recording(locked)
