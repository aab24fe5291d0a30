"""Deletes stored files: of jobs that expired, and those that neither a job nor an upload speaks of.

Which they are is asked of the log each time, so a crash after any line is made good by the next look, and deleting
twice is deleting. The doors go first (`engine.is_door`) and the log is asked again before the rest: whoever came
through a door has a job that the log tells of by then.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from chassis import telemetry
from chassis.store import Store
from services.janitor.engine import is_door
from services.janitor.survey import Coming, Surveying

_BATCH = 50


class Removal:
    """The files of the store, held against the log."""

    def __init__(self, store: Store, surveying: Surveying, coming: Coming, *, abandoned_s: float) -> None:
        self._store = store
        self._surveying = surveying
        self._coming = coming
        self._abandoned_s = abandoned_s

    async def expire(self, job_id: str) -> int:
        """Delete what an expired job leaves behind and nobody else uses. Returns how many files."""
        doors = [key for key in (await self._surveying.now()).removable(job_id) if is_door(key)]
        for key in doors:
            await self._store.delete(key)
        survey = await self._surveying.now()
        rest = [key for key in survey.removable(job_id) if key not in doors]
        if (folder := survey.folder(job_id)) is not None:
            rest += [file.key async for file in self._store.list(folder) if file.key not in rest]
        for key in rest:
            await self._store.delete(key)
        return len(doors) + len(rest)

    async def sweep(self) -> int:
        """Delete old files that no job speaks of, and what workers that died left on the disk. Returns how many.

        Nothing as long as the log is younger than what counts as old: it may have been lost, and yet be restored.
        """
        log = telemetry.logger(stage="janitor")
        before = datetime.now(UTC) - timedelta(seconds=self._abandoned_s)
        if not await self._surveying.log_is_older_than(before):
            return 0
        old = {
            file.key: file.made_at
            for prefix in ("uploads/", "cache/", "edits/")
            async for file in self._store.list(prefix)
            if file.made_at < before
        }
        swept = 0
        candidates = await self._abandoned(old)
        for start in range(0, len(candidates), _BATCH):
            batch = {key: old[key] for key in candidates[start : start + _BATCH]}
            for key in await self._abandoned(batch):
                await self._store.delete(key)
                log.info("abandoned_file_deleted", key=key)
                swept += 1
        leftovers = await self._store.clear_leftovers(before)
        for path in leftovers:
            log.info("leftover_deleted", name=path.name)
        return swept + len(leftovers)

    async def _abandoned(self, made_at: Mapping[str, datetime]) -> list[str]:
        """Uploads are asked for before the log: of one that is gone by now, the log has the job, or there is none."""
        folders = await self._coming.folders()
        idle = {key: made for key, made in made_at.items() if key.rpartition("/")[0] not in folders}
        return (await self._surveying.now()).abandoned(idle)
