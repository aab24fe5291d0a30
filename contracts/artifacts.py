"""Keys and digests of stored artifacts.

The key of a stage's result is the digest of everything it was made from, so a stage that finds its key need not
work. Inputs are named by the digests in *their* keys: a key can be computed without reading a byte.
"""

import hashlib
from typing import Any

import msgspec


class ArtifactRef(msgspec.Struct, frozen=True, kw_only=True):
    """Where an artifact lies and what stands for it in the keys of what is made from it."""

    key: str
    digest: str
    """SHA-256, hex: of the content for an upload, of the recipe for a stage's result."""
    bytes: int


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


def finished_key(owner: str, source_digest: str, parameters: msgspec.Struct) -> str:
    """Key of the note that a job of this file and these parameters was completed, and when."""
    digest = recipe_digest("job", "", msgspec.to_builtins(parameters), [source_digest])
    return cache_key(owner, "job", digest, "json")
