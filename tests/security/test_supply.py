"""What is installed is what was locked, and what is said of it is true."""

import io
import re
import tomllib
import zipfile
from hashlib import sha256
from pathlib import Path
from subprocess import run
from sys import executable

import pytest
from cyclonedx.model.bom import Bom
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from chassis import models
from supply import audit, sbom
from supply.lock import BUILD, LOCKED, ROOT, TORCH, TORCH_CPU

FILES = (BUILD, LOCKED, TORCH, TORCH_CPU)


def entries(file: Path) -> list[str]:
    """The requirements of a file, each with its continuation lines joined."""
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    return "\n".join(lines).replace("\\\n", " ").splitlines()


def locked() -> dict[str, list[Requirement]]:
    """Every locked requirement, by name."""
    found: dict[str, list[Requirement]] = {}
    for file in FILES:
        for entry in entries(file):
            requirement = Requirement(entry.partition("--hash")[0].strip())
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_locked_package_has_one_version_and_the_hashes_of_its_files(file: Path) -> None:
    assert entries(file)
    for entry in entries(file):
        assert re.fullmatch(r"[a-z0-9-]+==\S+( ; [^#]+?)?\s+(--hash=sha256:[0-9a-f]{64}\s*)+", entry), entry


def test_everything_that_the_project_asks_for_is_locked_at_a_version_it_accepts() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    asked += [one for extra in project["project"]["optional-dependencies"].values() for one in extra]
    pins = locked()
    for requirement in map(Requirement, asked):
        if requirement.name == "subtide":
            continue
        pinned = pins.get(canonicalize_name(requirement.name))
        assert pinned, f"{requirement} is not locked: make lock"
        for pin in pinned:
            assert requirement.specifier.contains(next(iter(pin.specifier)).version), f"{pin} is not {requirement}"


def test_the_cpu_builds_of_torch_are_of_the_locked_version() -> None:
    (pypi,) = [one for one in entries(TORCH) if one.startswith("torch==")]
    (cpu,) = entries(TORCH_CPU)

    assert cpu.split()[0] == f"{pypi.split()[0]}+cpu"


@pytest.mark.parametrize("changed", [False, True])
def test_a_file_is_installed_only_with_the_hash_that_was_locked(tmp_path: Path, changed: bool) -> None:
    wheel = tmp_path / "subtide_probe-1.0-py3-none-any.whl"
    wheel.write_bytes(probe("1"))
    requirements = tmp_path / "locked.txt"
    requirements.write_text(f"subtide-probe==1.0 --hash=sha256:{sha256(wheel.read_bytes()).hexdigest()}\n")
    if changed:
        wheel.write_bytes(probe("2"))

    command = [executable, "-m", "pip", "install", "--isolated", "--no-index", f"--find-links={tmp_path}", "--no-deps"]
    command += [f"--target={tmp_path / 'installed'}", "--require-hashes", "-r", str(requirements)]
    result = run(command, capture_output=True, text=True, check=False)

    assert (tmp_path / "installed" / "subtide_probe.py").exists() is not changed
    assert bool(result.returncode) is changed
    assert ("DO NOT MATCH THE HASHES" in result.stderr) is changed


def test_an_audit_that_could_ask_nobody_is_no_success() -> None:
    unknown = audit.Audited(name="a", skip_reason="not found")
    clean = audit.Audited(name="b", version="1.0")
    flaw = audit.Vulnerability(id="CVE-2026-1", fix_versions=["1.1"])
    vulnerable = audit.Audited(name="c", version="1.0", vulns=[flaw])

    assert audit.verdict("pypi", audit.Report(dependencies=[clean])) == 0
    assert audit.verdict("pypi", audit.Report(dependencies=[clean, unknown])) == audit.UNKNOWN
    assert audit.verdict("pypi", audit.Report(dependencies=[clean, unknown, vulnerable])) == audit.VULNERABLE


def test_the_bill_of_materials_names_every_model_with_the_hash_of_each_file_and_is_valid() -> None:
    bom = Bom(components=[*sbom.model_components(), sbom.page_script()])
    written = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string()

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(written) is None
    for model in models.manifest().models:
        assert f'"{model.name}"' in written
        for variant in model.variants:
            for file in variant.files:
                assert file.sha256 in written


def test_the_threat_model_names_only_tests_that_exist() -> None:
    named = re.findall(r"`(tests/\S+?)`", (ROOT / "SECURITY.md").read_text())

    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def probe(value: str) -> bytes:
    """A wheel with one module."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("subtide_probe.py", f"VALUE = {value}\n")
        folder = "subtide_probe-1.0.dist-info"
        archive.writestr(f"{folder}/METADATA", "Metadata-Version: 2.1\nName: subtide-probe\nVersion: 1.0\n")
        archive.writestr(
            f"{folder}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{folder}/RECORD", "")
    return content.getvalue()
