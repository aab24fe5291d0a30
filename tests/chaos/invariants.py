"""What must be true once all is quiet: pure functions of the evidence, with a sentence for whatever is wrong."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import msgspec

from chassis.admission import Ledger
from chassis.joblog import Entry
from contracts import facts, progress
from contracts.artifacts import ArtifactRef, fetched_note, finished_key, part_keys
from tests.chaos.evidence import Consumer, Evidence, File

Run = tuple[str, int]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Sentences by kind of defect."""

    lost: list[str]
    stuck: list[str]
    duplicated: list[str]
    other: list[str]

    @property
    def sentences(self) -> list[str]:
        """All that is wrong."""
        return [*self.lost, *self.stuck, *self.duplicated, *self.other]


def verdict(evidence: Evidence, promised: Collection[Run], *, young_s: float) -> Verdict:
    """Everything at once. `promised`: the runs that were answered with 202. Files younger than `young_s` may lie."""
    entries = evidence.entries
    return Verdict(
        lost=without_acceptance(entries, promised),
        stuck=[*without_end(entries), *left_in_the_ledger(evidence.ledger), *left_undone(evidence.consumers)],
        duplicated=[*with_two_ends(entries), *told_twice(entries), *accepted_twice(entries)],
        other=[*other_than_replayed(entries, evidence.rows), *orphans(entries, evidence.files, young_s=young_s)],
    )


def readable(entries: Sequence[Entry]) -> list[tuple[int, facts.AnyFact]]:
    """The facts among the messages of a log."""
    known = []
    for entry in entries:
        try:
            known.append((entry.seq, facts.decode(entry.body)))
        except msgspec.MsgspecError:
            continue
    return known


def without_acceptance(entries: Sequence[Entry], promised: Collection[Run]) -> list[str]:
    """A run that a client was promised, but the log does not know."""
    accepted = {(fact.job_id, fact.run) for _, fact in readable(entries) if isinstance(fact, facts.JobAccepted)}
    return [f"job {job_id} run {run}: answered with 202, not in the log" for job_id, run in {*promised} - accepted]


def without_end(entries: Sequence[Entry]) -> list[str]:
    """A run that was accepted and has no terminal fact."""
    known = readable(entries)
    ended = {(fact.job_id, fact.run) for _, fact in known if facts.ends_run(fact)}
    last = {(fact.job_id, fact.run): facts.name(fact) for _, fact in known}
    accepted = {(fact.job_id, fact.run) for _, fact in known if isinstance(fact, facts.JobAccepted)}
    return [
        f"job {job_id} run {run}: no end; the last that is known is {last[job_id, run]}"
        for job_id, run in sorted(accepted - ended)
    ]


def with_two_ends(entries: Sequence[Entry]) -> list[str]:
    """A run with more than one terminal fact, or with an end and no beginning."""
    ends: dict[Run, set[bytes]] = defaultdict(set)
    accepted = set()
    for _, fact in readable(entries):
        if facts.ends_run(fact):
            ends[fact.job_id, fact.run].add(facts.encode(fact))
        elif isinstance(fact, facts.JobAccepted):
            accepted.add((fact.job_id, fact.run))
    sentences = [
        f"job {job_id} run {run}: {len(bodies)} different ends"
        for (job_id, run), bodies in sorted(ends.items())
        if len(bodies) > 1
    ]
    return sentences + [
        f"job {job_id} run {run}: ended without having been accepted" for job_id, run in sorted({*ends} - accepted)
    ]


def told_twice(entries: Sequence[Entry]) -> list[str]:
    """A subject, which is the identity of a fact, that was stored with different contents."""
    bodies: dict[str, set[bytes]] = defaultdict(set)
    for entry in entries:
        bodies[entry.subject].add(entry.body)
    return [f"{subject}: stored with {len(them)} contents" for subject, them in bodies.items() if len(them) > 1]


