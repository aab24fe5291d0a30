"""How every message ends: in exactly one of done, retry, fail, drop and hand back. Only this module acks.

What a crash leaves behind, line by line: before the artifact is stored, nothing; after it, a redelivery finds the
artifact; after a fact is published, a redelivery publishes it again and is refused; the ack comes last.
"""

import asyncio
import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

import msgspec
import nats.errors
import nats.js.errors
import structlog
from faststream.nats import NatsMessage

from chassis import telemetry
from chassis.handbacks import Handbacks
from chassis.heartbeat import heartbeat
from chassis.joblog import JobLog, LogFull, Recorded
from chassis.store import Missing, StoreFull
from contracts import consequences, facts, progress, subjects, topology
from contracts.failures import Cancelled, FailureCode, Permanent, Retryable

_HAND_BACK_S = 10.0
_LATE_HAND_BACK_DELAY_S = 2.0
_BROKER_AWAY = (nats.errors.Error, nats.js.errors.Error, OSError)
_REFUSED = (
    nats.errors.MaxPayloadError,
    nats.errors.BadSubjectError,
    nats.errors.BadHeaderError,
    nats.js.errors.BadRequestError,
)
"""What the broker says of a request that it would refuse again: it is there."""
_PAY_S = 1.0
_FULL_WAITS_MAX = 20
"""How many times `full_wait_s` a message waits at most for a disk that stays full: `max_deliver` lasts for a week then,
and when there is room again, nobody waits for much longer than there was none.
"""


class Done(msgspec.Struct, frozen=True):
    """The artifact is stored, the facts are published: ack."""

    facts: Sequence[facts.Fact]


class Retry(msgspec.Struct, frozen=True):
    """It may go better later: nak with a delay."""

    delay_s: float
    code: FailureCode


class Fail(msgspec.Struct, frozen=True):
    """It will not go better: `failed` is published, or what stands for it, ack."""

    code: FailureCode
    detail: str
    told: str = ""


class Drop(msgspec.Struct, frozen=True):
    """Nobody wants it any more: ack."""

    reason: str


class HandBack(msgspec.Struct, frozen=True):
    """No fault of the job (we shut down, a disk is full): nak, and it does not count as a try."""

    reason: str
    delay_s: float | None = None


Outcome = Done | Retry | Fail | Drop | HandBack


class Work:
    """What a handler is given beside its fact."""

    def __init__(
        self,
        *,
        fact: facts.AnyFact,
        recorded: list[Recorded],
        attempt: int,
        subject: str,
        log: structlog.stdlib.BoundLogger,
        joblog: JobLog,
    ) -> None:
        self.attempt = attempt
        """1 for the first try."""
        self.subject = subject
        """What the message came on."""
        self.log = log
        self._recorded = recorded
        self._fact = fact
        self._joblog = joblog
        self._started = time.monotonic()

    def facts(self) -> list[facts.AnyFact]:
        """What is known of this run of the job, in log order, as of the moment the handler was called."""
        return [recorded.fact for recorded in self._recorded if recorded.fact.run == self._fact.run]

    def elapsed_s(self) -> float:
        """Seconds since the handler was called."""
        return round(time.monotonic() - self._started, 3)

    async def report(self, stage: progress.Stage, fraction: float, message: str = "") -> None:
        """Tell those who watch how far the stage is; lost without harm."""
        live = progress.LiveProgress(
            job_id=self._fact.job_id, run=self._fact.run, stage=stage, fraction=round(fraction, 4), message=message
        )
        try:
            await self._joblog.report(live)
        except _BROKER_AWAY as error:
            self.log.debug("progress_not_sent", error=repr(error))


Handler = Callable[[facts.AnyFact, Work], Awaitable[Sequence[facts.Fact]]]
Decode = Callable[[str, bytes], Awaitable[facts.AnyFact]]
"""The fact that a message (subject, body) is about. Raises ValueError where it is about none."""


async def the_body(subject: str, body: bytes) -> facts.AnyFact:
    """The usual case: the message is the fact."""
    return subjects.fact_on(subject, body)


