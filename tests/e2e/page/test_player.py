"""The recording beside its transcript: a film with captions, on paper, and with a question over it."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Stack
from tests.e2e.page.browsing import DESK, NEEDED, PHONE, Visitor, completed, look, until
from tests.e2e.page.film import film

pytestmark = NEEDED

LANDSCAPE: dict[str, Any] = {"viewport": {"width": 844, "height": 390}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def job(stack: Stack, call: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of a film."""
    return completed(stack, film(call, tmp_path_factory.mktemp("film") / "film.webm"), "film.webm")


def opened(visitor: Visitor, stack: Stack, job: dict[str, Any], **screen: Any) -> Any:
    visitor.knows(job)
    page = visitor.arrives(**screen)
    page.goto(f"{stack.url}/jobs/{job['job_id']}")
    page.locator(".rows").wait_for()
    until(page, "document.querySelector('video')?.readyState > 1")
    return page


@pytest.mark.parametrize(("name", "screen"), [("desk", DESK), ("phone", PHONE), ("landscape", LANDSCAPE)])
def test_a_film_has_captions_that_can_be_hidden_and_fills_the_screen(
    visitor: Visitor, stack: Stack, job: dict[str, Any], name: str, screen: dict[str, Any]
) -> None:
    page = opened(visitor, stack, job, **screen)
    track = "document.querySelector('video').textTracks[0]"
    until(page, f"{track}.cues?.length > 0")
    page.get_by_role("button", name="Not now").click()
    page.evaluate(f"document.querySelector('video').currentTime = {track}.cues[0].startTime + 0.1")
    until(page, f"{track}.activeCues.length > 0")
    # they stand a line above the edge
    assert page.evaluate(
        f"[...{track}.cues].every(({{ line, text }}) => line === -1 - text.split(String.fromCharCode(10)).length)"
    )
    look(page, f"film-{name}")
    shown = page.get_by_role("button", name="Captions", exact=True)
    assert (shown.get_attribute("aria-pressed"), page.evaluate(f"{track}.mode")) == ("true", "showing")
    shown.press("Enter")
    assert (shown.get_attribute("aria-pressed"), page.evaluate(f"{track}.mode")) == ("false", "hidden")
    page.get_by_role("button", name="Full screen").press("Enter")
    until(page, "document.fullscreenElement?.tagName === 'VIDEO'")
    page.evaluate("document.exitFullscreen()")
    visitor.leaves()


@pytest.mark.parametrize(("name", "screen"), [("desk", DESK), ("phone", PHONE), ("landscape", LANDSCAPE)])
def test_the_question_about_notifications_can_be_answered_and_covers_no_control(
    visitor: Visitor, stack: Stack, job: dict[str, Any], name: str, screen: dict[str, Any]
) -> None:
    page = opened(visitor, stack, job, **screen)
    question = page.get_by_role("heading", name="Shall we tell you when it is done?")
    question.wait_for()
    page.locator(".take").scroll_into_view_if_needed()
    look(page, f"notify-{name}")
    if name == "desk":
        page.get_by_role("button", name="Download SRT", exact=True).click(trial=True)
        page.get_by_role("button", name="Print").click(trial=True)
    page.locator(".row .said").last.scroll_into_view_if_needed()
    page.get_by_role("button", name="Not now").click()
    question.wait_for(state="detached")
    visitor.leaves()


def test_on_paper_no_word_is_lit(visitor: Visitor, stack: Stack, job: dict[str, Any]) -> None:
    page = opened(visitor, stack, job, **DESK)
    page.get_by_role("button", name="Not now").click()
    page.evaluate("document.querySelector('video').currentTime = 12")
    page.locator(".now").wait_for()
    page.get_by_role("button", name="Next doubtful word").click()
    page.emulate_media(media="print")
    marks = page.evaluate(
        """[...document.querySelectorAll("[data-w][class]")].map((word) => {
            const { backgroundColor, boxShadow, outlineStyle, textDecorationLine } = getComputedStyle(word);
            return [backgroundColor, boxShadow, outlineStyle, textDecorationLine].join();
        })"""
    )
    assert set(marks) == {"rgba(0, 0, 0, 0),none,none,none"}
    visitor.leaves()


def test_captions_and_quality_are_those_of_the_version_that_is_looked_at(
    visitor: Visitor, stack: Stack, job: dict[str, Any]
) -> None:
    bearer = {"Authorization": f"Bearer {job['access_token']}"}
    at = f"{stack.url}/api/jobs/{job['job_id']}"
    httpx.post(
        f"{at}/versions", headers=bearer, json={"based_on": 0, "words": [{"word": 0, "text": "Ahoy"}]}
    ).raise_for_status()
    page = opened(visitor, stack, job, **DESK)
    page.get_by_role("button", name="Version 1", exact=True).wait_for()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(at)))
    page.locator("summary", has_text="Captions and quality").press("Enter")
    page.get_by_role("button", name="Next caption").press("Enter")
    page.locator(".screen p", has_text="Ahoy").wait_for()
    assert {"/download/vtt?preset=standard&version=1", "/quality?version=1"} <= set(asked)
    # when the original is looked at, then so are its captions, its report, and what is taken
    page.get_by_role("button", name="Version 1", exact=True).click()
    page.get_by_role("menuitemradio", name="Original").click()
    page.get_by_text("You are looking at an earlier version: Original.").wait_for()
    page.locator(".screen p", has_text="Hello").wait_for()
    assert {"/download/vtt?preset=standard&version=0", "/quality?version=0"} <= set(asked)
    with page.expect_download() as taken:
        page.get_by_role("button", name="Download SRT: Anything (standard)").press("Enter")
    original = httpx.get(f"{at}/download/srt?preset=standard&version=0", headers=bearer).text
    assert Path(taken.value.path()).read_text() == original
    assert "Ahoy" not in original
    visitor.leaves()
