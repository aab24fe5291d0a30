"""Which server a command talks to."""

import os
from pathlib import Path

from cli.standalone.folder import default_root, read_running

DEFAULT_URL = "http://127.0.0.1:8000"


def data_root(given: Path | None = None) -> Path:
    """The data folder of the stack on this machine: as given, else SUBTIDE_DATA, else a folder of the user's."""
    named = given or os.environ.get("SUBTIDE_DATA", "")
    return (Path(named) if named else default_root()).expanduser().absolute()


def server_address(given: str | None) -> str:
    """The address given, else that of the stack that runs on this machine, else where one runs by default."""
    if given:
        return given
    running = read_running(data_root())
    return running.gateway_url if running else DEFAULT_URL
