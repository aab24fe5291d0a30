"""Installing models, without a network: tiny models, wheels made here, and a hub made here."""

import contextlib
import hashlib
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from chassis import models
from chassis.models import HubSource, Model, ModelFile, PackageSource, Variant, Wheel
from cli.bars import Lines
from cli.errors import CliError
from cli.models.pull import distrust, pull
from contracts.failures import FailureCode, Permanent

WEIGHTS = bytes(range(256)) * 1000
CONFIG = b'{"layers": 2}'
HALF = len(WEIGHTS) // 2


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def make_wheel(folder: Path, name: str, members: dict[str, bytes]) -> Wheel:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-1.0.0-py3-none-any.whl"
    info = f"{name}-1.0.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    content = path.read_bytes()
    return Wheel(requirement=f"{name}==1.0.0", sha256=sha256(content), size_bytes=len(content))


class Shop:
    """A tiny model in two wheels, and the environment in which pip finds only them."""

    def __init__(self, root: Path) -> None:
        self.wheels = root / "wheels"
        self.folder = root / "models"
        self.target = self.folder / "tiny"
        parts = [
            make_wheel(self.wheels, "subtide_tiny_1", {"tiny/w.1": WEIGHTS[:HALF], "tiny/config.json": CONFIG}),
            make_wheel(self.wheels, "subtide_tiny_2", {"tiny/w.2": WEIGHTS[HALF:]}),
        ]
        self.packages = PackageSource(
            wheels=parts, members={"model.bin": ["tiny/w.1", "tiny/w.2"], "config.json": ["tiny/config.json"]}
        )
        self.files = [
            ModelFile(path="model.bin", sha256=sha256(WEIGHTS), size_bytes=len(WEIGHTS)),
            ModelFile(path="config.json", sha256=sha256(CONFIG), size_bytes=len(CONFIG)),
        ]
        self.environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "HOME": str(root),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
        }

    def model(self, *sources: models.Source) -> Model:
        variant = Variant(files=self.files, sources=list(sources) or [self.packages])
        return Model(name="tiny", summary="", licence="MIT", origin="", variants=[variant])

    def pull(self, model: Model, **options: str | Path) -> None:
        local = options.get("local")
        environ = self.environ | {name: str(value) for name, value in options.items() if name != "local"}
        pull([model], self.folder, local=Path(local) if local else None, environ=environ, shown=Lines())

    def assert_whole(self) -> None:
        assert (self.target / "model.bin").read_bytes() == WEIGHTS
        assert (self.target / "config.json").read_bytes() == CONFIG
        self.assert_tidy({"tiny"})

    def assert_tidy(self, expected: set[str]) -> None:
        assert {path.name for path in self.folder.iterdir()} - {".pull.lock"} == expected

    def pull_elsewhere(self, model: Model, before: str = "", **environ: str) -> "subprocess.Popen[str]":
        """The same pull in a process of its own."""
        script = f"""
import json, os, sys
from pathlib import Path
import msgspec
from chassis.models import Model
from cli.bars import Lines
from cli.errors import CliError
from cli.models.pull import pull
{before}
try:
    pull([msgspec.json.decode(sys.argv[1], type=Model)], Path(sys.argv[2]),
         local=Path(sys.argv[3]) if len(sys.argv) > 3 else None, environ=os.environ, shown=Lines())
except CliError as error:
    sys.exit(str(error))
"""
        command = [sys.executable, "-c", script, msgspec.json.encode(model).decode(), str(self.folder)]
        return subprocess.Popen(
            command, env=self.environ | environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_the_parts_of_a_model_are_joined_and_a_second_pull_needs_no_source(shop: Shop) -> None:
    shop.pull(shop.model())
    shop.assert_whole()
    assert models.problems(shop.target, shop.model()) == []

    for wheel in shop.wheels.iterdir():
        wheel.unlink()
    shop.pull(shop.model())
    shop.assert_whole()


def test_a_wheel_that_is_not_the_known_one_is_refused_and_the_next_source_tried(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    other = msgspec.structs.replace(shop.packages.wheels[0], sha256="0" * 64)
    wrong = msgspec.structs.replace(shop.packages, wheels=[other, shop.packages.wheels[1]])

    shop.pull(shop.model(wrong, shop.packages))

    shop.assert_whole()
    assert "its SHA-256 differs" in capsys.readouterr().err


def test_a_truncated_wheel_leaves_nothing_and_the_sentence_says_what_to_do(shop: Shop) -> None:
    wheel = next(shop.wheels.glob("*tiny_2*"))
    wheel.write_bytes(wheel.read_bytes()[:1000])

    with pytest.raises(CliError, match=r"(?s)tiny could not be installed.*subtide models pull tiny"):
        shop.pull(shop.model())

    shop.assert_tidy(set())


def test_files_with_another_hash_than_the_manifest_says_are_not_installed(shop: Shop) -> None:
    shop.files = [msgspec.structs.replace(shop.files[0], sha256="f" * 64), shop.files[1]]

    with pytest.raises(CliError, match=r"model\.bin has SHA-256 \w+\.\.\. and should have ffff"):
        shop.pull(shop.model())

    shop.assert_tidy(set())


def test_a_local_folder_comes_first_and_a_wrong_one_is_passed_over(shop: Shop, tmp_path: Path) -> None:
    usb = tmp_path / "usb" / "tiny"
    usb.mkdir(parents=True)
    (usb / "model.bin").write_bytes(WEIGHTS)
    (usb / "config.json").write_bytes(CONFIG)
    nowhere = shop.model(HubSource(repo="a/b"))

    shop.pull(nowhere, local=tmp_path / "usb")
    shop.assert_whole()

    (shop.target / "model.bin").unlink()
    (usb / "model.bin").write_bytes(WEIGHTS[:-1])
    shop.pull(shop.model(), local=tmp_path / "usb")
    shop.assert_whole()


def test_with_no_network_the_error_names_every_source_and_the_command(shop: Shop, tmp_path: Path) -> None:
    hub = HubSource(repo="somebody/tiny")
    gated = HubSource(repo="somebody/secret", gated=True)
    (tmp_path / "empty").mkdir()

    with pytest.raises(CliError) as refused:
        shop.pull(
            shop.model(hub, gated, shop.packages),
            HF_ENDPOINT=f"http://127.0.0.1:{closed_port()}",
            PIP_FIND_LINKS=tmp_path / "empty",
        )

    said = str(refused.value)
    assert "somebody/tiny): no answer" in said
    assert "set HF_TOKEN" in said
    assert "no package index that pip knows has subtide_tiny_1==1.0.0" in said
    assert "subtide models pull tiny" in said
    shop.assert_tidy(set())


def test_files_that_somebody_put_there_are_taken_when_their_hashes_are_right(shop: Shop) -> None:
    shop.target.mkdir(parents=True)
    (shop.target / "model.bin").write_bytes(WEIGHTS)
    (shop.target / "config.json").write_bytes(CONFIG)
    assert models.trusted(shop.target, shop.model()) is None

    shop.pull(shop.model(HubSource(repo="a/b", gated=True)))

    assert models.trusted(shop.target, shop.model()) is not None


def test_silent_damage_is_found_by_verify_and_put_right_by_the_next_pull(shop: Shop) -> None:
    shop.pull(shop.model())
    weights = shop.target / "model.bin"
    times = weights.stat()
    weights.write_bytes(WEIGHTS[:-1] + b"x")
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert models.trusted(shop.target, shop.model()) is not None

    (problem,) = models.problems(shop.target, shop.model())
    distrust(shop.target)
    shop.pull(shop.model())

    assert "has another SHA-256" in problem
    shop.assert_whole()


@pytest.mark.parametrize("source", ["packages", "folder"])
def test_a_full_disk_is_a_sentence_and_leaves_nothing(shop: Shop, tmp_path: Path, source: str) -> None:
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    if source == "folder":
        usb = tmp_path / "usb" / "tiny"
        usb.mkdir(parents=True)
        (usb / "model.bin").write_bytes(WEIGHTS)
        (usb / "config.json").write_bytes(CONFIG)
        full += f"; sys.argv.append({str(usb.parent)!r})"
        process = shop.pull_elsewhere(shop.model(HubSource(repo="a/b", gated=True)), before=full)
    else:
        process = shop.pull_elsewhere(shop.model(), before=full)

    output, _ = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "not enough room on the disk" in output
    assert "Traceback" not in output
    shop.assert_tidy(set())


def test_a_model_larger_than_the_free_space_is_refused_before_a_byte_is_fetched(shop: Shop) -> None:
    shop.files = [msgspec.structs.replace(shop.files[0], size_bytes=1 << 60), shop.files[1]]

    with pytest.raises(CliError, match=r"not enough room on the disk: \d+ MB are needed"):
        shop.pull(shop.model())


def test_two_pulls_at_once_end_with_one_whole_model(shop: Shop) -> None:
    processes = [shop.pull_elsewhere(shop.model()) for _ in range(2)]

    for process in processes:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
    shop.assert_whole()


def test_after_a_kill_in_mid_pull_the_next_one_succeeds_and_cleans_up(shop: Shop) -> None:
    with hanging_server() as (url, reached):
        process = shop.pull_elsewhere(shop.model(HubSource(repo="a/b")), HF_ENDPOINT=url)
        assert reached.wait(30)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert list(shop.folder.glob(".pull-*")), "the killed pull was at work"

    shop.pull(shop.model())

    shop.assert_whole()


def test_a_model_of_the_hub_that_nobody_pinned_is_pinned_by_its_first_pull(shop: Shop) -> None:
    source = HubSource(repo="somebody/tiny", patterns=["model.bin", "config.json"], required=["model.bin"])
    model = msgspec.structs.replace(shop.model(), variants=[Variant(files=[], sources=[source])])
    assert not models.is_complete(shop.target, model)

    with hub({"model.bin": WEIGHTS, "config.json": CONFIG, "README.md": b"not wanted"}) as url:
        shop.pull(model, HF_ENDPOINT=url)

    shop.assert_whole()
    assert models.is_complete(shop.target, model)
    assert models.trusted(shop.target, model) is not None
    (shop.target / "config.json").write_bytes(b"{}")
    assert models.trusted(shop.target, model) is None
    assert models.problems(shop.target, model) != []


def test_a_hub_with_other_files_than_the_manifest_says_is_passed_over(shop: Shop) -> None:
    with hub({"model.bin": WEIGHTS[::-1], "config.json": CONFIG}) as url:
        shop.pull(shop.model(HubSource(repo="somebody/tiny"), shop.packages), HF_ENDPOINT=url)

    shop.assert_whole()


def test_a_missing_model_names_the_command_that_installs_it(tmp_path: Path) -> None:
    environ = {"SUBTIDE_MODELS_DIR": str(tmp_path)}

    with pytest.raises(Permanent, match="run `subtide models pull whisper-base`") as missing:
        models.find("base", environ)
    with pytest.raises(Permanent, match="there is no model 'huge'") as unknown:
        models.find("huge", environ)

    assert missing.value.code is FailureCode.MODEL_MISSING
    assert unknown.value.code is FailureCode.MODEL_UNKNOWN


def test_the_manifest_pins_every_file_and_every_package_of_the_default_models() -> None:
    defaults = models.manifest().defaults()

    assert [model.name for model in defaults] == ["whisper-base", "segmentation-3.0", "campplus"]
    for model in defaults:
        assert model.licence
        for variant in model.variants:
            assert variant.files
            for source in variant.sources:
                if isinstance(source, PackageSource):
                    assert set(source.members) == {file.path for file in variant.files}
                    assert all("==" in wheel.requirement and len(wheel.sha256) == 64 for wheel in source.wheels)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def hanging_server() -> Iterator[tuple[str, threading.Event]]:
    """Accepts connections and never answers."""
    reached = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                connections.append(listener.accept()[0])
                reached.set()

        connections: list[socket.socket] = []
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", reached
        for connection in connections:
            connection.close()


@contextlib.contextmanager
def hub(files: dict[str, bytes]) -> Iterator[str]:
    """As much of the Hugging Face hub as a download of one repository asks for."""
    commit = "1" * 40

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if "/tree/" in path:
                tree = [
                    {"type": "file", "path": name, "size": len(content), "oid": sha256(content)[:40]}
                    for name, content in files.items()
                ]
                self.answer(json.dumps(tree).encode())
            elif path.startswith("/api/models/"):
                siblings = [{"rfilename": name} for name in files]
                self.answer(json.dumps({"id": "somebody/tiny", "sha": commit, "siblings": siblings}).encode())
            elif (name := path.rpartition("/")[2]) in files:
                self.answer(files[name], {"ETag": f'"{sha256(files[name])[:40]}"', "X-Repo-Commit": commit})
            else:
                self.send_error(404)

        def answer(self, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: the tests' output is for the tests."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
