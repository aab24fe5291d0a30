"""`make sbom`: a CycloneDX bill of materials of what is installed here, with the models and the script of the pages.

The packages are those of the environment that runs this (developers' tools included), read by cyclonedx-py with their
licences and what depends on what. The models are those of the manifest, each file with its SHA-256. The same
environment gives the same bytes.
"""

import base64
import subprocess
import sys
from pathlib import Path

import msgspec
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from chassis import models
from cli.assets import SCALAR_SHA512
from services.gateway.assets import SCALAR_VERSION

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "build" / "sbom.cdx.json"
_VERSION = SchemaVersion.V1_6


def main() -> None:
    """Write the bill. Exits with a sentence where it does not hold to its own schema."""
    written = document()
    error = JsonStrictValidator(_VERSION).validate_str(written)
    if error is not None:
        sys.exit(f"The bill of materials is not valid CycloneDX: {error}")
    TARGET.parent.mkdir(exist_ok=True)
    part = TARGET.with_suffix(".part")
    part.write_text(written)
    part.replace(TARGET)
    print(f"{TARGET.relative_to(ROOT)}: {len(msgspec.json.decode(written)['components'])} components")


def document() -> str:
    """The bill, as JSON."""
    command = [
        sys.executable,
        "-m",
        "cyclonedx_py",
        "environment",
        "--output-reproducible",
        "--no-validate",
        "--pyproject",
    ]
    packages = subprocess.check_output([*command, "pyproject.toml", sys.executable], cwd=ROOT)
    bom: Bom = Bom.from_json(msgspec.json.decode(packages))  # type: ignore[attr-defined]  # a decorator adds it
    for component in (*model_components(), page_script()):
        bom.components.add(component)
        bom.register_dependency(bom.metadata.component, [component])  # type: ignore[arg-type]  # pyproject.toml gives it
    decoded = msgspec.json.decode(make_outputter(bom, OutputFormat.JSON, _VERSION).output_as_string())
    decoded.pop("serialNumber", None)  # random, as is the time
    decoded["metadata"].pop("timestamp", None)
    return msgspec.json.format(msgspec.json.encode(decoded), indent=2).decode() + "\n"


def model_components() -> list[Component]:
    """Every variant of every model of the manifest; its version is that of where it is fetched from first."""
    return [
        Component(
            type=ComponentType.MACHINE_LEARNING_MODEL,
            bom_ref=f"model:{model.name}:{number}",
            name=model.name,
            version=_version(variant.sources[0]),
            description=model.summary,
            licenses=[LicenseFactory().make_from_string(model.licence)],
            external_references=[ExternalReference(type=ExternalReferenceType.WEBSITE, url=XsUri(model.origin))],
            components=[
                Component(
                    type=ComponentType.FILE,
                    bom_ref=f"model:{model.name}:{number}:{file.path}",
                    name=file.path,
                    hashes=[HashType(alg=HashAlgorithm.SHA_256, content=file.sha256)],
                )
                for file in variant.files
            ],
        )
        for model in models.manifest().models
        for number, variant in enumerate(model.variants, 1)
    ]


def page_script() -> Component:
    """The script of the API reference, as the npm registry has it."""
    return Component(
        type=ComponentType.LIBRARY,
        bom_ref=f"@scalar/api-reference@{SCALAR_VERSION}",
        group="@scalar",
        name="api-reference",
        version=SCALAR_VERSION,
        purl=PackageURL("npm", "@scalar", "api-reference", SCALAR_VERSION),
        licenses=[LicenseFactory().make_from_string("MIT")],
        hashes=[HashType(alg=HashAlgorithm.SHA_512, content=base64.b64decode(SCALAR_SHA512).hex())],
    )


def _version(source: models.Source) -> str:
    if isinstance(source, models.HubSource):
        return source.revision
    return source.wheels[0].requirement.rpartition("==")[2]


if __name__ == "__main__":
    main()
