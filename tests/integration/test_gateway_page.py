"""The page's files: one document at every address of it, files that never change, and what there is without a build."""

import gzip
from pathlib import Path

import pytest

from services.gateway import documents, page
from tests.integration.conftest import Gateway

SCRIPT = b"console.log('tide');" * 50


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page of one script."""
    folder = tmp_path / "static" / "assets" / "web"
    folder.mkdir(parents=True)
    (tmp_path / "static" / "index.html").write_text("<title>Built</title>")
    (folder / "index-1a2b.js").write_bytes(SCRIPT)
    (folder / "index-1a2b.js.gz").write_bytes(gzip.compress(SCRIPT))
    (folder / "notes.html").write_text("no part of the page")
    monkeypatch.setattr(page, "STATIC", tmp_path / "static")
    return folder


async def test_every_address_of_the_page_gives_the_page(gateway: Gateway, built: Path) -> None:
    for path in ("/", "/jobs/0123456789abcdef0123456789abcdef", "/jobs/nosuchjob"):
        answer = await gateway.http.get(path)
        assert (answer.status_code, answer.text) == (200, "<title>Built</title>")
        assert answer.headers["cache-control"] == "no-cache"
        assert "default-src 'self'" in answer.headers["content-security-policy"]


async def test_its_files_are_kept_for_ever_and_sent_small(gateway: Gateway, built: Path) -> None:
    small = await gateway.http.get("/assets/web/index-1a2b.js", headers={"Accept-Encoding": "gzip"})
    assert small.content == SCRIPT
    assert small.headers["content-encoding"] == "gzip"
    assert int(small.headers["content-length"]) < len(SCRIPT)
    assert "immutable" in small.headers["cache-control"]
    whole = await gateway.http.get("/assets/web/index-1a2b.js", headers={"Accept-Encoding": "identity"})
    assert whole.content == SCRIPT
    assert "content-encoding" not in whole.headers
    assert whole.headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize("name", ["missing.js", "notes.html", "..%2f..%2findex.html", "%2e%2e", "index-1a2b.js.gz"])
async def test_nothing_else_is_served(gateway: Gateway, built: Path, name: str) -> None:
    assert (await gateway.http.get(f"/assets/web/{name}")).status_code == 404


async def test_without_a_build_there_is_the_plain_front_page(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "STATIC", tmp_path)
    answer = await gateway.http.get("/")
    assert answer.status_code == 200
    assert "/api/jobs/submit" in answer.text


async def test_an_id_of_a_job_is_never_part_of_the_page(gateway: Gateway, built: Path) -> None:
    answer = await gateway.http.get("/jobs/x%3Cscript%3E?token=secret")
    assert answer.text == "<title>Built</title>"


def test_the_documents_describe_all_that_the_page_asks_for(tmp_path: Path) -> None:
    documents.main(tmp_path)
    written = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert set(written) == {"openapi.json", "asyncapi.json", "transcript.json", "languages.json"}
    described = documents.documents()
    assert {"/api/uploads", "/api/jobs/{job_id}/playable"} <= set(described["openapi.json"]["paths"])
    assert {"Snapshot", "FactHappened", "Subscribe"} <= set(described["asyncapi.json"]["components"]["schemas"])
    assert {"Segment", "Word", "Turn"} == set(described["transcript.json"]["definitions"])
    documents.main(tmp_path)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written