class Settler:
    """Runs one stage's handler on each message and settles the message."""

    def __init__(
        self,
        durable: topology.Durable,
        numbers: topology.Numbers,
        handler: Handler,
        joblog: JobLog,
        handbacks: Handbacks,
        decode: Decode = the_body,
    ) -> None:
        self._durable = durable
        self._numbers = numbers
        self._handler = handler
        self._joblog = joblog
        self._handbacks = handbacks
        self._decode = decode
        self._running: dict[asyncio.Task[Sequence[facts.Fact]], facts.AnyFact] = {}
        self._cancelled: set[asyncio.Task[Sequence[facts.Fact]]] = set()
        self._owed: Counter[int] = Counter()
        """Deliveries that were no tries, by stream sequence, of which the broker could not be told yet."""
        self._one_pays = asyncio.Lock()
        self._paying: asyncio.Task[None] | None = None
        self._in_hand = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False

    async def hand_back(self) -> None:
        """Stop taking messages and give back those in hand. Returns when all are settled, or after 10 s."""
        self._stopping = True
        for task in list(self._running):
            task.cancel()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), _HAND_BACK_S)
        if self._paying is not None:
            self._paying.cancel()  # its connection ends now; what is owed still counts as tries

    def cancel(self, cancelled: facts.JobCancelled) -> None:
        """Stop what is being done for a run that was cancelled: its message is dropped, its engine killed."""
        for task, fact in self._running.items():
            if (fact.job_id, fact.run) == (cancelled.job_id, cancelled.run) and not facts.ends_run(fact):
                self._cancelled.add(task)
                task.cancel()

    async def __call__(self, body: bytes, message: NatsMessage) -> None:
        """Settle one message. Never raises while the broker is there; if it is away, redelivery settles."""
        metadata = message.raw_message.metadata
        seq = metadata.sequence.stream
        self._in_hand += 1
        self._idle.clear()
        log = telemetry.logger(stage=self._durable.name, stream_seq=seq)
        try:
            try:
                fact = await self._decode(message.raw_message.subject, body)
            except ValueError as error:
                log.error("poison_dropped", subject=message.raw_message.subject, error=str(error))
                await message.ack()
                return
            await self._pay()
            tries = metadata.num_delivered - await self._handbacks.count(
                self._durable.name, seq, metadata.num_delivered
            )
            log = log.bind(job_id=fact.job_id, run=fact.run, fact=facts.name(fact), attempt=tries)
            started = time.monotonic()
            full_wait_s = self._numbers.full_wait_s * min(metadata.num_delivered, _FULL_WAITS_MAX)
            outcome = await self._outcome(fact, message, tries, full_wait_s, log)
            try:
                await self._apply(outcome, fact, message, seq, tries, log)
            except LogFull as error:
                outcome = HandBack(str(error), full_wait_s)
                await self._apply(outcome, fact, message, seq, tries, log)
            log.info(type(outcome).__name__.lower(), seconds=round(time.monotonic() - started, 3), **_said(outcome))
        except _BROKER_AWAY as error:
            log.warning("not_settled", error=repr(error))
            if not isinstance(error, _REFUSED):
                self._owe(seq)
        finally:
            self._in_hand -= 1
            if not self._in_hand:
                self._idle.set()
        if self._stopping:
            await asyncio.Event().wait()  # never pull again: the broker's stop ends this task

    def _owe(self, seq: int) -> None:
        """The broker was away, or its disk full, which is no fault of the job: the delivery is to count as no try."""
        self._owed[seq] += 1
        if self._paying is None or self._paying.done():
            self._paying = asyncio.create_task(self._pay_soon())

    async def _pay_soon(self) -> None:
        while self._owed:
            await asyncio.sleep(_PAY_S)
            with contextlib.suppress(*_BROKER_AWAY):
                await self._pay()

    async def _pay(self) -> None:
        """Counted before it is forgotten: a crash between the two makes one more hand-back, and so one more try."""
        if not self._owed:
            return
        async with self._one_pays:
            while self._owed:
                seq = next(iter(self._owed))
                await self._handbacks.add(self._durable.name, seq)
                self._owed[seq] -= 1
                if not self._owed[seq]:
                    del self._owed[seq]

    async def _outcome(
        self,
        fact: facts.AnyFact,
        message: NatsMessage,
        tries: int,
        full_wait_s: float,
        log: structlog.stdlib.BoundLogger,
    ) -> Outcome:
        if tries > self._numbers.retries + 1:
            return Fail(FailureCode.WORKER_LOST, f"{tries - 1} workers did not come back")
        recorded = await self._joblog.facts_of(fact.job_id)
        over = next((one.fact for one in recorded if one.fact.run == fact.run and facts.ends_run(one.fact)), None)
        if over is not None and not facts.ends_run(fact) and not facts.follows_end(fact):
            return Drop(f"the run is {facts.name(over)}")
        if self._stopping:
            # Not at once: another worker of this process may still pull, and would only get it again.
            return HandBack("shutdown", _LATE_HAND_BACK_DELAY_S)
        subject = message.raw_message.subject
        work = Work(fact=fact, recorded=recorded, attempt=tries, subject=subject, log=log, joblog=self._joblog)
        task = asyncio.ensure_future(self._handler(fact, work))
        self._running[task] = fact
        try:
            async with heartbeat(
                message.in_progress, every_s=self._numbers.heartbeat_s, ceiling_s=self._durable.ceiling_s
            ):
                return Done(await task)
        except asyncio.CancelledError:
            if task in self._cancelled:
                return Drop("the run was cancelled")
            if self._stopping:
                return HandBack("shutdown")
            raise
        except Exception as error:  # noqa: BLE001 - the one place where whatever a handler raises becomes an outcome
            return self._after(error, tries, full_wait_s, log)
        finally:
            del self._running[task]
            self._cancelled.discard(task)

    def _after(self, error: Exception, tries: int, full_wait_s: float, log: structlog.stdlib.BoundLogger) -> Outcome:
        last = tries > self._numbers.retries
        told = ""
        match error:
            case Cancelled():
                return Drop("the engine was told to stop")
            case Permanent():
                code, detail, told = error.code, error.detail, error.told
                last = True
            case Retryable(code=FailureCode.STORE_FULL):
                return HandBack(str(error), full_wait_s)
            case Retryable():
                code, detail, told = error.code, error.detail, error.told
            case LogFull() | StoreFull():
                return HandBack(str(error), full_wait_s)
            case nats.errors.Error() if not isinstance(error, _REFUSED):
                raise error  # before TimeoutError: nats.errors.TimeoutError is one
            case TimeoutError():
                code, detail = FailureCode.TIMED_OUT, f"over {self._durable.ceiling_s:.0f} s"
            case Missing():
                code, detail = error.code, str(error)
                last = True
            case _:
                code, detail = FailureCode.INTERNAL, ""
                log.error("handler_crashed", exc_info=error)
        if last:
            return Fail(code, detail, told)
        return Retry(self._numbers.retry_delay(tries), code)

    async def _apply(
        self,
        outcome: Outcome,
        fact: facts.AnyFact,
        message: NatsMessage,
        seq: int,
        tries: int,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        match outcome:
            case Done(published):
                for result in published:
                    await self._joblog.append(result)
                await message.ack()
            case Retry(delay_s):
                await message.nack(delay=delay_s)
            case Fail(code, detail, told):
                reference = uuid.uuid4().hex[:12]
                log.error("gave_up", reference=reference, code=code, detail=detail)
                failed = facts.JobFailed(
                    job_id=fact.job_id,
                    run=fact.run,
                    owner=fact.owner,
                    at=datetime.now(UTC),
                    code=code,
                    stage=self._durable.name,
                    reference=reference,
                    attempts=tries,
                    detail=detail,
                    told=told,
                )
                await self._joblog.append(consequences.of_failure(fact, failed))
                await message.ack()
            case Drop():
                await message.ack()
            case HandBack(_, delay_s):
                await self._handbacks.add(self._durable.name, seq)
                await message.nack(delay=delay_s)


def _said(outcome: Outcome) -> dict[str, object]:
    match outcome:
        case Done(published):
            return {"published": [facts.name(fact) for fact in published]}
        case Retry(delay_s, code):
            return {"delay_s": delay_s, "code": code}
        case Fail(code):
            return {"code": code}
        case Drop(reason):
            return {"reason": reason}
        case HandBack(reason, delay_s):
            return {"reason": reason, "delay_s": delay_s}
