"""`python -m tests.chaos.soak --seed N --jobs 300 --faults 200`: users, faults, and a verdict from the log.

The seed decides what the users do and what goes wrong when; a seed that failed can be run again.
"""

import argparse
import asyncio
import random
import shutil
import sys
import time

import asyncpg
import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client

from tests.chaos import clients, evidence, faults, invariants
from tests.chaos.cluster import Cluster, running
from tests.chaos.invariants import Verdict

_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, nats.errors.Error, nats.js.errors.Error)
_LIMITS = {"SUBTIDE_MAX_QUEUED_JOBS": "60", "SUBTIDE_MAX_ACTIVE_JOBS": "12", "SUBTIDE_MAX_ACTIVE_PER_OWNER": "12"}
_FAULT_EVERY_S = 1.6
_WORK_S = 0.3
_SETTLE_S = 150.0
_SENTENCES_MAX = 50
_WATCHED_S = 20.0
_YOUNG_S = 45.0
"""Files may lie as long without a fact: the janitor takes them after `abandoned_s`, at its next round."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a soak found."""

    table: list[tuple[str, str]]
    verdict: Verdict
    complaints: list[str]

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.verdict.sentences and not self.complaints


async def soak(cluster: Cluster, *, seed: int, jobs: int, fault_count: int) -> Outcome:
    """Run it, and judge."""
    began = time.monotonic()
    users = clients.Users(cluster.gateways, seed)
    client = await cluster.connect()
    harm = faults.Faults(cluster, client, users, seed)
    duration_s = max(fault_count * _FAULT_EVERY_S, jobs * 0.5)
    async with cluster.supervised():
        living = [
            asyncio.create_task(_after(number * duration_s / jobs, users, plan))
            for number, plan in enumerate(clients.plans(seed, jobs, work_s=_WORK_S))
        ]
        rng = random.Random(f"{seed} pauses")
        for number, name in enumerate(faults.drawn(seed, fault_count), start=1):
            await asyncio.sleep(duration_s / fault_count * rng.uniform(0.5, 1.5))
            await harm.commit(name)
            if number % 20 == 0:
                over = sum(task.done() for task in living)
                print(f"  {number} faults, {over} of {jobs} users done, {time.monotonic() - began:.0f} s", flush=True)
        await harm.close()
        _, unserved = await asyncio.wait(living, timeout=_SETTLE_S)
        await users.watched(_WATCHED_S)
        found, known = await _settled(cluster, client, users)
        await asyncio.sleep(1)
    for task in unserved:
        task.cancel()
    complaints = list(users.complaints)
    if unserved:
        complaints.append(f"{len(unserved)} users still wait for the end of their job")
    complaints += [
        repr(task.exception()) for task in living if task.done() and not task.cancelled() and task.exception()
    ]
    readable = invariants.readable(known.entries)
    complaints += [sentence for watcher in users.watchers for sentence in watcher.complaints(readable)]
    await users.close()
    await client.close()
    table = [
        ("jobs", str(jobs)),
        ("runs", str(len(users.promised))),
        *((f"  {status}", str(count)) for status, count in sorted(users.ended.items())),
        ("faults", str(sum(harm.done.values()))),
        *((f"  {name}", str(count)) for name, count in sorted(harm.done.items())),
        *((f"  {name}", f"left out: {why}") for name, why in harm.left_out.items()),
        ("restarts by the supervisor", str(cluster.restarts)),
        ("requests without an answer", str(users.unanswered)),
        ("submits refused for a while", str(users.refused)),
        ("websockets", f"{len(users.watchers)}, connected {sum(one.connections for one in users.watchers)} times"),
        ("facts", str(len(known.entries))),
        ("jobs deleted by their users", str(invariants.deleted(known.entries))),
        ("files in the store", str(len(known.files))),
        ("lost", str(len(found.lost))),
        ("stuck", str(len(found.stuck))),
        ("duplicated", str(len(found.duplicated))),
        ("slowest recovery", f"{invariants.longest_silence_s(known.entries):.1f} s without news of a job in work"),
        ("wall time", f"{time.monotonic() - began:.0f} s"),
        ("seed", str(seed)),
    ]
    return Outcome(table=table, verdict=found, complaints=complaints)


async def _after(delay_s: float, users: clients.Users, plan: clients.Plan) -> None:
    await asyncio.sleep(delay_s)
    await users.live(plan)


async def _settled(cluster: Cluster, client: Client, users: clients.Users) -> tuple[Verdict, evidence.Evidence]:
    """The verdict once nothing is wrong, or what is still wrong when patience ends."""
    deadline = time.monotonic() + _SETTLE_S
    while True:
        try:
            known = await evidence.gather(client, cluster.postgres.url, cluster.artifacts)
        except _AWAY:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.5)
            continue
        found = invariants.verdict(known, users.promised, young_s=0.0)
        if not found.sentences:
            return found, known
        if time.monotonic() > deadline:
            return invariants.verdict(known, users.promised, young_s=_YOUNG_S), known
        await asyncio.sleep(1.0)


async def _main(seed: int, jobs: int, fault_count: int) -> int:
    print(f"Soak with seed {seed}: {jobs} jobs, {fault_count} faults.", flush=True)
    async with running(environ=_LIMITS, keep=True) as cluster:
        outcome = await soak(cluster, seed=seed, jobs=jobs, fault_count=fault_count)
    width = max(len(name) for name, _ in outcome.table)
    for name, value in outcome.table:
        print(f"{name:<{width}}  {value}")
    if outcome.good:
        shutil.rmtree(cluster.folder, ignore_errors=True)
        return 0
    wrong = [*outcome.verdict.sentences, *outcome.complaints]
    for sentence in wrong[:_SENTENCES_MAX]:
        print(f"WRONG: {sentence}")
    if len(wrong) > _SENTENCES_MAX:
        print(f"and {len(wrong) - _SENTENCES_MAX} more")
    print(f"The logs of all services are in {cluster.folder / 'logs'}; run it again with SEED={seed}.")
    return 1


def main() -> None:
    """Parse, run, exit."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="default: random, and printed")
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--faults", type=int, default=200)
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    sys.exit(asyncio.run(_main(seed, given.jobs, given.faults)))


if __name__ == "__main__":
    main()
