"""What goes wrong in a soak, by name; which fault comes when is drawn from the seed before anything starts."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client

from chassis.joblog import Entry
from contracts import facts, topology
from tests.chaos import evidence
from tests.chaos.clients import Users
from tests.chaos.cluster import Cluster

WEIGHTS = {
    "service killed": 45,
    "worker stopped past ack_wait": 12,
    "service told to stop": 8,
    "nats-server killed": 6,
    "postgres killed": 6,
    "fact delivered again": 16,
    "late fact delivered again": 8,
    "poison": 6,
    "clock of the users jumped": 8,
}
"""How often each is drawn, beside those that come once or twice."""

ONCE = ("postgres away for 30 s", "store full", "store full", "log full", "log full")

_WORKERS = ("fetcher", "extractor", "transcriber", "diarizer", "exporter", "dispatcher", "janitor", "notifier")
_OUTAGE_S = 30.0
_FULL_S = 4.0
_POISON = (b"\xff\xfe not JSON", b'{"fact":"invented-later","v":9}', b'{"fact":"started","job_id":"x"}')
_BROKER_AWAY = (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError)


def drawn(seed: int, count: int) -> list[str]:
    """The faults of a soak, in order; those that come once are spread over it."""
    rng = random.Random(f"{seed} faults")
    once = list(ONCE[: max(0, count // 8)])
    names = rng.choices(list(WEIGHTS), weights=list(WEIGHTS.values()), k=max(0, count - len(once)))
    for number, name in enumerate(once):
        names.insert(round((number + 1) * len(names) / (len(once) + 1)), name)
    return names


class Faults:
    """Commits them. What lasts goes on in the background; `close` ends and undoes it."""

    def __init__(self, cluster: Cluster, client: Client, users: Users, seed: int) -> None:
        self.done: dict[str, int] = {}
        self.left_out: dict[str, str] = {}
        """Faults that this machine cannot have, and why."""
        self._cluster = cluster
        self._client = client
        self._users = users
        self._rng = random.Random(f"{seed} targets")
        self._lasting: set[asyncio.Task[None]] = set()
        self._acts: dict[str, Callable[[], Awaitable[None]]] = {
            "service killed": self._kill,
            "worker stopped past ack_wait": self._suspend,
            "service told to stop": self._terminate,
            "nats-server killed": self._kill_nats,
            "postgres killed": self._kill_postgres,
            "fact delivered again": self._again,
            "late fact delivered again": self._late,
            "poison": self._poison,
            "clock of the users jumped": self._jump,
            "postgres away for 30 s": self._postgres_away,
            "store full": self._fill_store,
            "log full": self._fill_log,
        }

    async def commit(self, name: str) -> None:
        """One fault."""
        await self._acts[name]()
        if name not in self.left_out:
            self.done[name] = self.done.get(name, 0) + 1

    async def close(self) -> None:
        """Wait until what lasts is over."""
        await asyncio.gather(*self._lasting)

    def _last(self, act: Awaitable[None]) -> None:
        task = asyncio.ensure_future(act)
        self._lasting.add(task)

    async def _kill(self) -> None:
        self._rng.choice(list(self._cluster.services.values())).kill()

    async def _terminate(self) -> None:
        service = self._rng.choice([one for one in self._cluster.services.values() if not one.suspended])
        self._last(_ignore(service.terminate()))

    async def _suspend(self) -> None:
        awake = [one for one in self._cluster.services.values() if one.kind in _WORKERS and not one.suspended]
        service = self._rng.choice(awake)
        service.suspend()

        async def resume() -> None:
            await asyncio.sleep(self._cluster.numbers.ack_wait_s + self._rng.uniform(0.5, 3.0))
            service.resume()

        self._last(resume())

    async def _kill_nats(self) -> None:
        self._cluster.nats.kill()

    async def _kill_postgres(self) -> None:
        if self._cluster.postgres.name not in self._cluster.held:
            self._cluster.postgres.kill()

    async def _postgres_away(self) -> None:
        self._cluster.held.add(self._cluster.postgres.name)
        self._cluster.postgres.kill()

        async def back() -> None:
            await asyncio.sleep(_OUTAGE_S)
            self._cluster.held.discard(self._cluster.postgres.name)

        self._last(back())

    async def _again(self) -> None:
        await self._deliver_again(late=False)

    async def _late(self) -> None:
        await self._deliver_again(late=True)

    async def _deliver_again(self, *, late: bool) -> None:
        """A stored fact once more, past the guard: what a delivery that comes twice or late looks like to a stage."""
        with suppress(*_BROKER_AWAY):
            entries = await evidence.log(self._client)
            ended = _ended(entries)
            chosen = [entry for entry in entries if (_run(entry) in ended) == late and _run(entry) is not None]
            if chosen:
                entry = self._rng.choice(chosen[-200:])
                await self._client.jetstream(timeout=2).publish(entry.subject, entry.body)

    async def _poison(self) -> None:
        subject = self._rng.choice(["started", "extracted", "chunk-requested", "chunk-transcribed", "invented-later"])
        number = self._rng.randrange(10**9)
        with suppress(*_BROKER_AWAY):
            js = self._client.jetstream(timeout=2)
            await js.publish(f"job.{subject}.anon.poison-{number}.1", self._rng.choice(_POISON))

    async def _jump(self) -> None:
        self._users.clock_off = timedelta(seconds=self._rng.choice([-86400, -3600, -5, 5, 3600, 86400]))

    async def _fill_store(self) -> None:
        if not self._cluster.has_disk_of_its_own:
            self.left_out["store full"] = "only root can give the store a small disk of its own"
            return
        self._cluster.fill_disk()

        async def free() -> None:
            await asyncio.sleep(_FULL_S)
            self._cluster.free_disk()

        self._last(free())

    async def _fill_log(self) -> None:
        self._last(self._full_log())

    async def _full_log(self) -> None:
        if await self._limit_log(None):
            await asyncio.sleep(_FULL_S)
            while not await self._limit_log(self._cluster.numbers.jobs_max_bytes):  # noqa: ASYNC110
                await asyncio.sleep(0.2)

    async def _limit_log(self, max_bytes: int | None) -> bool:
        js = self._client.jetstream(timeout=2)
        try:
            info = await js.stream_info(topology.JOBS)
            info.config.max_bytes = info.state.bytes if max_bytes is None else max_bytes
            await js.update_stream(info.config)
        except _BROKER_AWAY:
            return False
        return True


async def _ignore(act: Awaitable[object]) -> None:
    with suppress(AssertionError):  # suspended or killed in the meantime
        await act


def _run(entry: Entry) -> tuple[str, int] | None:
    try:
        fact = facts.decode(entry.body)
    except msgspec.MsgspecError:
        return None
    return fact.job_id, fact.run


def _ended(entries: list[Entry]) -> set[tuple[str, int] | None]:
    return {_run(entry) for entry in entries if (fact := _fact(entry)) is not None and facts.ends_run(fact)}


def _fact(entry: Entry) -> facts.AnyFact | None:
    try:
        return facts.decode(entry.body)
    except msgspec.MsgspecError:
        return None
