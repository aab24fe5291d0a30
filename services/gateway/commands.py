"""What an owner may do with a job: cancel it while it waits, share it, take a share back."""

from datetime import UTC, datetime

import msgspec

from chassis.admission import Admission
from chassis.joblog import JobLog
from contracts import facts
from contracts.progress import JobView, Share, Status
from services.gateway import access
from services.gateway.problems import Problem

_SHARES_MAX = 100
_SHARE_RUN = 1
"""Shares belong to the job, not to a run of it: one run in their subject makes their numbers unique."""


class Minted(msgspec.Struct, frozen=True, kw_only=True):
    """A new read-only token, given out once."""

    share_id: int
    share_token: str
    url: str


class ShareInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A share that was minted; its token is not kept."""

    share_id: int
    minted_at: datetime
    revoked: bool


class Commands:
    """Each command is a fact published create-only, so of two that race one is told."""

    def __init__(self, joblog: JobLog, admission: Admission) -> None:
        self._joblog = joblog
        self._admission = admission

    async def cancel(self, view: JobView) -> None:
        """Cancel a pending job. The ledger decides the race with the dispatcher; who cancels twice is not told off."""
        if view.status is Status.CANCELLED:
            return
        if view.status is not Status.PENDING or not await self._admission.cancel_waiting(view.job_id):
            raise Problem(409, "not_cancellable", _why_not(view))
        await self._joblog.append(
            facts.JobCancelled(job_id=view.job_id, run=view.run, owner=view.owner, at=datetime.now(UTC))
        )

    async def share(self, view: JobView, base_url: str) -> Minted:
        """Mint a read-only token under the next free number."""
        token, token_sha256 = access.mint()
        n = max((share.n for share in view.shares), default=0)
        while n < _SHARES_MAX:
            n += 1
            seq = await self._joblog.append(
                facts.ShareMinted(
                    job_id=view.job_id,
                    run=_SHARE_RUN,
                    owner=view.owner,
                    at=datetime.now(UTC),
                    n=n,
                    token_sha256=token_sha256,
                )
            )
            if seq is not None:
                url = f"{base_url.rstrip('/')}/api/jobs/{view.job_id}?token={token}"
                return Minted(share_id=n, share_token=token, url=url)
        raise Problem(409, "too_many_shares", f"A job can be shared {_SHARES_MAX} times.")

    async def revoke(self, view: JobView, n: int) -> None:
        """Make a share void; revoking it twice changes nothing. Raises Problem where there is no such share."""
        if not any(share.n == n for share in view.shares):
            raise Problem(404, "share_not_found", f"The job has no share {n}.")
        await self._joblog.append(
            facts.ShareRevoked(job_id=view.job_id, run=_SHARE_RUN, owner=view.owner, at=datetime.now(UTC), n=n)
        )


def listed(shares: list[Share]) -> list[ShareInfo]:
    """The shares of a job, for its owner."""
    return [ShareInfo(share_id=share.n, minted_at=share.minted_at, revoked=share.revoked) for share in shares]


def _why_not(view: JobView) -> str:
    if view.status in (Status.COMPLETED, Status.FAILED):
        return f"The job is over: it is {view.status}."
    return "The job is running already; only a waiting job can be cancelled."
