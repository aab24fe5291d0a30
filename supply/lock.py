"""`make lock`: every package that is installed, each with its version and the SHA-256 of each of its files on PyPI.

uv resolves `pyproject.toml` for every Python and platform at once, and keeps the versions that are locked already
(`--upgrade` raises all, `--upgrade-package NAME` one). The answer is written as three files, for `setup_venv.py`:

- `build.txt`: what installs and builds packages; it comes first, so that no build fetches anything;
- `locked.txt`: everything else but
- `torch.txt`: torch as PyPI has it, and the CUDA libraries that its Linux build needs. Where pip knows a source of the
  CPU build, `torch-cpu.txt` takes its place.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
BUILD, LOCKED, TORCH = FOLDER / "build.txt", FOLDER / "locked.txt", FOLDER / "torch.txt"
TORCH_CPU = FOLDER / "torch-cpu.txt"

_BUILDERS = re.compile(r"(pip|setuptools)==")
_TORCH = re.compile(r"((nvidia|cuda)-[a-z0-9-]+|torch|triton)==")
_ENTRY = re.compile(r"^(?=[a-z0-9])", re.MULTILINE)
_HEADER = "# Written by `make lock`; do not edit.\n"


def main(arguments: list[str]) -> int:
    """Write the three files. Arguments go to uv; returns its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        resolved = Path(folder) / "locked.txt"
        resolved.write_text("".join(_pins(file) for file in (BUILD, LOCKED, TORCH) if file.is_file()))
        builders = "\n".join(tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"])
        command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "-", "--extra=all", "--extra=dev"]
        command += ["--universal", "--python-version=3.11", "--fork-strategy=fewest", "--generate-hashes", "--quiet"]
        command += ["--no-header", "--no-annotate", f"--output-file={resolved}", *arguments]
        status = subprocess.run(command, cwd=ROOT, input=builders, text=True, check=False).returncode
        if status:
            return status
        entries = [entry for entry in _ENTRY.split(resolved.read_text()) if _ENTRY.match(entry)]
    _write(BUILD, entries, lambda entry: bool(_BUILDERS.match(entry)))
    _write(TORCH, entries, lambda entry: bool(_TORCH.match(entry)))
    _write(LOCKED, entries, lambda entry: not _BUILDERS.match(entry) and not _TORCH.match(entry))
    version = next(entry for entry in entries if entry.startswith("torch==")).split()[0]
    if f"{version}+cpu " not in TORCH_CPU.read_text():
        sys.exit(f"{TORCH_CPU.relative_to(ROOT)} is not for {version}: put the hashes of its CPU builds there.")
    return 0


def _pins(file: Path) -> str:
    """The versions alone, so that the hashes are asked for anew."""
    first_lines = (line for line in file.read_text().splitlines() if _ENTRY.match(line))
    return "".join(line.removesuffix(" \\") + "\n" for line in first_lines)


def _write(file: Path, entries: list[str], belongs: Callable[[str], bool]) -> None:
    part = file.with_suffix(".part")
    part.write_text(_HEADER + "".join(entry for entry in entries if belongs(entry)))
    part.replace(file)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
