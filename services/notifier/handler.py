"""The end of a run in, notifications out. Whatever a push service does, it changes nothing about the job."""

import asyncio
from collections.abc import Sequence

from chassis.joblog import JobLog
from chassis.settle import Work
from chassis.subscriptions import Subscriptions
from contracts import facts
from contracts.failures import FailureCode, Retryable
from contracts.notifications import Notification, Subscription
from services.notifier.engine import Outcome, Pusher, Verdict


class Notifying:
    """Wakes on `completed`, `failed` and `expired`. Publishes nothing.

    A subscription is removed once the push service has the notification. A crash before that sends it twice, under one
    topic and one tag: the browser shows one. The end of a run that was retried since is told to nobody: who waits,
    waits for the end of the later run.
    """

    def __init__(self, subscriptions: Subscriptions, joblog: JobLog, pusher: Pusher | None, *, retries: int) -> None:
        """Without a `pusher` nobody is told. After `retries` further tries a notification is let go."""
        self._subscriptions = subscriptions
        self._joblog = joblog
        self._pusher = pusher
        self._retries = retries

    async def __call__(self, fact: facts.AnyFact, work: Work) -> Sequence[facts.Fact]:
        """Raises Retryable where a push service wants to be asked again."""
        if isinstance(fact, facts.JobExpired) or self._pusher is None:
            await self._subscriptions.forget(fact.job_id)
            return []
        waiting = await self._subscriptions.of(fact.job_id)
        if not waiting or await self._is_retried(fact):  # in this order: a later run is in the log before who waits
            return []
        notification = Notification(
            job_id=fact.job_id,
            filename=_filename(work.facts()),
            outcome="completed" if isinstance(fact, facts.JobCompleted) else "failed",
        )
        outcomes = await asyncio.gather(*(self._pusher.push(one, notification) for one in waiting))
        still_waiting = await self._subscriptions.of(fact.job_id)
        later = [
            await self._after(fact.job_id, one, outcome, work, used_up=one in still_waiting)
            for one, outcome in zip(waiting, outcomes, strict=True)
        ]
        if any(later):
            wait_s = max(outcome.wait_s for outcome in outcomes if outcome.verdict is Verdict.LATER)
            await asyncio.sleep(wait_s)
            raise Retryable(FailureCode.INTERNAL, f"{sum(later)} push services want to be asked again")
        return []

    async def _is_retried(self, fact: facts.AnyFact) -> bool:
        accepted = await self._joblog.facts_of(fact.job_id, facts.JobAccepted)
        return any(one.fact.run > fact.run for one in accepted)

    async def _after(
        self, job_id: str, subscription: Subscription, outcome: Outcome, work: Work, *, used_up: bool
    ) -> bool:
        """Whether to try again. One that was made anew meanwhile, for a retry of the job, is not used up."""
        log = work.log.bind(push_service=outcome.host, said=outcome.reason)
        if outcome.verdict is Verdict.LATER and work.attempt <= self._retries:
            log.info("push_later", wait_s=outcome.wait_s)
            return True
        if used_up:
            await self._subscriptions.remove(job_id, subscription)
        if outcome.verdict is Verdict.TAKEN:
            log.info("pushed")
        else:
            log.warning("push_let_go", verdict=outcome.verdict.value)
        return False


def _filename(known: Sequence[facts.AnyFact]) -> str:
    """As the user calls the recording."""
    named = [fact.filename for fact in known if isinstance(fact, facts.JobStarted | facts.SourceFetched)]
    return named[-1] if named else ""
