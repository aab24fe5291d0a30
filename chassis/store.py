"""Artifacts: immutable files under keys, on a disk or in a bucket (obstore).

A key is written once and whole: a reader sees all of a file or none of it, and of two writers of one key the first
wins, so a retry can never change a result that somebody has read (of large files in a bucket: `put_file`).
"""

import asyncio
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
import obstore
import obstore.exceptions
import obstore.store

from chassis.settings import SettingsError
from contracts.artifacts import ArtifactRef, ContentDigest, part_keys
from contracts.failures import FailureCode

R = TypeVar("R")

_PART_BYTES = 8 << 20
_SIGNING = (obstore.store.S3Store, obstore.store.GCSStore, obstore.store.AzureStore)
_WORKSPACE = "work-"


class StoreFull(Exception):
    """The store has no room for the file."""


class Missing(Exception):
    """There is no artifact under the key."""

    @property
    def code(self) -> FailureCode:
        """What a job fails with that needs it: what its user sent is lost, anything else a retry makes anew."""
        return FailureCode.SOURCE_MISSING if str(self).startswith("uploads/") else FailureCode.ARTIFACT_MISSING


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What the store knows of an artifact. `etag` is without quotes."""

    key: str
    bytes: int
    made_at: datetime
    etag: str


class Store:
    """The artifact store of an `ARTIFACTS_URL`."""

    def __init__(self, url: str) -> None:
        """Raises SettingsError where it is no address of a store, or of a folder that cannot be."""
        self._folder = Path(unquote(urlsplit(url).path)) if url.startswith("file://") else None
        try:
            if self._folder is not None:
                self._store: Any = obstore.store.LocalStore(self._folder, automatic_cleanup=True, mkdir=True)
            else:
                self._store = obstore.store.from_url(url)
        except (OSError, ValueError, obstore.exceptions.BaseError) as error:
            reason = str(error).partition("\n")[0]
            raise SettingsError(f"ARTIFACTS_URL: {url} cannot be used: {reason}") from error

    async def find(self, key: str) -> Stored | None:
        """The artifact under the key, None where there is none."""
        try:
            meta = await obstore.head_async(self._store, key)
        except (FileNotFoundError, obstore.exceptions.NotFoundError):
            return None
        return _stored(key, meta)

    async def put(self, key: str, content: bytes) -> int:
        """Store a small file unless the key exists. Returns the bytes stored. Raises StoreFull."""
        with _full_disk(), suppress(FileExistsError, obstore.exceptions.AlreadyExistsError):
            await obstore.put_async(self._store, key, content, mode="create")
        return len(content)

    async def put_record(self, key: str, record: object) -> int:
        """Store something as JSON unless the key exists. Returns the bytes stored. Raises StoreFull."""
        return await self.put(key, msgspec.json.encode(record, order="deterministic"))

    async def record(self, key: str, kind: type[R]) -> tuple[R, Stored] | None:
        """What was stored as JSON under a key, and when; None where nothing is. The question every stage asks first."""
        found = await self.find(key)
        if found is None:
            return None
        return msgspec.json.decode(await self.get(key), type=kind), found

    async def keep(self, key: str, record: R, kind: type[R]) -> R:
        """Store something as JSON, or find what another stored there first: that is the one that counts."""
        await self.put_record(key, record)
        return msgspec.json.decode(await self.get(key), type=kind)

    async def put_file(self, key: str, path: Path) -> int:
        """Store a file from the disk unless the key exists. Returns the bytes stored. Raises StoreFull.

        A bucket cannot create what is put in parts: of two that write such a file at once, the later wins there.
        """
        if (found := await self.find(key)) is not None:
            return found.bytes
        size = path.stat().st_size
        if size <= _PART_BYTES:
            return await self.put(key, await asyncio.to_thread(path.read_bytes))
        if self.signs:
            with _full_disk():
                await obstore.put_async(self._store, key, path, chunk_size=_PART_BYTES)
            return size
        staged = f"{key}.{uuid.uuid4().hex}"
        try:
            with _full_disk(), suppress(FileExistsError, obstore.exceptions.AlreadyExistsError):
                await obstore.put_async(self._store, staged, path, chunk_size=_PART_BYTES)
                await obstore.rename_async(self._store, staged, key, overwrite=False)
        finally:
            await self.delete(staged)
        return size

    async def put_stream(self, key: str, blocks: AsyncIterator[bytes]) -> ArtifactRef:
        """Store a stream of unknown length, hashed on the way; nothing is left where it breaks. Raises StoreFull."""
        digest = ContentDigest()
        total = 0

        async def hashed() -> AsyncIterator[bytes]:
            nonlocal total
            async for block in blocks:
                digest.update(block)
                total += len(block)
                yield block

        with _full_disk():
            await obstore.put_async(self._store, key, hashed(), chunk_size=_PART_BYTES)
        return ArtifactRef(key=key, digest=digest.hexdigest(), bytes=total)

    async def put_part(self, key: str, content: bytes | memoryview) -> None:
        """Store what fits into memory, in one go, in place of what may be there. Raises StoreFull."""
        with _full_disk():
            await obstore.put_async(self._store, key, content, use_multipart=False)

    @property
    def signs(self) -> bool:
        """Whether it can give out addresses that others may use without its credentials: a bucket can, a disk not."""
        return isinstance(self._store, _SIGNING)

    @property
    def put_headers(self) -> dict[str, str]:
        """Headers that a PUT to an address of `put_addresses` must have."""
        return {"x-ms-blob-type": "BlockBlob"} if isinstance(self._store, obstore.store.AzureStore) else {}

    async def put_addresses(self, keys: Sequence[str], expires_in: timedelta) -> Sequence[str]:
        """For each key an address where anybody may put a file, of any size, in place of what is there.

        Only of a store that signs.
        """
        addresses: Sequence[str] = await obstore.sign_async(self._store, "PUT", list(keys), expires_in)
        return addresses

    async def get(self, key: str, *, start: int = 0, end: int | None = None) -> bytes:
        """The bytes `start` to `end` (exclusive) of an artifact. Raises Missing."""
        try:
            if start or end is not None:
                if end is None:
                    end = (await obstore.head_async(self._store, key))["size"]
                return bytes(await obstore.get_range_async(self._store, key, start=start, end=end))
            return bytes(await (await obstore.get_async(self._store, key)).bytes_async())
        except (FileNotFoundError, obstore.exceptions.NotFoundError) as error:
            raise Missing(key) from error

    async def stream(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes of an artifact in blocks. Raises Missing before the first."""
        options: Any = {} if not start and end is None else {"range": (start, end) if end else {"offset": start}}
        try:
            found = await obstore.get_async(self._store, key, options=options)
        except (FileNotFoundError, obstore.exceptions.NotFoundError) as error:
            raise Missing(key) from error
        async for block in found.stream(min_chunk_size=1 << 20):
            yield bytes(block)

    async def read(self, ref: ArtifactRef, *, start: int = 0) -> AsyncIterator[bytes]:
        """The bytes of an artifact from `start` on, in blocks, in however many parts it lies. Raises Missing."""
        sizes = [size for size in ref.parts if size] if ref.parts else [ref.bytes]
        for key, size in zip(part_keys(ref), sizes, strict=True):
            if start < size:
                async for block in self.stream(key, start=start):
                    yield block
            start = max(0, start - size)

    @asynccontextmanager
    async def local_parts(self, ref: ArtifactRef) -> AsyncIterator[Sequence[Path]]:
        """As `local`, of an artifact that may lie in parts: the files that hold it one after another."""
        if self._folder is not None:
            paths = [self._folder / key for key in part_keys(ref)]
            if missing := next((path for path in paths if not path.is_file()), None):
                raise Missing(str(missing.relative_to(self._folder)))
            yield paths
            return
        with tempfile.TemporaryDirectory(prefix="subtide-") as folder:
            path = Path(folder) / "artifact"
            with path.open("wb") as file:
                async for block in self.read(ref):
                    await asyncio.to_thread(file.write, block)
            yield [path]

    @asynccontextmanager
    async def local(self, key: str) -> AsyncIterator[Path]:
        """The artifact as a file to read: the stored file itself on a disk, a temporary copy of one in a bucket."""
        if self._folder is not None:
            path = self._folder / key
            if not path.is_file():
                raise Missing(key)
            yield path
            return
        with tempfile.TemporaryDirectory(prefix="subtide-") as folder:
            path = Path(folder) / "artifact"
            with path.open("wb") as file:
                async for block in self.stream(key):
                    await asyncio.to_thread(file.write, block)
            yield path

    @asynccontextmanager
    async def workspace(self) -> AsyncIterator[Path]:
        """A private temporary folder, on the store's own disk where it has one; gone afterwards. Raises StoreFull."""
        parent = None
        with _full_disk():
            if self._folder is not None:
                parent = self._folder.parent / "tmp"
                parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder = Path(tempfile.mkdtemp(prefix=_WORKSPACE, dir=parent))
        try:
            yield folder
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def list(self, prefix: str) -> AsyncIterator[Stored]:
        """Every artifact whose key is under a prefix that ends in `/`, in no order."""
        async for found in obstore.list(self._store, prefix=prefix):
            for meta in found:
                yield _stored(meta["path"], meta)

    async def clear_leftovers(self, before: datetime) -> Sequence[Path]:
        """Remove what processes that died left on the store's disk and nobody has touched since. Returns what it was.

        A bucket has nothing of the kind that could be listed: parts of broken uploads are left to its own rules.
        """
        if self._folder is None:
            return []
        return await asyncio.to_thread(_cleared, self._folder, before.timestamp())

    async def delete(self, key: str) -> None:
        """Remove an artifact; one that is not there is removed."""
        try:
            await obstore.delete_async(self._store, key)
        except (FileNotFoundError, obstore.exceptions.NotFoundError):
            return


def _stored(key: str, meta: Any) -> Stored:
    return Stored(key=key, bytes=meta["size"], made_at=meta["last_modified"], etag=(meta["e_tag"] or key).strip('"'))


def _cleared(folder: Path, before: float) -> Sequence[Path]:
    """Workspaces, and files that were not written to their end: `#` and a number follow the key meanwhile."""
    workspaces = list((folder.parent / "tmp").glob(f"{_WORKSPACE}*"))
    parts = [path for path in folder.rglob("*#*") if path.name.rpartition("#")[2].isdigit()]
    stale = [path for path in workspaces + parts if _touched(path) < before]
    for path in stale:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return stale


def _touched(path: Path) -> float:
    """When anything in it was last written; now, where somebody removes it just now."""
    try:
        return max(one.stat().st_mtime for one in [path, *path.rglob("*")])
    except OSError:
        return float("inf")


class _full_disk:
    """Turns a store's "no space left" into StoreFull. object_store has no error of its own for it."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and any(
            mark in str(error) for mark in ("No space left", "os error 28", "Disk quota", "os error 27", "os error 122")
        ):
            raise StoreFull("the artifact store is full") from error
