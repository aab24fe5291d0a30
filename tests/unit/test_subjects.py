from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import facts, subjects
from contracts.subjects import FactSubject

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TOKENS = st.text("abcXYZ019_-", min_size=1, max_size=40)


@given(owner=TOKENS, job_id=TOKENS, run=st.integers(1, 10**6))
def test_a_subject_is_parsed_back_into_what_it_was_built_from(owner: str, job_id: str, run: int) -> None:
    fact = facts.JobCancelled(job_id=job_id, run=run, owner=owner, at=NOW)
    assert subjects.parse(subjects.of(fact)) == FactSubject("cancelled", owner, job_id, run)


def test_a_numbered_fact_ends_with_its_number() -> None:
    fact = facts.ShareMinted(job_id="j", run=2, owner="anon", at=NOW, n=7, token_sha256="00")
    assert subjects.of(fact) == "job.share-minted.anon.j.2.7"
    assert subjects.parse("job.share-minted.anon.j.2.7").n == 7


@pytest.mark.parametrize("bad", ["a.b", "a b", "*", ">", "", "é", "a\n", "x" * 129])
def test_nothing_a_user_types_can_widen_a_subject(bad: str) -> None:
    with pytest.raises(ValueError, match="subject"):
        subjects.of_job(bad)


@pytest.mark.parametrize(
    "subject",
    ["job.accepted.anon.j", "job.accepted.anon.j.x", "progress.a.b.c.1", "job.a.b.c.1.2.3", "job.a.*.c.1", ""],
)
def test_what_is_no_fact_subject_is_refused(subject: str) -> None:
    with pytest.raises(ValueError, match="subject"):
        subjects.parse(subject)


def test_the_subjects_of_one_job_match_all_its_facts_and_no_other_stream() -> None:
    assert subjects.of_job("j1") == "job.*.*.j1.>"
    assert subjects.progress("j1", "transcribing") == "progress.j1.transcribing"
