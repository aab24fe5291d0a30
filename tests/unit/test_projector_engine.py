import random
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import facts, progress, subjects
from services.projector import engine
from tests.lives import AT, ENDS, accepted, life

JOB = f"{0:032x}"
NUMBER_OF = {end: number for number, end in enumerate(ENDS)}


def messages(*said: facts.Fact, first_seq: int = 1) -> list[engine.Message]:
    return [
        engine.Message(seq=seq, subject=subjects.of(fact), body=facts.encode(fact))
        for seq, fact in enumerate(said, first_seq)
    ]


class Tables:
    """What Postgres does with the changes, in memory."""

    def __init__(self) -> None:
        self.watermark = 0
        self.views: dict[str, progress.JobView] = {}
        self.expired: dict[str, int] = {}
        self.unknown: list[engine.Unknown] = []

    def apply(self, batch: list[engine.Message]) -> engine.Changes:
        changes = engine.project(self.watermark, batch, self.views, self.expired)
        self.watermark = changes.watermark
        self.expired |= changes.expired
        self.views |= {view.job_id: view for view in changes.views}
        for job_id in changes.expired:
            self.views.pop(job_id, None)
        self.unknown += changes.unknown
        return changes

    def dump(self) -> object:
        rows = sorted((engine.row(view) for view in self.views.values()), key=lambda row: row.job_id)
        return self.watermark, rows, self.expired, self.unknown


@st.composite
def logs(draw: st.DrawFn) -> list[engine.Message]:
    """Lives of some jobs that run beside one another, facts that came again, and poison between them."""
    lives = [life(number) for number in draw(st.sets(st.integers(0, 17), min_size=1, max_size=6))]
    chance = random.Random(draw(st.integers(0, 2**32)))
    bodies: list[tuple[str, bytes]] = []
    while lives := [rest for rest in lives if rest]:
        fact = chance.choice(lives).pop(0)
        bodies.append((subjects.of(fact), facts.encode(fact)))
        if chance.random() < 0.2:
            bodies.append(chance.choice(bodies))
        if chance.random() < 0.1:
            bodies.append(("job.accepted.anon.x.1", chance.choice([b"", b"{", b'{"fact":"later"}', b"\xff"])))
    return [engine.Message(seq=2 * n, subject=subject, body=body) for n, (subject, body) in enumerate(bodies, 1)]


@given(logs(), st.data())
def test_rows_do_not_depend_on_how_the_log_was_cut_into_batches(log: list[engine.Message], data: st.DataObject) -> None:
    one_by_one, at_once, by_chance = Tables(), Tables(), Tables()
    for message in log:
        one_by_one.apply([message])
    at_once.apply(log)
    rest = log
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        by_chance.apply(rest[:size])
        rest = rest[size:]
    assert one_by_one.dump() == at_once.dump() == by_chance.dump()


@given(logs(), st.data())
def test_a_row_that_the_log_made_needs_no_healing_and_any_other_is_made_so(
    log: list[engine.Message], data: st.DataObject
) -> None:
    tables, earlier = Tables(), Tables()
    earlier.apply(log[: data.draw(st.integers(1, len(log)))])
    tables.apply(log)
    for job_id, view in earlier.views.items():
        history = [message for message in log if f".{job_id}." in message.subject]
        healing = engine.heal(engine.row(view), history, tables.watermark)
        if job_id not in tables.views:
            assert healing == engine.Healing(job_id=job_id, row=None, expired=tables.expired[job_id])
            continue
        right = engine.row(tables.views[job_id])
        assert engine.heal(right, history, tables.watermark) is None
        assert healing is None if engine.row(view) == right else healing == engine.Healing(job_id=job_id, row=right)


def test_a_fact_that_came_again_is_without_effect() -> None:
    told, again = Tables(), Tables()
    whole = life(NUMBER_OF["completed"])
    told.apply(messages(*whole))
    again.apply(messages(*(fact for fact in whole for _ in range(2))))
    assert msgspec.structs.replace(again.views[JOB], seq=0) == msgspec.structs.replace(told.views[JOB], seq=0)


def test_an_expired_job_is_gone_and_nothing_brings_it_back() -> None:
    tables = Tables()
    whole = life(NUMBER_OF["expired"])
    tables.apply(messages(*whole))
    late = messages(*whole, accepted(NUMBER_OF["expired"], run=2), first_seq=len(whole) + 1)
    for batch in ([late[0]], late[1:]):
        tables.apply(batch)
    assert (tables.views, tables.unknown) == ({}, [])
    assert len(tables.expired) == 1


def test_a_job_that_expired_after_the_log_forgot_its_beginning_is_no_riddle() -> None:
    tables = Tables()
    [*_, expired, late] = life(NUMBER_OF["expired"])
    tables.apply(messages(expired, late))
    assert (tables.views, tables.unknown) == ({}, [])


