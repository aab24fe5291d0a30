"""Tidies up after jobs that ended."""

from collections.abc import Sequence

from chassis.settle import Work
from chassis.store import Store
from contracts import facts
from services.janitor.engine import useless_uploads


class Tidying:
    """Wakes on `failed`. Deleting twice is deleting, so a crash after any line is made good by the redelivery."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def __call__(self, fact: facts.AnyFact, work: Work) -> Sequence[facts.Fact]:
        """Publishes nothing: what is gone is gone, and the log already says why."""
        for key in useless_uploads(work.facts()):
            await self._store.delete(key)
            work.log.info("upload_deleted", key=key)
        return []
