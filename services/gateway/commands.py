"""What an owner may do with a job: cancel it, have it deleted, share it, take a share back."""

import hmac
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from chassis.admission import Admission
from chassis.joblog import JobLog
from contracts import facts, progress
from contracts.progress import JobView, Share, Status
from services.gateway import idempotency
from services.gateway.idempotency import Identity
from services.gateway.problems import Problem

F = TypeVar("F", bound=facts.Fact)
_SHARES_MAX = 100
_SHARE_RUN = 1
"""Shares belong to the job, not to a run of it: one run in their subject makes their numbers unique. A number is given
out again once the log, whose messages age, has forgotten its share; its revocation may be younger."""


class Minted(msgspec.Struct, frozen=True, kw_only=True):
    """A new read-only token, given out once."""

    share_id: int
    share_token: str
    url: str
    """The page of the job. The token stands behind `#`, which a browser sends to nobody."""


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

    async def cancel(self, view: JobView, *, running: bool) -> None:
        """Cancel a pending job, one that runs only where `running`. Who cancels twice is not told off.

        The ledger decides the race of a pending job with the dispatcher, the log that of a running one with its end.
        """
        if view.status is Status.CANCELLED:
            return
        if view.status.terminal:
            raise _over(view)
        waits = view.status is Status.PENDING and await self._admission.cancel_waiting(view.job_id, view.run)
        if not waits and not running:
            raise Problem(409, "not_cancellable", "The job is running already; it is cancelled only with running=true.")
        if await self._joblog.append(_happened(facts.JobCancelled, view)) is None:
            now = await self._joblog.view(view.job_id)
            if now is None or now.run != view.run or now.status is not Status.CANCELLED:
                raise _over(now or view)

    async def delete(self, view: JobView) -> JobView:
        """Have everything removed that is stored of a job, once its run has ended. Returns the job that was."""
        if not view.status.terminal:
            raise Problem(409, "not_deletable", f"The job is {view.status}: cancel it first, then delete it.")
        expired = _happened(facts.JobExpired, view, on_request=True)
        seq = await self._joblog.append(expired)
        if seq is not None:
            return progress.fold(view, expired, seq) or view
        now = await self._joblog.view(view.job_id)
        if now is not None and now.expired_at is None:
            raise Problem(409, "not_deletable", "Somebody has just retried the job: cancel it first, then delete it.")
        return now or view

    async def share(self, view: JobView, identity: Identity, base_url: str) -> Minted:
        """Mint a read-only token under the next free number; a further try with its key finds it by its hash.

        A number that is taken was perhaps taken by a try beside this one, so each that is met is looked at. Raises
        Problem where the share of the key was revoked since: it stays void, and a new one needs a new key.
        """
        for share in view.shares:
            if hmac.compare_digest(share.token_sha256, identity.token_sha256):
                if share.revoked:
                    raise Problem(
                        409,
                        "share_revoked",
                        f"Share {share.n}, which this {idempotency.HEADER} was used for, was revoked. Send a new key.",
                    )
                return _minted(view, share.n, identity, base_url)
        n = max((share.n for share in view.shares), default=0)
        while n < _SHARES_MAX:
            n += 1
            share_minted = facts.ShareMinted(
                job_id=view.job_id,
                run=_SHARE_RUN,
                owner=view.owner,
                at=datetime.now(UTC),
                n=n,
                token_sha256=identity.token_sha256,
            )
            if await self._joblog.append(share_minted) is not None:
                return _minted(view, n, identity, base_url)
            taken = await self._joblog.stored(share_minted)
            if isinstance(taken, facts.ShareMinted) and hmac.compare_digest(taken.token_sha256, identity.token_sha256):
                return _minted(view, n, identity, base_url)
        raise Problem(
            409,
            "too_many_shares",
            f"This job was shared {_SHARES_MAX} times, revoked links among them, which is the most.",
        )

    async def revoke(self, view: JobView, n: int) -> None:
        """Make a share void; revoking it twice changes nothing. Raises Problem where there is no such share."""
        if not any(share.n == n for share in view.shares):
            raise Problem(404, "share_not_found", f"The job has no share {n}.")
        run = _SHARE_RUN
        while not await self._revoked(view, n, run):
            run += 1  # the fact revoked an earlier share of this number: the log had forgotten that it was given out

    async def _revoked(self, view: JobView, n: int, run: int) -> bool:
        """Whether the share is void, once its revocation has been published, or was before."""
        revoked = facts.ShareRevoked(job_id=view.job_id, run=run, owner=view.owner, at=datetime.now(UTC), n=n)
        if await self._joblog.append(revoked) is not None:
            return True
        now = await self._joblog.view(view.job_id)
        return now is None or not any(share.n == n and not share.revoked for share in now.shares)


def listed(shares: list[Share]) -> list[ShareInfo]:
    """The shares of a job, for its owner."""
    return [ShareInfo(share_id=share.n, minted_at=share.minted_at, revoked=share.revoked) for share in shares]


def _minted(view: JobView, n: int, identity: Identity, base_url: str) -> Minted:
    url = f"{base_url.rstrip('/')}/jobs/{view.job_id}#token={identity.token}"
    return Minted(share_id=n, share_token=identity.token, url=url)


def _over(view: JobView) -> Problem:
    return Problem(409, "not_cancellable", f"The job is over: it is {view.status}.")


def _happened(kind: type[F], view: JobView, **more: Any) -> F:
    return kind(job_id=view.job_id, run=view.run, owner=view.owner, at=datetime.now(UTC), **more)