@pytest.mark.parametrize(
    ("fact", "subject", "reason"),
    [
        (accepted(0), "job.accepted.anon.other.1", "subject"),
        (life(0)[1], None, "never accepted"),
        (msgspec.structs.replace(accepted(0), at=AT.replace(year=1)), None, "reckoned"),
        (msgspec.structs.replace(accepted(0), run=2**40), None, "2147483647"),
        (msgspec.structs.replace(accepted(0), at=AT.replace(tzinfo=None)), None, "timezone"),
        (msgspec.structs.replace(accepted(0), token_sha256="\x00"), None, "[0-9a-f]{64}"),
    ],
)
def test_what_no_table_could_hold_is_kept_aside(fact: facts.AnyFact, subject: str | None, reason: str) -> None:
    message = engine.Message(seq=1, subject=subject or subjects.of(fact), body=facts.encode(fact))
    changes = engine.project(0, [message], {})
    assert not changes.views
    assert [(one.message, reason in one.reason) for one in changes.unknown] == [(message, True)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"\xff\xfe",
        b'{"fact":"accepted\xff"}',
        b'{"fact":"a\\u0000b"}',
        b'{"fact":"accepted","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"fact":"cancelled","job_id":"x","run":1,"owner":"anon","at":"9999-12-31T23:59:59-14:00"}',
        b'{"fact":"cancelled","job_id":"x","run":1,"owner":"anon","at":"0001-01-01T00:00:00+14:00"}',
        b'{"fact":"cancelled","job_id":"x","run":1e999,"owner":"anon","at":"2026-01-01T00:00:00Z"}',
        b'{"fact":"cancelled","job_id":"x y","run":1,"owner":"anon","at":"2026-01-01T00:00:00Z"}',
    ],
)
def test_no_body_stops_the_projection(body: bytes) -> None:
    message = engine.Message(seq=1, subject="job.cancelled.anon.x.1", body=body)
    changes = engine.project(0, [message, *messages(accepted(0), first_seq=2)], {})
    assert [one.message.seq for one in changes.unknown] == [1]
    assert [view.job_id for view in changes.views] == [JOB]


def test_a_fact_that_makes_a_job_which_cannot_be_stored_is_kept_aside_and_the_job_goes_on() -> None:
    [first, started, extracted, planned, _, chunk, *_] = life(0)
    long = msgspec.structs.replace(planned, receipt=facts.StageReceipt(engine="x", seconds=1.7e308))
    endless = msgspec.structs.replace(chunk, receipt=long.receipt)  # together: infinite, which JSON cannot say
    tables = Tables()
    tables.apply(messages(first, started, extracted, long, endless, chunk))
    assert [one.message.seq for one in tables.unknown] == [5]
    assert tables.views[JOB].chunks_done == [0]


def test_a_fact_of_a_later_version_with_more_fields_is_read() -> None:
    body = facts.encode(accepted(0)).replace(b'{"fact"', b'{"added_later":{"a":[1]},"fact"', 1)
    [view] = engine.project(0, [engine.Message(seq=1, subject=subjects.of(accepted(0)), body=body)], {}).views
    assert view == progress.fold(None, accepted(0), 1)


@pytest.mark.parametrize("seqs", [[5, 6], [7, 7], [8, 7]])
def test_a_batch_out_of_order_is_refused(seqs: list[int]) -> None:
    batch = [msgspec.structs.replace(messages(accepted(0))[0], seq=seq) for seq in seqs]
    with pytest.raises(engine.OutOfOrder):
        engine.project(5, batch, {})


def test_what_opens_a_job_is_its_own_token_and_every_share_that_is_not_revoked() -> None:
    tables = Tables()
    tables.apply(messages(*life(NUMBER_OF["running"])))
    number = NUMBER_OF["running"]
    [view] = tables.views.values()
    assert engine.row(view).tokens == [
        engine.Token(token_sha256=f"{number:064x}", share_n=0),
        engine.Token(token_sha256=f"1{number:063x}", share_n=1),
    ]


class TestHealing:
    def stored(self) -> tuple[engine.Row, list[engine.Message]]:
        history = messages(*life(NUMBER_OF["running"]))
        [view] = engine.project(0, history, {}).views
        return engine.row(view), history

    @pytest.mark.parametrize(
        "edited",
        [
            {"owner": "somebody"},
            {"status": "completed"},
            {"accepted_at": AT + timedelta(days=1)},
            {"seq": 1},
            {"view": b"{}"},
            {"view": b"\xff"},
            {"tokens": []},
        ],
    )
    def test_whatever_was_edited_is_put_right(self, edited: dict[str, object]) -> None:
        right, history = self.stored()
        wrong = msgspec.structs.replace(right, **edited)
        assert engine.heal(wrong, history, len(history)) == engine.Healing(job_id=right.job_id, row=right)

    def test_facts_after_the_watermark_are_not_yet_in_a_row(self) -> None:
        right, history = self.stored()
        more = [*history, *messages(facts.JobCancelled(job_id=right.job_id, run=1, owner="anon", at=AT), first_seq=99)]
        assert engine.heal(right, more, len(history)) is None

    def test_a_row_that_the_log_says_nothing_of_is_to_go(self) -> None:
        right, history = self.stored()
        assert engine.heal(right, [], len(history)) == engine.Healing(job_id=right.job_id, row=None)

    def test_a_row_stays_that_knows_more_than_the_log_which_forgot_the_beginning(self) -> None:
        right, history = self.stored()
        assert engine.heal(right, history[3:], len(history)) is None

    def test_but_one_that_nobody_can_read_goes_then(self) -> None:
        right, history = self.stored()
        unreadable = msgspec.structs.replace(right, view=b"\xff")
        assert engine.heal(unreadable, history[3:], len(history)) == engine.Healing(job_id=right.job_id, row=None)


def test_an_unreadable_row_is_named() -> None:
    with pytest.raises(engine.Unreadable) as raised:
        engine.view("a", b'{"job_id": null}')
    assert raised.value.job_id == "a"
