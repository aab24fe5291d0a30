"""An address in, the stored recording out."""

from collections.abc import Sequence
from datetime import UTC, datetime

from chassis.settle import Work
from contracts import facts, progress
from services.fetcher.engine import IDENTITY, Fetcher


class Fetching:
    """Wakes on `started`; has nothing to do where the recording came with the job."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    async def __call__(self, fact: facts.AnyFact, work: Work) -> Sequence[facts.Fact]:
        """Returns `fetched`, or nothing."""
        assert isinstance(fact, facts.JobStarted)
        if fact.source is not None or fact.source_url is None:
            return []

        async def report(fraction: float) -> None:
            await work.report(progress.Stage.FETCHING, fraction)

        fetched, cached_at = await self._fetcher.fetch(
            fact.source_url, owner=fact.owner, job_id=fact.job_id, filename=fact.filename, report=report
        )
        return [
            facts.SourceFetched(
                job_id=fact.job_id,
                run=fact.run,
                owner=fact.owner,
                at=datetime.now(UTC),
                filename=fetched.filename,
                source=fetched.source,
                parameters=fact.parameters,
                receipt=facts.StageReceipt(
                    engine=IDENTITY, seconds=work.elapsed_s(), attempts=work.attempt, cached_at=cached_at
                ),
            )
        ]
