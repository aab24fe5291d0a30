import stat
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.errors import CliError
from cli.tokens import KEPT, SubmittedJob, TokenFile, server_name

HERE = "http://127.0.0.1:8000"


def job(job_id: str, server: str = HERE) -> SubmittedJob:
    return SubmittedJob(
        job_id=job_id,
        token=f"token-{job_id}",
        server=server_name(server),
        filename="talk.mp4",
        submitted_at=datetime(2026, 1, 2, tzinfo=UTC),
    )


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "subtide" / "jobs.json")


def test_a_kept_token_is_found_by_the_beginning_of_its_job_id(tokens: TokenFile) -> None:
    tokens.add(job("abcdef"))
    tokens.add(job("abxyz"))
    assert tokens.find(HERE, "abc").token == "token-abcdef"
    assert [known.job_id for known in tokens.of_server(HERE)] == ["abxyz", "abcdef"]


def test_a_beginning_that_several_jobs_share_is_refused(tokens: TokenFile) -> None:
    tokens.add(job("abcdef"))
    tokens.add(job("abxyz"))
    with pytest.raises(CliError, match="2 jobs begin with ab"):
        tokens.find(HERE, "ab")


def test_an_unknown_job_is_refused_with_what_to_do(tokens: TokenFile) -> None:
    with pytest.raises(CliError, match="--token"):
        tokens.find(HERE, "abc")


def test_nobody_else_can_read_the_tokens(tokens: TokenFile, tmp_path: Path) -> None:
    tokens.add(job("abc"))
    assert stat.S_IMODE((tmp_path / "subtide" / "jobs.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "subtide").stat().st_mode) == 0o700


def test_tokens_are_kept_apart_by_server_but_not_by_port_of_this_machine(tokens: TokenFile) -> None:
    tokens.add(job("here", "http://localhost:5555"))
    tokens.add(job("there", "https://subtitles.example.org"))
    assert [known.job_id for known in tokens.of_server("http://127.0.0.1:8000/")] == ["here"]
    assert [known.job_id for known in tokens.of_server("https://subtitles.example.org/")] == ["there"]
    assert tokens.of_server("https://example.org") == []


def test_submits_at_the_same_time_lose_no_token(tokens: TokenFile) -> None:
    threads = [threading.Thread(target=tokens.add, args=(job(f"job-{n}"),)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens.of_server(HERE)) == 16


def test_the_oldest_tokens_make_room(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path / "jobs.json")
    for n in range(KEPT + 2):
        tokens.add(job(f"job-{n}"))
    kept = tokens.of_server(HERE)
    assert (len(kept), kept[0].job_id, kept[-1].job_id) == (KEPT, f"job-{KEPT + 1}", "job-2")


def test_a_damaged_file_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "jobs.json"
    path.write_text("{")
    with pytest.raises(CliError, match=r"jobs\.json is damaged"):
        TokenFile(path).add(job("abc"))
    assert path.read_text() == "{"
