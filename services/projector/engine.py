"""Which messages are facts, how a batch of them changes the jobs, and whether a row is what the facts make of the job.

Knows neither NATS nor Postgres.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from contracts import facts, progress, subjects


class OutOfOrder(Exception):
    """The batch does not continue where the projection stands: applying it would lose or repeat facts."""


class Unreadable(Exception):
    """A row cannot be read, so that nothing can be folded onto it: somebody wrote into it."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)
        self.job_id = job_id


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the log."""

    seq: int
    subject: str
    body: bytes


class Unknown(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is no fact we know, and why."""

    message: Message
    reason: str


class Token(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """What opens a job: the owner's token (`share_n` 0) or a share."""

    token_sha256: str
    share_n: int


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What the tables hold of a job."""

    job_id: str
    owner: str
    status: str
    accepted_at: datetime
    seq: int
    view: bytes
    tokens: list[Token]
    """In order, each token once."""


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch makes of the jobs it speaks of."""

    watermark: int
    facts: int
    views: Sequence[progress.JobView]
    expired: Mapping[str, int]
    """Jobs that are gone for good, with the sequence of the fact that says so."""
    unknown: Sequence[Unknown]


class Healing(msgspec.Struct, frozen=True, kw_only=True):
    """A row that is not what the facts make of the job. `row` is None where there should be none."""

    job_id: str
    row: Row | None
    expired: int | None = None
    """The sequence of the fact that the job is gone for good."""


def readable(messages: Sequence[Message]) -> tuple[list[tuple[int, facts.AnyFact]], list[Unknown]]:
    """The facts of a batch with their sequence, and what is none."""
    known: list[tuple[int, facts.AnyFact]] = []
    unknown: list[Unknown] = []
    for message in messages:
        try:
            known.append((message.seq, subjects.fact_on(message.subject, message.body)))
        except ValueError as error:  # msgspec's errors are ValueErrors
            unknown.append(Unknown(message=message, reason=str(error)))
    return known, unknown


def project(
    watermark: int,
    messages: Sequence[Message],
    views: Mapping[str, progress.JobView],
    expired: Collection[str] = (),
) -> Changes:
    """Fold a batch onto the jobs as they stand. Raises OutOfOrder unless the sequences rise from the watermark.

    A job that expired is gone for good: what is said of it later changes nothing and is no riddle either.
    """
    _check_order(watermark, (message.seq for message in messages))
    known, unknown = readable(messages)
    by_seq = {message.seq: message for message in messages}
    changed: dict[str, progress.JobView] = {}
    gone: dict[str, int] = {}
    for seq, fact in known:
        job_id = fact.job_id
        if job_id in gone or job_id in expired or isinstance(fact, facts.BatchAccepted):
            continue  # of a batch, each job is accepted by a fact of its own
        if isinstance(fact, facts.JobExpired):
            changed.pop(job_id, None)
            gone[job_id] = seq
            continue
        try:
            view = _folded(changed.get(job_id, views.get(job_id)), fact, seq)
        except (ValueError, ArithmeticError, LookupError) as error:
            unknown.append(Unknown(message=by_seq[seq], reason=f"it makes no job that could be stored: {error!r}"))
            continue
        if view is None:
            reason = "its job was never accepted, or longer ago than the log tells"
            unknown.append(Unknown(message=by_seq[seq], reason=reason))
        else:
            changed[job_id] = view
    return Changes(
        watermark=messages[-1].seq,
        facts=len(messages) - len(unknown),
        views=list(changed.values()),
        expired=gone,
        unknown=sorted(unknown, key=lambda one: one.message.seq),
    )


def row(view: progress.JobView) -> Row:
    """What the tables are to hold of a job."""
    shares = {share.token_sha256: share.n for share in reversed(view.shares) if not share.revoked}
    opening = shares | {view.token_sha256: 0}
    return Row(
        job_id=view.job_id,
        owner=view.owner,
        status=str(view.status),
        accepted_at=view.accepted_at,
        seq=view.seq,
        view=msgspec.json.encode(view),
        tokens=sorted(Token(token_sha256=token, share_n=n) for token, n in opening.items()),
    )


def view(job_id: str, stored: bytes) -> progress.JobView:
    """The job in a row. Raises Unreadable."""
    try:
        return msgspec.json.decode(stored, type=progress.JobView)
    except (ValueError, RecursionError) as error:
        raise Unreadable(job_id) from error


def heal(stored: Row, history: Sequence[Message], watermark: int) -> Healing | None:
    """What is to become of a row, given all that the log says of its job. None where the row is right.

    None, too, where the log no longer has the beginning of the job and the row may know more.
    """
    told = [message for message in history if message.seq <= watermark]
    known, _ = readable(told)
    whole = not known or (isinstance(known[0][1], facts.JobAccepted) and known[0][1].run == 1)
    if not whole and _is_readable(stored):
        return None
    if not told:
        return Healing(job_id=stored.job_id, row=None)
    changes = project(0, told, {})
    right = next((row(one) for one in changes.views if one.job_id == stored.job_id), None)
    if right == stored:
        return None
    return Healing(job_id=stored.job_id, row=right, expired=changes.expired.get(stored.job_id))


def _folded(before: progress.JobView | None, fact: facts.AnyFact, seq: int) -> progress.JobView | None:
    """The job after a fact. Raises ValueError, ArithmeticError or LookupError where it could not be read again."""
    after = progress.fold(before, fact, seq)
    if after is not None:
        msgspec.json.decode(msgspec.json.encode(after), type=progress.JobView)  # JSON has no NaN, for one
    return after


def _is_readable(stored: Row) -> bool:
    try:
        view(stored.job_id, stored.view)
    except Unreadable:
        return False
    return True


def _check_order(watermark: int, seqs: Iterable[int]) -> None:
    last = watermark
    for seq in seqs:
        if seq <= last:
            raise OutOfOrder(f"sequence {seq} came after {last}")
        last = seq
