"""The results of several jobs in one zip, made while it is sent."""

import asyncio
import zipfile
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

from chassis.store import Missing, Store
from contracts.artifacts import ArtifactRef
from contracts.progress import JobView, Status
from services.gateway.downloads import CONTENT_TYPES
from services.gateway.problems import Problem


async def zipped(store: Store, files: Sequence[tuple[str, ArtifactRef]]) -> AsyncIterator[bytes]:
    """The zip in pieces, one a file; one that expired meanwhile is left out."""
    outlet = _Outlet()
    with zipfile.ZipFile(cast("Any", outlet), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, ref in files:
            try:
                content = await store.get(ref.key)
            except Missing:
                continue
            await asyncio.to_thread(archive.writestr, name, content)
            yield outlet.taken()
    yield outlet.taken()


class _Outlet:
    """Where zipfile writes to without going back, and what was written since it was last asked."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, content: bytes) -> int:
        self._parts.append(bytes(content))
        return len(content)

    def flush(self) -> None:
        """Nothing is held back."""

    def taken(self) -> bytes:
        taken, self._parts = b"".join(self._parts), []
        return taken


def entries(views: Sequence[JobView | None], formats: Sequence[str]) -> list[tuple[str, ArtifactRef]]:
    """Every result under the name of its recording; recordings of one name are numbered."""
    found: list[tuple[str, ArtifactRef]] = []
    taken: set[str] = set()
    for view in views:
        if view is None or view.status is not Status.COMPLETED or view.expired_at is not None:
            continue
        stem = (view.filename.rpartition(".")[0] or view.filename).strip(". ") or "recording"
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem} ({number})"
        taken.add(name.casefold())
        found += [(f"{name}.{one}", view.results[one]) for one in formats if one in view.results]
    return found


def read_formats(given: str) -> list[str]:
    """The formats of a list by comma; all where none is given. Raises Problem."""
    wanted = [one.strip() for one in given.split(",") if one.strip()]
    for one in wanted:
        if one not in CONTENT_TYPES:
            raise Problem(404, "unknown_format", f"There are the formats {', '.join(CONTENT_TYPES)}.")
    return wanted or list(CONTENT_TYPES)
