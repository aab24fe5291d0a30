"""The page without what it counts on: without a network, without storage, without daylight, without much room."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Stack
from tests.e2e.page.browsing import DARK, DESK, NEEDED, Visitor, card, completed, look, panel, until

pytestmark = NEEDED

LANDSCAPE: dict[str, Any] = {"viewport": {"width": 844, "height": 390}, "has_touch": True, "is_mobile": True}
NARROW: dict[str, Any] = {"viewport": {"width": 320, "height": 640}, "has_touch": True, "is_mobile": True}
OFFLINE = "Offline - data may be stale"


@pytest.fixture(scope="module")
def job(stack: Stack, call: Path) -> dict[str, Any]:
    return completed(stack, call, "without.wav")


@pytest.mark.parametrize(("screen", "system"), [(DESK, "light"), (DARK, "dark")])
def test_the_appearance_is_what_was_chosen(visitor: Visitor, stack: Stack, screen: dict[str, Any], system: str) -> None:
    other = "dark" if system == "light" else "light"
    page = visitor.arrives(**screen)
    page.goto(stack.url)
    button = page.get_by_role("button", name="Appearance")
    colours = {"as the system": _paper(page)}
    for name in ("light", "dark"):
        button.click()
        page.get_by_role("button", name=f"Appearance: {name}").wait_for()
        colours[name] = _paper(page)
    assert colours[system] == colours["as the system"] != colours[other]
    # it is there again after a reload, from the first paint on
    if other == "light":
        button.click()  # as the system
        button.click()
    page.add_init_script(
        """new PerformanceObserver((list) => {
            window.firstPaint ??= document.documentElement.dataset.theme;
        }).observe({ type: "paint", buffered: true })"""
    )
    page.reload()
    page.get_by_role("button", name=f"Appearance: {other}").wait_for()
    until(page, "'firstPaint' in window")
    assert (_paper(page), page.evaluate("firstPaint")) == (colours[other], other)
    look(page, f"appearance-{other}")
    visitor.leaves()


def test_what_is_not_loaded_yet_is_shown_once_the_network_is_back(
    visitor: Visitor, stack: Stack, job: dict[str, Any]
) -> None:
    visitor.expected = ["ERR_INTERNET_DISCONNECTED", "ERR_FAILED"]
    visitor.knows(job)
    page = visitor.arrives()
    page.add_init_script("window.requestIdleCallback = () => undefined")  # nothing is loaded ahead
    page.goto(stack.url)
    panel_shown = panel(page, "Completed")
    panel_shown.get_by_role("button", name="View without.wav").wait_for()
    visitor.offline(True)
    panel_shown.get_by_role("button", name="View without.wav").click()
    page.get_by_role("heading", name="This part of the page has not come").wait_for()
    page.get_by_role("button", name="Try again").click()
    assert page.get_by_role("link", name="Subtide, start page").is_visible()
    look(page, "part-not-loaded")
    visitor.offline(False)
    page.locator(".rows").wait_for()
    # with its style sheet, which was asked for in vain as well
    assert page.evaluate("[...document.styleSheets].some(({ href }) => href.includes('/page-'))")
    assert page.evaluate("getComputedStyle(document.querySelector('.job-head')).display") == "flex"
    visitor.leaves()


def test_what_is_loaded_ahead_needs_no_network(visitor: Visitor, stack: Stack, job: dict[str, Any]) -> None:
    visitor.expected = ["ERR_INTERNET_DISCONNECTED"]
    visitor.knows(job)
    page = visitor.arrives()
    page.goto(stack.url)
    until(page, "performance.getEntriesByType('resource').some(({ name }) => /transcript-.*js/.test(name))")
    page.wait_for_load_state("networkidle")
    visitor.offline(True)
    panel(page, "Completed").get_by_role("button", name="View without.wav").click()
    # the page is there, and says what is missing: the transcript itself
    page.get_by_role("heading", name="The transcript could not be loaded").wait_for()
    look(page, "transcript-offline")
    visitor.offline(False)
    page.locator(".rows").wait_for()
    visitor.leaves()


def test_offline_is_said_no_longer_than_it_lasts(visitor: Visitor, stack: Stack, job: dict[str, Any]) -> None:
    visitor.expected = ["ERR_INTERNET_DISCONNECTED"]
    # in a browser that has no job there is nothing to be stale
    page = visitor.arrives()
    page.goto(stack.url)
    visitor.offline(True)
    page.wait_for_timeout(500)
    assert page.get_by_text(OFFLINE).count() == 0
    visitor.offline(False)
    visitor.leaves()
    # and in one whose jobs are all over, without a connection, it goes away
    visitor.knows(job)
    page = visitor.arrives()
    page.goto(stack.url)
    page.get_by_text("Audio or video, up to").wait_for()
    visitor.offline(True)
    page.get_by_text(OFFLINE).wait_for()
    visitor.offline(False)
    page.get_by_text(OFFLINE).wait_for(state="detached")
    visitor.leaves()


def test_without_storage_the_page_works_until_it_is_closed(
    visitor: Visitor, stack: Stack, call: Path, job: dict[str, Any]
) -> None:
    page = visitor.arrives()
    page.add_init_script(
        """for (const name of ["localStorage", "sessionStorage", "indexedDB"])
            Object.defineProperty(window, name, { get() { throw new DOMException("blocked", "SecurityError"); } });
        navigator.locks.request = async () => { throw new DOMException("blocked", "SecurityError"); };"""
    )
    page.goto(stack.url)
    page.locator("input[type=file]").first.set_input_files(str(call))
    card(page, "sample.wav").wait_for()
    panel(page, "Completed").get_by_role("button", name="View sample.wav").click(timeout=60_000)
    page.locator(".rows").wait_for()
    page.get_by_role("button", name="Appearance").click()
    visitor.leaves()


def test_what_has_expired_still_says_so_after_a_reload(visitor: Visitor, stack: Stack, call: Path) -> None:
    visitor.expected = ["410"]
    gone = completed(stack, call, "gone for good.wav")
    visitor.knows(gone)
    page = visitor.arrives()
    page.goto(f"{stack.url}/jobs/{gone['job_id']}")
    page.locator(".rows").wait_for()
    headers = {"Authorization": f"Bearer {gone['access_token']}"}
    httpx.delete(f"{stack.url}/api/jobs/{gone['job_id']}?delete=true", headers=headers).raise_for_status()
    page.get_by_role("heading", name="This recording is no longer here").wait_for()
    page.reload()
    page.get_by_role("heading", name="This recording is no longer here").wait_for()
    visitor.leaves()


def test_a_page_that_breaks_in_one_place_says_so_there(visitor: Visitor, stack: Stack, job: dict[str, Any]) -> None:
    visitor.expected = ["TypeError", "error", "Error"]
    visitor.knows(job)
    page = visitor.arrives()
    broken = [True]

    def answer(route: Any) -> None:
        told = route.fetch().json()
        route.fulfill(json=told | {"segments": [{"words": 7}]} if broken else told)

    page.route("**/download/json*", answer)
    page.goto(f"{stack.url}/jobs/{job['job_id']}")
    page.get_by_role("heading", name="Something went wrong on this page").wait_for()
    assert page.get_by_role("link", name="Subtide, start page").is_visible()
    look(page, "page-broken")
    # what is broken in itself is so again, and comes anew with the page
    page.get_by_role("button", name="Try again").click()
    page.get_by_role("heading", name="Something went wrong on this page").wait_for()
    broken.clear()
    page.get_by_role("button", name="Try again").click()
    page.locator(".rows").wait_for()
    visitor.leaves()
    visitor.complaints.clear()


@pytest.mark.parametrize(("name", "screen"), [("landscape", LANDSCAPE), ("narrow", NARROW)])
def test_the_player_leaves_room_for_the_transcript(
    visitor: Visitor, stack: Stack, job: dict[str, Any], name: str, screen: dict[str, Any]
) -> None:
    visitor.knows(job)
    page = visitor.arrives(**screen)
    page.goto(f"{stack.url}/jobs/{job['job_id']}")
    page.locator(".rows").wait_for()
    inside = page.evaluate(
        """() => {
            const { left, right } = document.querySelector(".player").getBoundingClientRect();
            return [...document.querySelectorAll(".player *")].every((one) => {
                const box = one.getBoundingClientRect();
                return box.width === 0 || (box.left >= left - 1 && box.right <= right + 1);
            });
        }"""
    )
    assert inside, "something of the player is outside of it"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator(".paragraph").first.scroll_into_view_if_needed()
    page.evaluate("document.querySelector('.paragraph').scrollIntoView()")
    look(page, f"player-{name}")
    sticky = page.evaluate("getComputedStyle(document.querySelector('.player')).position")
    assert sticky == ("static" if name == "landscape" else "sticky")
    visitor.leaves()


def _paper(page: Any) -> str:
    colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return colour
