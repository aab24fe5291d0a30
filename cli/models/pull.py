"""Installs models. What is under a model's name is always whole: it is fetched beside, checked, and moved in.

One pull at a time works on a folder of models; what a killed one left behind is removed by the next.
"""

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock
import msgspec

from chassis.models import STAMP, Model, Stamp, StampedFile, Variant, measure, trusted
from cli.bars import Display
from cli.errors import CliError
from cli.models.packages import Packages
from cli.models.refusal import SourceFailed, sentence_of
from cli.models.sources import Attempt, attempts

_LOCK = ".pull.lock"
_SCRATCH = ".pull-"
_POLL_S = 0.25


def pull(
    models: Sequence[Model], folder: Path, *, local: Path | None, environ: Mapping[str, str], shown: Display
) -> None:
    """Install every model that is not there yet. Raises CliError that says what was tried and what to do.

    A model that fails does not keep the others from being installed.
    """
    if all(trusted(folder / model.name, model) for model in models):
        return
    failures = []
    try:
        with _exclusive(folder, shown), _scratch(folder) as scratch:
            packages = Packages(scratch, environ)
            for model in models:
                target = folder / model.name
                if trusted(target, model) is None and not _adopted(target, model):
                    ways = attempts(model, packages, local=local, environ=environ)
                    failures += _install(model, ways, target, scratch, shown)
    except OSError as error:
        raise CliError(f"{folder} cannot be used: {sentence_of(error)}. SUBTIDE_MODELS_DIR names another.") from error
    if failures:
        raise CliError("\n".join(failures))


def distrust(folder: Path) -> None:
    """Make the next pull hash what is in a model's folder, and replace it where it is wrong."""
    with suppress(OSError):
        (folder / STAMP).unlink()


def _install(model: Model, ways: Iterator[Attempt], target: Path, scratch: Path, shown: Display) -> list[str]:
    """Try every way until one gives the model. Returns what to tell if none did."""
    tried = []
    for attempt in ways:
        staging = Path(tempfile.mkdtemp(prefix="model-", dir=scratch))
        shown.say(f"{model.name}: from {attempt.origin}")
        try:
            _require_room(scratch, attempt.bytes_to_come)
            with _measured(scratch, attempt.bytes_to_come, model.name, shown):
                attempt.fetch(staging)
            stamp = Stamp(model=model.name, source=attempt.origin, files=_checked(staging, attempt.variant))
            _move_in(staging, target, stamp, scratch)
        except (SourceFailed, OSError) as error:
            reason = sentence_of(error) if isinstance(error, OSError) else str(error)
            shown.say(f"{model.name}: {reason}")
            tried.append(f"  {attempt.origin}: {reason}")
            shutil.rmtree(staging, ignore_errors=True)
        else:
            shown.stage(model.name, "pulling", 1.0)
            return []
    return [
        f"{model.name} could not be installed. Tried, in this order:\n" + "\n".join(tried) + "\n"
        f"Put one of these right and run `subtide models pull {model.name}` again, or `subtide models pull --from DIR` "
        f"with its files in DIR/{model.name}."
    ]


def _checked(staging: Path, variant: Variant) -> list[StampedFile]:
    """Hash what was fetched and bring it safely to disk. Raises SourceFailed where it is not the variant."""
    expected = {file.path: file for file in variant.files}
    paths = list(expected) or sorted(str(path.relative_to(staging)) for path in staging.rglob("*") if path.is_file())
    files = measure(staging, paths)
    for file in files:
        wanted = expected.get(file.path, file)
        if file.size_bytes != wanted.size_bytes:
            raise SourceFailed(f"{file.path} has {file.size_bytes} bytes and should have {wanted.size_bytes}")
        if file.sha256 != wanted.sha256:
            raise SourceFailed(f"{file.path} has SHA-256 {file.sha256[:12]}... and should have {wanted.sha256[:12]}...")
        _sync(staging / file.path)
    return files


def _move_in(staging: Path, target: Path, stamp: Stamp, scratch: Path) -> None:
    """Give a checked model its name. Killed between the two renames it leaves no model, never half of one."""
    _write_stamp(staging, stamp)
    staging.chmod(0o755)
    if target.exists():
        target.rename(Path(tempfile.mkdtemp(prefix="old-", dir=scratch)) / target.name)
    staging.rename(target)
    _sync(target.parent)


def _adopted(target: Path, model: Model) -> bool:
    """Whether files that somebody put there are a variant of the model; if so they are stamped."""
    for variant in model.variants:
        paths = [file.path for file in variant.files]
        if not paths or any(not (target / path).is_file() for path in paths):
            continue
        try:
            files = _checked(target, variant)
        except SourceFailed:
            continue
        with suppress(PermissionError):  # a read-only folder is good enough
            _write_stamp(target, Stamp(model=model.name, source="found there", files=files))
        return True
    return False


def _write_stamp(folder: Path, stamp: Stamp) -> None:
    fresh = folder / f"{STAMP}.new"
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(stamp), indent=2))
    _sync(fresh)
    fresh.replace(folder / STAMP)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _require_room(folder: Path, size_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < size_bytes:
        raise SourceFailed(
            f"there is not enough room on the disk: {size_bytes / 1e6:.0f} MB are needed, "
            f"{free_bytes / 1e6:.0f} MB are free"
        )


@contextmanager
def _exclusive(folder: Path, shown: Display) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / _LOCK)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        shown.say(f"Another pull is at work in {folder}; waiting for it ...")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder to work in, on the disk that the models are moved to. Only the holder of the lock may be here."""
    for left_behind in folder.glob(f"{_SCRATCH}*/"):
        shutil.rmtree(left_behind, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=folder))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _measured(scratch: Path, bytes_to_come: int, name: str, shown: Display) -> Iterator[None]:
    """Show how far a download is by what it has written, which is the same for every source."""
    done = threading.Event()
    before_bytes = _written(scratch)

    def watch() -> None:
        while not done.wait(_POLL_S):
            fraction = (_written(scratch) - before_bytes) / bytes_to_come if bytes_to_come else 0.0
            shown.stage(name, "pulling", min(max(fraction, 0.0), 0.99))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _written(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += (Path(parent) / name).lstat().st_size
    return total