def accepted_twice(entries: Sequence[Entry]) -> list[str]:
    """A file name that two jobs have: the clients of the chaos give each submit a name of its own."""
    jobs: dict[str, set[str]] = defaultdict(set)
    for _, fact in readable(entries):
        if isinstance(fact, facts.JobAccepted):
            jobs[fact.filename].add(fact.job_id)
    return [f"{name}: one submit made {len(ids)} jobs" for name, ids in jobs.items() if len(ids) > 1]


def other_than_replayed(entries: Sequence[Entry], rows: Mapping[str, bytes]) -> list[str]:
    """A row that is not what a replay of the log makes of the job, a job without a row, a row without a job."""
    views: dict[str, progress.JobView] = {}
    expired = set()
    for seq, fact in readable(entries):
        view = progress.fold(views.get(fact.job_id), fact, seq)
        if isinstance(fact, facts.JobExpired):
            expired.add(fact.job_id)
        if view is not None:
            views[fact.job_id] = view
    due = {job_id: msgspec.json.encode(view) for job_id, view in views.items() if job_id not in expired}
    return [
        *(f"job {job_id}: has no row" for job_id in sorted(due.keys() - rows.keys())),
        *(f"job {job_id}: has a row and should not" for job_id in sorted(rows.keys() - due.keys())),
        *(
            f"job {job_id}: the row differs from the replay"
            for job_id in sorted(due.keys() & rows.keys())
            if due[job_id] != rows[job_id]
        ),
    ]


def left_in_the_ledger(ledger: Ledger) -> list[str]:
    """A place that nobody gave back."""
    return [
        f"job {job_id} run {place.run}: still {place.state} in the ledger" for job_id, place in ledger.places.items()
    ]


def left_undone(consumers: Sequence[Consumer]) -> list[str]:
    """A durable with messages that were not delivered or not acked."""
    return [
        f"{one.name}: {one.pending} messages not delivered, {one.unacked} not acked"
        for one in consumers
        if one.pending or one.unacked
    ]


def orphans(entries: Sequence[Entry], files: Sequence[File], *, young_s: float) -> list[str]:
    """A file that no fact of an unexpired job speaks of. One younger than `young_s` may still be spoken of."""
    spoken = _spoken_of(entries)
    return [f"{file.path}: an orphan" for file in files if file.age_s >= young_s and file.path not in spoken]


def deleted(entries: Sequence[Entry]) -> int:
    """How many jobs expired, which is what a deletion on request is."""
    return len({fact.job_id for _, fact in readable(entries) if isinstance(fact, facts.JobExpired)})


def longest_silence_s(entries: Sequence[Entry]) -> float:
    """The longest time in which nothing was said of a run that was in work."""
    at: dict[Run, float] = {}
    longest = 0.0
    over = set()
    for entry in entries:
        try:
            fact = facts.decode(entry.body)
        except msgspec.MsgspecError:
            continue
        run = (fact.job_id, fact.run)
        now = entry.stored_at.timestamp()
        if run in over:
            continue
        if run in at:
            longest = max(longest, now - at[run])
        if run in at or isinstance(fact, facts.JobStarted):
            at[run] = now
        if facts.ends_run(fact):
            over.add(run)
    return longest


def _spoken_of(entries: Sequence[Entry]) -> set[str]:
    known = [fact for _, fact in readable(entries)]
    expired = {fact.job_id for fact in known if isinstance(fact, facts.JobExpired)}
    spoken: set[str] = set()
    for fact in known:
        if fact.job_id in expired:
            continue
        for name in fact.__struct_fields__:
            value = getattr(fact, name)
            if isinstance(value, ArtifactRef):
                spoken |= {*part_keys(value)}
            elif name == "results":
                spoken |= {ref.key for ref in value.values()}
        if isinstance(fact, facts.AudioExtracted):
            spoken.add(fact.audio.key.removesuffix("wav") + "media.json")
        elif isinstance(fact, facts.SourceFetched):
            spoken.add(fetched_note(fact.owner, fact.job_id))
        if isinstance(fact, facts.JobStarted | facts.SourceFetched) and fact.source is not None:
            spoken.add(finished_key(fact.owner, fact.source.digest, fact.parameters))
    return spoken
