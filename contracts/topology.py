"""Streams, durables and KV buckets, as data; every number of the topology. `subtide provision` makes it so."""

import msgspec

from contracts import subjects
from contracts.facts import (
    AudioExtracted,
    BatchAccepted,
    ChunkRequested,
    ChunkTranscribed,
    Fact,
    JobAccepted,
    JobCancelled,
    JobCompleted,
    JobExpired,
    JobFailed,
    JobStarted,
    SourceFetched,
    SpeakersDiarized,
    TranscriptEdited,
    TranscriptionPlanned,
)

JOBS = "JOBS"
PROGRESS = "PROGRESS"
DEAD = "DEAD"
SCHEDULES = "SCHEDULES"
LIVE = subjects.LIVE
ADMISSION = "admission"
HANDBACKS = "handbacks"
UPLOADS = "uploads"
NOTIFICATIONS = "notifications"
STREAMS = frozenset(
    {JOBS, PROGRESS, DEAD, SCHEDULES, *(f"KV_{name}" for name in (ADMISSION, HANDBACKS, UPLOADS, NOTIFICATIONS))}
)
"""Everything that the broker keeps for us; a bucket is a stream, too."""


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers an operator may change (environment: SUBTIDE_<NAME>); tests use shorter ones, never other code."""

    retention_s: float = 7 * 86400.0
    """How long a finished job is kept."""
    jobs_max_bytes: int = 1 << 30
    """Size of the log; a full log refuses new facts instead of forgetting old ones."""
    replicas: int = 1
    """Copies of every stream and bucket: 1 on a laptop, 3 in a cluster."""
    ack_wait_s: float = 90.0
    """A worker silent for so long has lost its message to another."""
    heartbeat_s: float = 30.0
    """How often a worker says that it is still at work."""
    retries: int = 3
    """Further tries after the first."""
    retry_delay_s: float = 2.0
    """Wait before the first retry; each further one waits `retry_factor` times longer."""
    retry_factor: float = 4.0
    full_wait_s: float = 30.0
    """Wait before a message is tried again that met a full disk or a full log; it does not count as a try."""
    max_deliver: int = 1000
    """The wider net: hand-backs do not count as tries, but they are deliveries."""
    reconcile_s: float = 300.0
    """How often the log is held against what follows from it, and what is missing put right."""
    abandoned_s: float = 86400.0
    """How long a stored file that no job speaks of is kept: an upload that broke off, a result nobody waited for."""
    window: int = 4
    """Chunks of one job that may be requested at a time."""

    def retry_delay(self, tries: int) -> float:
        """Seconds to wait after `tries` failed tries: 2, 8, 32 by default."""
        return float(self.retry_delay_s * self.retry_factor ** (tries - 1))


class Durable(msgspec.Struct, frozen=True, kw_only=True):
    """One durable pull consumer: one per stage. Wakes on facts in `JOBS`, or on `subjects` of another stream."""

    name: str
    stream: str = JOBS
    wakes_on: tuple[type[Fact], ...] = ()
    subjects: tuple[str, ...] = ()
    ceiling_s: float
    """Longest a message may be worked on; a hung engine is killed then, since a heartbeat would keep it for ever."""

    @property
    def filter_subjects(self) -> list[str]:
        """What the consumer is sent."""
        return [*(subjects.every(fact) for fact in self.wakes_on), *self.subjects]


DISPATCHER = Durable(
    name="dispatcher", wakes_on=(JobAccepted, BatchAccepted, JobCompleted, JobFailed, JobCancelled), ceiling_s=60.0
)
FETCHER = Durable(name="fetcher", wakes_on=(JobStarted,), ceiling_s=12 * 3600.0)
EXTRACTOR = Durable(name="extractor", wakes_on=(JobStarted, SourceFetched), ceiling_s=4 * 3600.0)
TRANSCRIBER = Durable(name="transcriber", wakes_on=(AudioExtracted, ChunkRequested), ceiling_s=2 * 3600.0)
DIARIZER = Durable(name="diarizer", wakes_on=(AudioExtracted,), ceiling_s=12 * 3600.0)
EXPORTER = Durable(
    name="exporter",
    wakes_on=(TranscriptionPlanned, ChunkTranscribed, SpeakersDiarized, TranscriptEdited),
    ceiling_s=1800.0,
)
JANITOR = Durable(name="janitor", wakes_on=(JobCompleted, JobFailed, JobCancelled, JobExpired), ceiling_s=600.0)
NOTIFIER = Durable(name="notifier", wakes_on=(JobCompleted, JobFailed, JobExpired), ceiling_s=300.0)
RETENTION = Durable(name="retention", stream=SCHEDULES, subjects=("due.>",), ceiling_s=60.0)
UNDERTAKER = Durable(
    name="undertaker",
    stream=DEAD,
    subjects=(f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{JOBS}.*",),
    ceiling_s=60.0,
)
"""Turns a message that was delivered too often into the failure of its job."""

DURABLES: tuple[Durable, ...] = (
    DISPATCHER,
    FETCHER,
    EXTRACTOR,
    TRANSCRIBER,
    DIARIZER,
    EXPORTER,
    JANITOR,
    NOTIFIER,
    RETENTION,
    UNDERTAKER,
)
