"""The page in a real browser, from a dropped file to subtitles, with the real models."""

import base64
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.gateway import page as served
from tests.e2e.conftest import Stack

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e .[dev]")

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip
JOB_MS = 60_000

pytestmark = [
    pytest.mark.models,
    pytest.mark.timeout(300),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
    pytest.mark.skipif(not (served.STATIC / "index.html").is_file(), reason="the page is not built: make web"),
]


class Visitor:
    """A browser that keeps its storage when it is closed, and notes whatever should not happen."""

    def __init__(self, browser: Any, url: str) -> None:
        self._browser = browser
        self._url = url
        self._storage: Any = None
        self.complaints: list[str] = []

    def arrives(self) -> Any:
        """A new page in a new context, with the storage of the last."""
        self._context = self._browser.new_context(storage_state=self._storage, accept_downloads=True)
        page = self._context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda line: self.complaints.append(line.text) if line.type == "error" else None)
        page.on("request", lambda request: self._seen(request.url))
        return page

    def leaves(self) -> None:
        """Close everything but what the browser stores."""
        self._storage = self._context.storage_state()
        self._context.close()

    def _seen(self, address: str) -> None:
        if not address.startswith((self._url, f"blob:{self._url}", "data:")):
            self.complaints.append(f"asked another host: {address}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, without a window."""
    with playwright.sync_playwright() as running:
        launched = running.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def visitor(browser: Any, stack: Stack) -> Iterator[Visitor]:
    """Somebody with a new browser; nothing may have gone wrong in it by the end."""
    one = Visitor(browser, stack.url)
    yield one
    assert one.complaints == []


def test_who_drops_a_file_and_leaves_finds_the_subtitles_later(visitor: Visitor, stack: Stack, call: Path) -> None:
    # given a file that is dropped
    page = visitor.arrives()
    page.goto(stack.url)
    dropped = page.evaluate_handle(
        """(encoded) => {
            const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
            const carried = new DataTransfer();
            carried.items.add(new File([bytes], "call.wav", { type: "audio/wav" }));
            return carried;
        }""",
        _base64(call),
    )
    page.locator(".drop").dispatch_event("drop", {"dataTransfer": dropped})
    # when the panel opens by itself, its captions come in live, and the browser is closed
    card = page.get_by_role("dialog").locator(".card", has_text="call.wav")
    card.wait_for()
    assert "You can safely close this browser." in card.inner_text()
    card.get_by_role("button", name=re.compile("Watch live: call.wav|View call.wav")).click()
    page.locator(".live-line, .rows").first.wait_for(timeout=JOB_MS)
    assert "token" not in page.url
    visitor.leaves()
    # then in another session the result is there, to read
    page = visitor.arrives()
    page.goto(stack.url)
    page.get_by_role("button", name="Jobs").click()
    panel = page.get_by_role("dialog")
    panel.get_by_role("tab", name="Completed").click()
    panel.get_by_role("button", name="View call.wav").click(timeout=JOB_MS)
    page.get_by_text("Speaker 1").first.wait_for()
    page.get_by_label("Search in the transcript").fill("new jersey")
    page.locator(".hit").first.wait_for()
    # and to take away
    with page.expect_download() as taken:
        page.get_by_role("button", name="Download SRT").click()
    assert taken.value.suggested_filename == "call.srt"
    assert "-->" in Path(taken.value.path()).read_text()
    visitor.leaves()


def test_a_link_shows_the_result_and_keeps_its_token_out_of_sight(visitor: Visitor, stack: Stack, call: Path) -> None:
    # given a share of a completed job
    accepted = stack.submit(call, name="shared.wav").json()
    assert stack.ended(accepted)["status"] == "completed"
    token = _shared(stack, accepted)
    # when somebody opens its link
    page = visitor.arrives()
    page.goto(f"{stack.url}/jobs/{accepted['job_id']}#token={token}")
    page.get_by_text("Speaker 1").first.wait_for()
    # then he reads, and can do no more, and the token is in neither address nor title
    assert page.get_by_text("Shared with you").is_visible()
    assert page.get_by_role("button", name="Share", exact=True).count() == 0
    assert page.url == f"{stack.url}/jobs/{accepted['job_id']}"
    assert token not in page.title() + page.content()
    visitor.leaves()


def _shared(stack: Stack, accepted: dict[str, Any]) -> str:
    headers = {"Authorization": f"Bearer {accepted['access_token']}"}
    answer = httpx.post(f"{stack.url}/api/jobs/{accepted['job_id']}/share", headers=headers)
    return str(answer.json()["share_token"])


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
