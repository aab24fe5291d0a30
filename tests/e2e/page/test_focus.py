"""Who uses the keyboard alone, or hears the page: the focus is never nowhere, Escape closes, and the news are said."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Stack
from tests.e2e.page.browsing import JOB_MS, NEEDED, Visitor, card, completed, drop, focused, look, panel, until

pytestmark = NEEDED


@pytest.fixture(scope="module")
def jobs(stack: Stack, call: Path) -> list[dict[str, Any]]:
    """A page and two of jobs."""
    return [completed(stack, call, f"job {n:02}.wav") for n in range(12)]


def opened(visitor: Visitor, stack: Stack, jobs: list[dict[str, Any]]) -> Any:
    """The panel, at what is completed."""
    visitor.knows(*jobs)
    page = visitor.arrives()
    page.goto(stack.url)
    panel(page, "Completed")
    return page


def holds(page: Any, name: str) -> None:
    """The focus is in the dialog of that name, and Escape closes it."""
    until(page, "document.activeElement !== document.body")
    page.wait_for_timeout(200)
    dialog = page.get_by_role("dialog", name=name)
    assert dialog.evaluate("(dialog) => dialog.contains(document.activeElement)"), focused(page)


def test_the_share_dialog_keeps_the_focus_whatever_is_done_in_it(
    visitor: Visitor, stack: Stack, jobs: list[dict[str, Any]]
) -> None:
    page = opened(visitor, stack, jobs[:1])
    share = page.get_by_role("button", name="Share job 00.wav")
    share.press("Enter")
    make = page.get_by_role("button", name="Make a link")
    for links in (1, 2):
        make.press("Enter")
        # the link has the focus, chosen whole, and is said
        page.get_by_role("button", name=f"Revoke link {links}").wait_for()
        until(page, "document.activeElement.id === 'share-link'")
        assert page.evaluate("getSelection().toString()") == page.locator("#share-link").input_value()
    page.locator("[data-live-announcer]", has_text="New link It is shown once: copy it now.").wait_for(state="attached")
    # what is revoked hands it on to the next link, and the last one to the heading
    page.get_by_role("button", name="Revoke link 1").press("Enter")
    until(page, "document.activeElement.ariaLabel === 'Revoke link 2'")
    page.locator("[data-live-announcer]", has_text="Link 1 is revoked.").wait_for(state="attached")
    page.keyboard.press("Enter")
    until(page, "document.activeElement.textContent === 'Links'")
    look(page, "share-all-revoked")
    holds(page, "Share")
    page.keyboard.press("Escape")
    page.get_by_role("dialog", name="Share").wait_for(state="hidden")
    until(page, "document.activeElement.ariaLabel === 'Share job 00.wav'")
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    assert focused(page).startswith("Jobs")
    visitor.leaves()


def test_the_pages_of_the_panel_are_turned_by_keyboard(
    visitor: Visitor, stack: Stack, jobs: list[dict[str, Any]]
) -> None:
    page = opened(visitor, stack, jobs)
    page.get_by_role("button", name="Next", exact=True).press("Enter")
    page.get_by_text("Page 2 of 2").wait_for()
    assert focused(page) == "Next"
    page.keyboard.press("Enter")  # it is off there
    page.get_by_text("Page 2 of 2").wait_for()
    look(page, "panel-last-page")
    page.keyboard.press("Shift+Tab")
    assert focused(page) == "Previous"
    page.keyboard.press("Enter")
    page.get_by_text("Page 1 of 2").wait_for()
    holds(page, "Your jobs")
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    visitor.leaves()


def test_a_card_that_goes_hands_the_focus_on(visitor: Visitor, stack: Stack, jobs: list[dict[str, Any]]) -> None:
    page = opened(visitor, stack, jobs[:2])
    first, second = page.locator(".card h3").all_inner_texts()
    page.get_by_role("button", name=f"Remove {first}").press("Enter")
    page.get_by_role("button", name="Only take it off this list").press("Enter")
    page.get_by_role("alertdialog").wait_for(state="hidden")
    until(page, f"document.activeElement.ariaLabel === 'View {second}'")
    page.get_by_role("button", name=f"Remove {second}").press("Enter")
    page.get_by_role("button", name="Only take it off this list").press("Enter")
    page.get_by_text("No subtitles yet.").wait_for()
    until(page, "document.activeElement.role === 'tab'")
    holds(page, "Your jobs")
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    visitor.leaves()


def test_the_tabs_alone_show_that_they_have_the_focus(
    visitor: Visitor, stack: Stack, jobs: list[dict[str, Any]]
) -> None:
    page = opened(visitor, stack, jobs[:1])
    page.get_by_role("tab", name="Completed").focus()
    page.keyboard.press("ArrowRight")
    until(page, "document.activeElement.role === 'tab'")
    style = page.locator(".tabs").evaluate("(tabs) => getComputedStyle(tabs).outlineStyle")
    assert style == "none"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    visitor.leaves()


def test_who_views_a_job_is_where_it_begins(visitor: Visitor, stack: Stack, jobs: list[dict[str, Any]]) -> None:
    page = opened(visitor, stack, jobs[:1])
    page.get_by_role("button", name="View job 00.wav").press("Enter")
    page.locator(".rows").wait_for()
    until(page, "document.activeElement.closest('main') !== null")
    page.get_by_role("link", name="Subtide, start page").press("Enter")
    until(page, "document.activeElement.tagName === 'H1'")
    assert focused(page) == "Subtitles, while you do something else."
    page.go_back()
    page.locator(".rows").wait_for()
    until(page, "document.activeElement.closest('main') !== null")
    visitor.leaves()


def test_the_end_of_a_job_is_said_whatever_is_shown(visitor: Visitor, stack: Stack, call: Path, tmp_path: Path) -> None:
    page = visitor.arrives()
    page.goto(stack.url)
    said = page.locator("[data-live-announcer]")
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF and nothing else")
    page.locator("summary").first.click()
    page.get_by_label("Words likely to be said").fill("said")
    drop(page, call, "said.wav")
    card(page, "said.wav").wait_for()
    assert said.get_by_text("said.wav is handed over. You can safely close this browser.").count() == 1
    # the panel is open over the page, and does not hide what is said
    said.get_by_text("said.wav is done.").wait_for(state="attached", timeout=JOB_MS)
    assert said.evaluate("(said) => said.closest('[inert], [aria-hidden=true]') === null")
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    drop(page, broken, "broken.wav")
    said.get_by_text("broken.wav has failed.").wait_for(state="attached", timeout=JOB_MS)
    visitor.leaves()


def test_notifications_can_be_switched_on_later(visitor: Visitor, stack: Stack, jobs: list[dict[str, Any]]) -> None:
    visitor.knows(*jobs[:1])
    page = visitor.arrives()
    page.context.grant_permissions(["notifications"], origin=stack.url)
    page.goto(stack.url)
    page.evaluate("localStorage.setItem('subtide.notify.1', 'no')")
    page.reload()
    panel(page, "Completed")
    switch = page.get_by_role("switch", name="Tell me when a job is done")
    assert not switch.is_checked()
    switch.press("Space")
    until(page, "localStorage.getItem('subtide.notify.1') === 'yes'")
    assert switch.is_checked()
    look(page, "panel-notify-on")
    switch.press("Space")
    until(page, "localStorage.getItem('subtide.notify.1') === 'no'")
    assert not switch.is_checked()
    visitor.leaves()


def test_the_keys_of_the_player_work_from_its_own_controls(
    visitor: Visitor, stack: Stack, jobs: list[dict[str, Any]]
) -> None:
    visitor.knows(jobs[0])
    page = visitor.arrives()
    page.goto(f"{stack.url}/jobs/{jobs[0]['job_id']}")
    page.locator(".rows").wait_for()
    until(page, "document.querySelector('video, audio')?.readyState > 1")
    at = "document.querySelector('video, audio').currentTime"
    for control in (
        page.get_by_label("Position in the recording"),
        page.get_by_label("Show what Speaker 1 says"),
        page.get_by_label("Speed"),
        page.get_by_label("Volume"),
    ):
        page.evaluate(f"{at} = 0")
        control.focus()
        page.keyboard.press("l")
        until(page, f"{at} === 10")
        page.keyboard.press("/")
        until(page, "document.activeElement.type === 'search'")
        control.focus()
        page.keyboard.press("e")
        page.get_by_role("button", name="Correct", exact=True, pressed=True).wait_for()
        control.focus()
        page.keyboard.press("e")
        page.get_by_role("button", name="Correct", exact=True, pressed=False).wait_for()
    # and what means something to a control stays with it
    page.evaluate(f"{at} = 0")
    page.get_by_label("Position in the recording").press("ArrowRight")
    until(page, f"{at} === 5")
    volume = page.get_by_label("Volume")
    volume.press("ArrowLeft")
    assert page.evaluate(f"[{at}, document.querySelector('video, audio').volume]") == [5, 0.95]
    page.get_by_role("button", name="Mute", pressed=False).press("Enter")
    page.get_by_role("button", name="Mute", pressed=True).wait_for()
    assert page.evaluate("document.querySelector('video, audio').muted")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Mute", pressed=False).wait_for()
    assert volume.input_value() == "0.95"
    visitor.leaves()


def test_enter_on_a_hit_plays_from_there(visitor: Visitor, stack: Stack, jobs: list[dict[str, Any]]) -> None:
    visitor.knows(jobs[0])
    page = visitor.arrives()
    page.goto(f"{stack.url}/jobs/{jobs[0]['job_id']}")
    page.locator(".rows").wait_for()
    until(page, "document.querySelector('video, audio')?.readyState > 1")
    page.get_by_label("Search in the transcript").fill("the")
    count = page.locator(".hit-count")
    count.get_by_text(re.compile("^1 of ")).wait_for()
    page.keyboard.press("Enter")
    until(page, "document.querySelector('video, audio').currentTime > 0")
    first = page.evaluate("document.querySelector('video, audio').currentTime")
    assert count.inner_text().startswith("1 of ")
    page.keyboard.press("Enter")
    until(page, f"document.querySelector('video, audio').currentTime > {first}")
    assert count.inner_text().startswith("2 of ")
    visitor.leaves()
