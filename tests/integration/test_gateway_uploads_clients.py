"""A tus client as people have it, over a line that breaks, while the gateway is killed."""

import sys
from pathlib import Path

import pytest
from nats.aio.client import Client
from tusclient.client import TusClient

from benchmarks.uploads import CUTS, over_a_bad_line
from cli.standalone.nats import NatsServer


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_tuspy_gets_every_byte_through_cuts_and_a_kill(client: Client, nats_server: NatsServer, tmp_path: Path) -> None:
    path = tmp_path / "talk.mp4"
    path.write_bytes(bytes(range(253)) * 40_000)

    def upload(endpoint: str, path: Path) -> str:
        uploader = TusClient(endpoint).uploader(str(path), chunk_size=4 << 20, retries=200, retry_delay=0.1)
        uploader.upload()
        return str(uploader.url)

    outcome = over_a_bad_line("tuspy", upload, path, tmp_path, nats_server.url)

    assert outcome.identical
    assert (outcome.cuts, outcome.kills) == (CUTS, 1)
