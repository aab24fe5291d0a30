"""One job on one websocket: a snapshot, then every further fact once and in order, whatever is lost on the way."""

from collections.abc import Sequence

import msgspec

from chassis.joblog import Recorded
from contracts import progress
from contracts.progress import JobView, LiveProgress
from services.gateway import access, messages
from services.gateway.engine import HighWater, Job, folded, shown, spoken
from services.gateway.history import History
from services.gateway.outbox import Outbox


class Watch:
    """Keeps back what is heard until the job's facts have been read; then says what is new, by stream sequence."""

    def __init__(self, job_id: str, token: str, outbox: Outbox, high_water: HighWater, history: History) -> None:
        self.job_id = job_id
        self.closed = False
        """Whether the token no longer opens the job, or there is no job any more."""
        self._token_sha256 = access.digest(token)
        self._outbox = outbox
        self._high_water = high_water
        self._history = history
        self._view: JobView | None = None
        self._seq = 0
        """The last fact that was said."""
        self._kept_back: list[Recorded] | None = []

    def may(self, deciding: Sequence[Recorded]) -> bool:
        """Whether the token opens the job, by the facts that decide it."""
        return access.right(folded((one.seq, one.fact) for one in deciding), self._token_sha256) is not None

    def open(self, recorded: Sequence[Recorded], live: Sequence[LiveProgress], since: int | None) -> bool:
        """Say the snapshot and what followed it. False, and only why, where there is nothing to watch.

        The snapshot is the job as of `since`, and the facts after that are said again; without `since` it is as of now.
        """
        view = folded((one.seq, one.fact) for one in recorded)
        if view is None or access.right(view, self._token_sha256) is None:
            self._outbox.put(messages.job_not_found(self.job_id))
            return False
        if view.expired_at is not None:
            self._outbox.put(messages.job_expired(view))
            return False
        replayed = [one for one in recorded if since is not None and one.seq > since]
        before = recorded[: len(recorded) - len(replayed)]
        snapshot = folded(((one.seq, one.fact) for one in before or recorded[:1]), [] if replayed else live)
        assert snapshot is not None
        seq = before[-1].seq if before else 0
        shown_view = snapshot if replayed else self._high_water.raised(snapshot)
        self._outbox.put(messages.Snapshot(job_id=self.job_id, seq=seq, job=self._shown(shown_view)))
        for one in replayed:
            self._outbox.put(_fact(one))
        self._view = folded(((one.seq, one.fact) for one in recorded), live)
        self._seq = recorded[-1].seq
        if replayed:
            self._say_progress()
        self._release()
        return True

    def heard_fact(self, recorded: Recorded) -> None:
        """See Watcher."""
        if self._kept_back is not None:
            self._kept_back.append(recorded)
        else:
            self._take(recorded)

    def heard_progress(self, live: LiveProgress) -> None:
        """See Watcher. Lossy: not kept back."""
        if self._kept_back is None and self._view is not None:
            self._view = progress.advance(self._view, live)
            self._say_progress()

    def gap(self) -> None:
        """See Watcher."""
        if self._kept_back is None:
            self._kept_back = []

    def reread(self, recorded: Sequence[Recorded]) -> None:
        """See Watcher."""
        if self._view is None:
            return  # not open yet: it reads for itself
        for one in recorded:
            self._take(one)
        self._release()

    def _release(self) -> None:
        kept_back, self._kept_back = self._kept_back or [], None
        for one in sorted(kept_back, key=lambda one: one.seq):
            self._take(one)

    def _take(self, recorded: Recorded) -> None:
        if self._view is None or recorded.seq <= self._seq or self.closed:
            return
        self._seq = recorded.seq
        self._view = progress.fold(self._view, recorded.fact, recorded.seq)
        assert self._view is not None
        if access.right(self._view, self._token_sha256) is None:
            self._close(messages.job_not_found(self.job_id))
            return
        self._outbox.put(_fact(recorded), live=True)
        if self._view.expired_at is not None:
            self._close(messages.job_expired(self._view))
            return
        self._say_progress()

    def _close(self, why: messages.Error) -> None:
        self.closed = True
        self._outbox.forget(self.job_id)
        self._outbox.put(why)

    def _say_progress(self) -> None:
        if self._view is None or self.closed:
            return
        self._view = self._high_water.raised(self._view)
        job = self._shown(self._view)
        self._outbox.put_progress(
            messages.Progress(
                job_id=job.job_id,
                seq=self._seq,
                run=job.run,
                status=job.status,
                progress=job.progress,
                progress_stage=job.progress_stage,
                progress_message=job.progress_message,
                stages=job.stages,
                queue_position=job.queue_position,
                starts_in_s=job.starts_in_s,
                estimated_remaining_seconds=job.estimated_remaining_seconds,
            )
        )

    def _shown(self, view: JobView) -> Job:
        return shown(view, self._history.known())


def _fact(recorded: Recorded) -> messages.FactHappened:
    name, content = spoken(recorded.fact)
    return messages.FactHappened(
        job_id=recorded.fact.job_id,
        seq=recorded.seq,
        run=recorded.fact.run,
        at=recorded.fact.at,
        fact=name,
        data=msgspec.Raw(msgspec.json.encode(content)),
    )
