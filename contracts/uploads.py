"""How far an upload is: one entry of the KV bucket `uploads`, changed by compare-and-set only (docs/adr/0007)."""

import re
from datetime import datetime

import msgspec

from contracts.artifacts import ArtifactRef

EVERY = "upload.>"
"""The keys of all uploads in the bucket."""
OPEN_MAX = 10_000
"""Most uploads of one caller that `OpenUploads` has room for in a message of the broker's, which is 1 MiB."""
PARTS_MAX = 10_000
"""Pieces that one upload may come in: what arrived before a connection broke is kept as one."""

_ID = re.compile(r"[0-9a-f]{16}([0-9a-f]{32})")


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """Who may write, and until when: one request at a time."""

    writer: str
    until: datetime
    numbers: int
    """Parts that it may have begun to store and that the upload does not have yet. Nobody else uses their numbers."""


class Upload(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One upload. Only what it says counts: a part that it does not have is not there, whatever the store holds."""

    owner: str
    counted_as: str
    token_sha256: str
    key: str
    """Where the parts lie in the store."""
    length: int
    filename: str
    metadata: str = ""
    """The header `Upload-Metadata`, as it came."""
    created_at: datetime
    expires_at: datetime
    parts: list[int] = []
    """As in `ArtifactRef`."""
    leaves: bytes = b""
    """The checkpoint of the digest: `ContentDigest.leaves`."""
    digest: str = ""
    """The digest of the file, once it is whole."""
    lease: Lease | None = None
    used_by: str | None = None
    """The job or the batch that may have been made of it."""
    signed_part_bytes: int | None = None
    """Size of its parts but the last, where clients put them at signed addresses; None: it is sent by tus."""
    staged: str = ""
    """What stands for the staged parts that it is being made whole of: of others it has to be begun anew."""
    sha256: str = ""
    """What the file is held against while it is made whole of staged parts, and has once it is; hex."""

    @property
    def offset(self) -> int:
        """Bytes that have arrived."""
        return sum(self.parts)

    @property
    def whole(self) -> bool:
        """Whether all of it has arrived."""
        return self.offset == self.length

    @property
    def staged_sizes(self) -> list[int]:
        """Bytes of each part that is to be put into the store at a signed address."""
        if self.signed_part_bytes is None:
            return []
        whole, rest = divmod(self.length, self.signed_part_bytes)
        return [self.signed_part_bytes] * whole + ([rest] if rest else [])

    @property
    def source(self) -> ArtifactRef:
        """The file, as far as it has arrived."""
        return ArtifactRef(key=self.key, digest=self.digest, bytes=self.offset, parts=self.parts)


class OpenUploads(msgspec.Struct, frozen=True, kw_only=True):
    """Uploads of one caller of which no job was made yet. What a crash left is among them: some may be used or gone."""

    begun_at: dict[str, datetime]
    """By their ids: `Upload.created_at`, of one that may be still to come as well. It tells an upload from a later one
    that the same `Idempotency-Key` gave the same id."""


def bucket_key(upload_id: str) -> str:
    """Key of an upload in the bucket. Raises ValueError on what cannot be an id."""
    if not _ID.fullmatch(upload_id):
        raise ValueError(f"{upload_id!r} is not the id of an upload")
    return f"upload.{upload_id[:16]}.{upload_id[16:]}"


def bucket_keys_of(counted_as: str) -> str:
    """Keys of the uploads of one caller: the ids begin with what stands for it."""
    return f"upload.{id_prefix(counted_as)}.*"


def upload_id_of(key: str) -> str:
    """The id of the upload that a `bucket_key` is of."""
    return key.removeprefix("upload.").replace(".", "")


def open_key(counted_as: str) -> str:
    """Key of the `OpenUploads` of a caller."""
    return f"open.{id_prefix(counted_as)}"


def id_prefix(counted_as: str) -> str:
    """What the ids of all uploads of a caller begin with."""
    return counted_as[:16]


def claim_key(keyed: str) -> str:
    """Key of the note which upload an `Idempotency-Key` was used for."""
    return f"claim.{keyed}"
