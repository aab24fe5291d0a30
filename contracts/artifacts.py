"""Keys and digests of stored artifacts.

The key of a stage's result is the digest of everything it was made from, so a stage that finds its key need not
work. Inputs are named by the digests in *their* keys: a key can be computed without reading a byte.
"""

import hashlib
from typing import Any

import msgspec
from blake3 import blake3

from contracts.parameters import Parameters

LEAF_BYTES = 8 << 20
"""How much of a file one leaf of its digest covers. Another number gives every file another digest (docs/adr/0007)."""


class ArtifactRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where an artifact lies and what stands for it in the keys of what is made from it."""

    key: str
    digest: str
    """Hex: the `ContentDigest` of an upload, the SHA-256 of the recipe for a stage's result."""
    bytes: int
    parts: list[int] = []
    """Sizes of the objects that hold it one after another, each under `part_key`; none: it is the one under `key`.

    A size of 0 stands for a number that was given up: whatever may lie there is not of the file."""


class ContentDigest:
    """BLAKE3 over the BLAKE3 of each leaf of a file, so that it can be begun in one process and ended in another."""

    SIZE = blake3.digest_size
    """Bytes of the digest of a leaf."""

    def __init__(self, leaves: bytes = b"") -> None:
        """Go on after the leaves whose digests, one after another, are given; what is begun of the next comes first."""
        self._leaves = bytearray(leaves)
        self._leaf = blake3()
        self._begun_bytes = 0

    @property
    def leaves(self) -> bytes:
        """The digests of the leaves that are whole, one after another: from here another process can go on."""
        return bytes(self._leaves)

    def update(self, content: bytes | bytearray | memoryview) -> None:
        """The next bytes of the file."""
        rest = memoryview(content)
        while rest:
            taken = rest[: LEAF_BYTES - self._begun_bytes]
            self._leaf.update(taken)
            self._begun_bytes += len(taken)
            rest = rest[len(taken) :]
            if self._begun_bytes == LEAF_BYTES:
                self._leaves += self._leaf.digest()
                self._leaf, self._begun_bytes = blake3(), 0

    def hexdigest(self) -> str:
        """The digest of the file, if it ends here."""
        last = self._leaf.digest() if self._begun_bytes else b""
        return blake3(bytes(self._leaves) + last).hexdigest()


def part_key(key: str, n: int) -> str:
    """Key of one part of a file that lies in several."""
    return f"{key}/{n:05d}"


def part_keys(ref: ArtifactRef) -> list[str]:
    """Keys of everything that holds a file, in the order of its bytes."""
    return [part_key(ref.key, n) for n, size in enumerate(ref.parts) if size] if ref.parts else [ref.key]


def recipe_digest(stage: str, engine: str, parameters: dict[str, Any], inputs: list[str]) -> str:
    """SHA-256 of the canonical JSON of a stage's recipe; `inputs` are digests of other artifacts."""
    recipe = {"stage": stage, "engine": engine, "parameters": parameters, "inputs": inputs}
    return hashlib.sha256(msgspec.json.encode(recipe, order="deterministic")).hexdigest()


def cache_key(owner: str, stage: str, digest: str, suffix: str) -> str:
    """Key of one file of a stage's result. The owner is part of it: nobody learns from a hit what another sent."""
    return f"cache/{owner}/{stage}/{digest}.{suffix}"


def upload_key(owner: str, upload_id: str) -> str:
    """Key of the bytes a user sent."""
    return f"uploads/{owner}/{upload_id}"


def staging_folder(key: str) -> str:
    """Where the parts of an upload wait that clients put into the store themselves; its own parts lie elsewhere."""
    return f"{key}.signed"


def staged_key(key: str, n: int) -> str:
    """Key of one part that a client puts into the store itself, from 1 on."""
    return part_key(staging_folder(key), n)


def fetched_folder(owner: str, job_id: str) -> str:
    """Where everything lies that is fetched for a job, begun or whole."""
    return f"uploads/{owner}/{job_id}.fetched/"


def fetched_note(owner: str, job_id: str) -> str:
    """Key of the note that the recording of a job is fetched: where it is, all of the recording is."""
    return fetched_folder(owner, job_id) + "note.json"


def version_key(owner: str, job_id: str, digest: str) -> str:
    """Key of a corrected transcript. Nothing could make it again, so it does not lie with the results of stages."""
    return f"edits/{owner}/{job_id}/{digest}.json"


def finished_key(owner: str, source_digest: str, parameters: Parameters) -> str:
    """Key of the note that a job of this file and these parameters was completed, and when."""
    digest = recipe_digest("job", "", parameters.deciding(), [source_digest])
    return cache_key(owner, "job", digest, "json")
