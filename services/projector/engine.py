"""Which messages are facts, and how a batch of them changes the jobs. Knows neither NATS nor Postgres."""

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from contracts import facts, progress, subjects

_SHA256 = re.compile(r"[0-9a-f]{64}")
_INTEGER_MAX = 2**31 - 1


class OutOfOrder(Exception):
    """The batch does not continue where the projection stands: applying it would lose or repeat facts."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the log."""

    seq: int
    subject: str
    body: bytes


class Unknown(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is no fact we know, and why."""

    message: Message
    reason: str


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """What opens a job: the owner's token (`share_n` 0) or a share."""

    token_sha256: str
    share_n: int


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch makes of the jobs it speaks of."""

    watermark: int
    views: Sequence[progress.JobView]
    unknown: Sequence[Unknown]


def readable(messages: Sequence[Message]) -> tuple[list[tuple[int, facts.AnyFact]], list[Unknown]]:
    """The facts of a batch with their sequence, and what is none."""
    known: list[tuple[int, facts.AnyFact]] = []
    unknown: list[Unknown] = []
    for message in messages:
        try:
            known.append((message.seq, _fact(message)))
        except ValueError as error:  # msgspec's errors are ValueErrors
            unknown.append(Unknown(message=message, reason=str(error)))
    return known, unknown


def project(watermark: int, messages: Sequence[Message], views: Mapping[str, progress.JobView]) -> Changes:
    """Fold a batch onto the jobs as they stand. Raises OutOfOrder unless the sequences rise from the watermark."""
    _check_order(watermark, (message.seq for message in messages))
    known, unknown = readable(messages)
    changed: dict[str, progress.JobView] = {}
    orphans: list[Unknown] = []
    by_seq = {message.seq: message for message in messages}
    for seq, fact in known:
        view = progress.fold(changed.get(fact.job_id, views.get(fact.job_id)), fact, seq)
        if view is None:
            orphans.append(Unknown(message=by_seq[seq], reason="its job was never accepted"))
        else:
            changed[fact.job_id] = view
    return Changes(
        watermark=messages[-1].seq,
        views=list(changed.values()),
        unknown=sorted([*unknown, *orphans], key=lambda one: one.message.seq),
    )


def tokens(view: progress.JobView) -> list[Token]:
    """What opens the job now."""
    shares = [Token(token_sha256=share.token_sha256, share_n=share.n) for share in view.shares if not share.revoked]
    return [Token(token_sha256=view.token_sha256, share_n=0), *shares]


def _fact(message: Message) -> facts.AnyFact:
    """The fact in a message. Raises ValueError where there is none, or one that no table could hold."""
    fact = facts.decode(message.body)
    if subjects.of(fact) != message.subject:
        raise ValueError("the fact does not belong on its subject")
    numbers = [fact.run, fact.n if isinstance(fact, facts.NumberedFact) else 0]
    if not all(0 <= number <= _INTEGER_MAX for number in numbers):
        raise ValueError("a number is out of range")
    if fact.at.tzinfo is None:
        raise ValueError("the time has no zone")
    if isinstance(fact, facts.JobAccepted | facts.ShareMinted) and not _SHA256.fullmatch(fact.token_sha256):
        raise ValueError("the token is not a SHA-256")
    return fact


def _check_order(watermark: int, seqs: Iterable[int]) -> None:
    last = watermark
    for seq in seqs:
        if seq <= last:
            raise OutOfOrder(f"sequence {seq} came after {last}")
        last = seq
