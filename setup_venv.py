"""Makes `.venv` with everything Subtide needs; run by `make setup` with the system's Python.

Standard library only. Safe to repeat (a stamp of the inputs makes it a no-op), to run twice at once (a lock) and to
kill at any point: an environment whose install did not finish is made anew. Nothing is installed that is not locked in
`supply/` with the hash of its file.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / ".subtide-installed"
INCOMPLETE = VENV / ".subtide-incomplete"
LOCKS = ("supply/build.txt", "supply/locked.txt", "supply/torch-cpu.txt", "supply/torch.txt")
INPUTS = ("pyproject.toml", *LOCKS, "setup_venv.py")


def main() -> None:
    """Install unless the stamp says that these very inputs are installed."""
    if sys.version_info < (3, 11):
        sys.exit(f"Subtide needs Python 3.11 or newer, this is {sys.version.split()[0]}. Try make PYTHON=python3.12")
    with (ROOT / ".venv.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another setup is at work here; waiting for it ...", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = _digest()
        if STAMP.is_file() and STAMP.read_text() == wanted:
            return
        if INCOMPLETE.exists() or not (VENV / "bin" / "python").exists():
            shutil.rmtree(VENV, ignore_errors=True)
        print("Installing into .venv (a few minutes the first time) ...", flush=True)
        VENV.mkdir(exist_ok=True)
        INCOMPLETE.touch()
        if not (VENV / "bin" / "pip").exists():
            venv.create(VENV, with_pip=True)
        build, locked, torch_cpu, torch = LOCKS
        _must(_locked(build))
        _must(_locked(locked))
        # The CPU build where pip knows a source of it: the one on PyPI brings gigabytes of CUDA libraries.
        if sys.platform != "linux" or _locked(torch_cpu, quiet=True):
            _must(_locked(torch))
        _must(_pip("-e", "."))
        INCOMPLETE.unlink()
        STAMP.write_text(wanted)


def _locked(requirements: str, *, quiet: bool = False) -> int:
    """Install what a file names, if the hashes of what is fetched are those in the file."""
    return _pip("--require-hashes", "-r", requirements, quiet=quiet)


def _pip(*what: str, quiet: bool = False) -> int:
    """Install exactly this, nothing that it depends on and nothing to build it with; returns the exit status."""
    command = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    return subprocess.run(
        [*command, "--no-deps", "--no-build-isolation", *what],
        cwd=ROOT,
        env=os.environ | {"PYTHONWARNINGS": "ignore:Editable installation"},
        stderr=subprocess.DEVNULL if quiet else None,
        check=False,
    ).returncode


def _must(status: int) -> None:
    if status:
        sys.exit("The installation failed; the lines above say why. `make setup` starts it again.")


def _digest() -> str:
    sha256 = hashlib.sha256(str(ROOT).encode() + sys.version.encode())
    for name in INPUTS:
        sha256.update((ROOT / name).read_bytes())
    return sha256.hexdigest()


if __name__ == "__main__":
    os.umask(0o022)
    main()
