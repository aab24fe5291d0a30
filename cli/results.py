"""The subtitles of a finished job as files: `talk.mp4` gives `talk.srt`, `talk.vtt`, `talk.json` and `talk.txt`."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cli.client import FORMATS, Api
from cli.errors import CliError


class Unwritable(CliError):
    """There is no place for the subtitles."""


def check_recording(path: Path) -> None:
    """Refuse what cannot be read, before anything is started or sent. Raises CliError."""
    if path.is_dir():
        raise CliError(f"{path} is a folder; name the recordings in it.")
    try:
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise CliError(f"There is no file {path}.") from None
    except OSError as error:
        raise CliError(f"{path} cannot be read: {error.strerror}.") from None


def places(recordings: Sequence[Path], folder: Path | None) -> dict[Path, Path]:
    """Where the subtitles of each recording go, without their suffix. Makes the folder.

    Raises CliError where they could not be written, or would replace a recording or one another.
    """
    stems: dict[Path, Path] = {}
    for recording in recordings:
        stem = (folder or recording.parent) / (recording.stem or recording.name)
        if stem in stems.values():
            raise CliError(f"Two recordings would write {stem}.srt; give one of them another name or --output.")
        for target in _targets(stem).values():
            if target.exists() and recording.exists() and target.samefile(recording):
                raise CliError(f"The subtitles would replace {recording}; choose another folder with --output.")
        stems[recording] = stem
    for parent in {stem.parent for stem in stems.values()}:
        make_folder(parent)
        if not os.access(parent, os.W_OK):
            raise CliError(f"The folder {parent} cannot be written to; choose another with --output.")
    return stems


async def write(api: Api, job_id: str, token: str, stem: Path) -> dict[str, Path]:
    """Fetch every format and put it in place whole, replacing an earlier one. Returns format to file."""
    targets = _targets(stem)
    for name, target in targets.items():
        async with api.download(job_id, token, name) as blocks:
            with _whole(target) as file:
                async for block in blocks:
                    file.write(block)
    return targets


def are_there(stem: Path) -> bool:
    """Whether a file has the name that one of the results would have."""
    return any(os.path.lexists(target) for target in _targets(stem).values())


def error_file(stem: Path) -> Path:
    """Where it is said why there are no subtitles."""
    return stem.with_name(f"{stem.name}.error.txt")


def write_text(target: Path, text: str) -> None:
    """Put a text in place whole. Raises Unwritable."""
    with _whole(target) as file:
        file.write(text.encode(errors="replace"))


def make_folder(folder: Path) -> None:
    """Raises Unwritable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unwritable(f"The folder {folder} cannot be made: {error.strerror}.") from error


@contextmanager
def _whole(target: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of the target once everything is in it. Raises Unwritable."""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".subtide-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                os.fchmod(file.fileno(), 0o666 & ~_umask())
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise Unwritable(f"{target} cannot be written: {error.strerror}.") from error


def _targets(stem: Path) -> dict[str, Path]:
    return {name: stem.with_name(f"{stem.name}.{name}") for name in FORMATS}


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
