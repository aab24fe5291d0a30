"""Makes streams, durables and buckets what `contracts/topology.py` says. Idempotent; the only place that declares."""

from nats.aio.client import Client
from nats.js import JetStreamContext, api
from nats.js.errors import BadRequestError, NotFoundError

from contracts import topology
from contracts.topology import Numbers

_EXISTS = (10058, 10065)
_PROGRESS_MAX_AGE_S = 3600.0
_HANDBACKS_TTL_S = 2 * 86400.0
_LONGEST_LIFE_S = 7 * 86400.0
"""How long a job may wait, be worked on and be retried before its last end, from which retention counts (ADR 14)."""
_MAX_ACK_PENDING = 10_000
_DUPLICATE_WINDOW_S = 120.0


async def provision(client: Client, numbers: Numbers) -> None:
    """Create or update every stream, durable and bucket of the topology."""
    js = client.jetstream(timeout=10.0)
    await _buckets(js, numbers)
    for stream in _streams(numbers):
        try:
            await js.update_stream(stream)
        except NotFoundError:
            await js.add_stream(stream)
    for durable in topology.DURABLES:
        await js.add_consumer(durable.stream, _consumer(durable, numbers))


def _streams(numbers: Numbers) -> list[api.StreamConfig]:
    return [
        api.StreamConfig(
            name=topology.JOBS,
            description="the facts of every job: the log is the pipeline",
            subjects=["job.>"],
            retention=api.RetentionPolicy.LIMITS,
            storage=api.StorageType.FILE,
            discard=api.DiscardPolicy.NEW,
            max_age=_facts_age_s(numbers),
            max_bytes=numbers.jobs_max_bytes,
            num_replicas=numbers.replicas,
            compression=api.StoreCompression.S2,
            allow_direct=True,
            allow_msg_ttl=True,
            republish=api.RePublish(src="job.>", dest=f"{topology.LIVE}.job.>"),
        ),
        api.StreamConfig(
            name=topology.PROGRESS,
            description="how far each stage of a job is; lossy",
            subjects=["progress.>"],
            storage=api.StorageType.MEMORY,
            max_msgs_per_subject=1,
            max_age=_PROGRESS_MAX_AGE_S,
            num_replicas=numbers.replicas,
            allow_direct=True,
            republish=api.RePublish(src="progress.>", dest=f"{topology.LIVE}.progress.>"),
        ),
        api.StreamConfig(
            name=topology.DEAD,
            description="messages that were delivered too often",
            subjects=[f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{topology.JOBS}.*"],
            storage=api.StorageType.FILE,
            max_age=numbers.retention_s + 86400.0,
            num_replicas=numbers.replicas,
            allow_direct=True,
        ),
        api.StreamConfig(
            name=topology.SCHEDULES,
            description="facts that are to come, and those whose time has come",
            subjects=["schedule.>", "due.>"],
            storage=api.StorageType.FILE,
            num_replicas=numbers.replicas,
            max_age=numbers.retention_s + 2 * 86400.0,
            allow_msg_schedules=True,
            allow_msg_ttl=True,
            allow_direct=True,
        ),
    ]


def _facts_age_s(numbers: Numbers) -> float:
    """How long a fact is kept: `accepted` is needed until the job expires."""
    return numbers.retention_s + _LONGEST_LIFE_S


def _consumer(durable: topology.Durable, numbers: Numbers) -> api.ConsumerConfig:
    return api.ConsumerConfig(
        durable_name=durable.name,
        filter_subjects=durable.filter_subjects,
        ack_policy=api.AckPolicy.EXPLICIT,
        ack_wait=numbers.ack_wait_s,
        max_deliver=numbers.max_deliver,
        max_ack_pending=_MAX_ACK_PENDING,
        deliver_policy=api.DeliverPolicy.ALL,
        num_replicas=numbers.replicas,
    )


async def _buckets(js: JetStreamContext, numbers: Numbers) -> None:
    buckets = [
        api.KeyValueConfig(
            bucket=topology.ADMISSION, description="who waits and who runs", replicas=numbers.replicas, history=1
        ),
        api.KeyValueConfig(
            bucket=topology.HANDBACKS,
            description="deliveries that were no tries",
            ttl=_HANDBACKS_TTL_S,
            replicas=numbers.replicas,
            history=1,
        ),
        api.KeyValueConfig(
            bucket=topology.UPLOADS,
            description="how far each upload is, and whose it is",
            ttl=numbers.abandoned_s,
            replicas=numbers.replicas,
            history=1,
        ),
        api.KeyValueConfig(
            bucket=topology.NOTIFICATIONS,
            description="browsers that wait for the end of a job",
            ttl=_facts_age_s(numbers),
            replicas=numbers.replicas,
            history=1,
        ),
    ]
    for bucket in buckets:
        try:
            await js.create_key_value(bucket)
        except BadRequestError as error:
            if error.err_code not in _EXISTS:
                raise
            await _aged(js, bucket)


async def _aged(js: JetStreamContext, bucket: api.KeyValueConfig) -> None:
    """Make a bucket that exists forget after the time that is asked for now."""
    config = (await js.stream_info(f"KV_{bucket.bucket}")).config
    if bucket.ttl is not None and config.max_age != bucket.ttl:
        window = min(bucket.ttl, _DUPLICATE_WINDOW_S)
        await js.update_stream(config.evolve(max_age=bucket.ttl, duplicate_window=window))
