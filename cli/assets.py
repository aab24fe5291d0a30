"""`subtide assets`: what the gateway's pages need from elsewhere, fetched once so that no page loads it from there."""

import base64
import hashlib
import io
import os
import tarfile
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CliError
from services.gateway.assets import SCALAR_VERSION, scalar_path

app = typer.Typer(help="The script of the API reference at /docs.", no_args_is_help=True)

SCALAR_SHA512 = "XpEJ0rfc/cXbCrR+iC4kK0o/WwX2dTtGQbT049OlPKAHD6IMIFdTeGz2r+M27P2EDWKyUITRm/NzlP8z2pw/Ow=="
"""Subresource integrity of the package, as the registry publishes it; it changes with the version."""
_PACKAGE = "@scalar/api-reference"
_MEMBER = "package/dist/browser/standalone.js"
_REGISTRY = "https://registry.npmjs.org"
_TIMEOUT_S = 60.0
_BYTES_MAX = 64 << 20


@app.command(epilog="Example: subtide assets pull")
def pull(
    force: Annotated[bool, typer.Option("--force", help="Fetch it even if it is there.")] = False,
) -> None:
    """Fetch the script of the API reference (10 MB, once). Without it /docs is a plain list."""
    path = scalar_path()
    if path.is_file() and not force:
        typer.echo(f"The API reference is installed: {path}")
        return
    install(fetch(), path)
    typer.echo(f"Installed the API reference: {path}")


def fetch() -> bytes:
    """The package from the npm registry (npm_config_registry is honoured). Raises CliError where it cannot be had."""
    import httpx

    configured = os.environ.get("npm_config_registry")  # noqa: SIM112 - npm's own spelling
    registry = (configured or _REGISTRY).rstrip("/")
    url = f"{registry}/{_PACKAGE}/-/api-reference-{SCALAR_VERSION}.tgz"
    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=_TIMEOUT_S) as answer:
            answer.raise_for_status()
            content = bytearray()
            for block in answer.iter_bytes():
                content += block
                if len(content) > _BYTES_MAX:
                    raise CliError(f"{url} is larger than {_BYTES_MAX} bytes and cannot be what was asked for.")
    except httpx.HTTPError as error:
        raise CliError(
            f"The API reference could not be fetched from {url}: {error or type(error).__name__}. "
            "The server works without it; run `subtide assets pull` again later."
        ) from error
    return bytes(content)


def install(package: bytes, path: Path) -> None:
    """Put the script of a package in its place, whole or not at all. Raises CliError on any other package."""
    found = base64.b64encode(hashlib.sha512(package).digest()).decode()
    if found != SCALAR_SHA512:
        raise CliError(f"The package of the API reference is not the one expected (sha512-{found}).")
    with tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as archive:
        member = archive.extractfile(_MEMBER)
        assert member is not None
        script = member.read()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            part = Path(file.name)
            file.write(script)
        part.chmod(0o644)
        part.replace(path)
    except OSError as error:
        raise CliError(f"{path} cannot be written: {error.strerror or error}.") from error
