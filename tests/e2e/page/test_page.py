"""What people do on the page, in a real browser against the real stack and the real models."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Stack, started
from tests.e2e.page.browsing import (
    DARK,
    DESK,
    JOB_MS,
    NEEDED,
    PHONE,
    Visitor,
    card,
    completed,
    drop,
    focused,
    longer,
    look,
    panel,
    tab_to,
    until,
)  # fmt: skip

pytestmark = NEEDED


def test_a_job_that_was_cancelled_can_be_had_after_all(visitor: Visitor, stack: Stack, call: Path) -> None:
    page = visitor.arrives()
    page.goto(stack.url)
    # given options that make it work of its own
    page.locator("summary").first.click()
    page.get_by_label("Words likely to be said").fill("tide")
    look(page, "options")
    drop(page, call, "given up.wav")
    # when it is cancelled while it runs
    card(page, "given up.wav").get_by_role("button", name="Cancel given up.wav").click()
    look(page, "cancel-asked")
    page.get_by_role("button", name="Cancel the job").click()
    shown = panel(page, "Failed")
    shown.get_by_role("button", name="Retry given up.wav with the same settings").wait_for()
    look(page, "panel-cancelled")
    # then a retry brings it to its end, with the same settings
    shown.get_by_role("button", name="Retry given up.wav with the same settings").click()
    panel(page, "Completed").get_by_role("button", name="View given up.wav").wait_for(timeout=JOB_MS)
    entry = page.evaluate("JSON.parse(localStorage.getItem('subtide.jobs.1'))[0]")
    headers = {"Authorization": f"Bearer {entry['token']}"}
    assert httpx.get(f"{stack.url}/api/jobs/{entry['id']}", headers=headers).json()["run"] == 2
    visitor.leaves()


def test_what_is_no_recording_fails_with_a_sentence_and_can_be_removed(
    visitor: Visitor, stack: Stack, tmp_path: Path
) -> None:
    letter = tmp_path / "letter.bin"
    letter.write_text("Dear Sir or Madam")
    page = visitor.arrives()
    page.goto(stack.url)
    drop(page, letter, "letter.bin", "application/octet-stream")
    page.get_by_text("letter.bin does not look like a recording by its name.").wait_for()
    page.get_by_role("dialog", name="Your jobs").wait_for()
    shown = panel(page, "Failed")
    failed = card(page, "letter.bin")
    failed.get_by_text("This file is not a recording we can read.").wait_for()
    look(page, "panel-failed")
    # it fails again in the same way
    failed.get_by_role("button", name="Retry letter.bin with the same settings").click()
    shown.get_by_role("button", name="Remove letter.bin").click()
    look(page, "remove-asked")
    page.get_by_role("button", name="Delete for good").click()
    shown.get_by_text("Nothing has failed.").wait_for()
    visitor.leaves()


def test_an_empty_file_is_refused_before_it_is_sent(visitor: Visitor, stack: Stack, tmp_path: Path) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()
    page = visitor.arrives()
    page.goto(stack.url)
    page.locator("input[type=file]").first.set_input_files(str(empty))
    page.get_by_text("empty.mp4 is empty.").wait_for()
    look(page, "refused")
    assert page.locator(".card, .upload").count() == 0
    visitor.leaves()


def test_the_same_file_again_is_there_at_once_and_says_so(visitor: Visitor, stack: Stack, call: Path) -> None:
    completed(stack, call, "first.wav", hotwords="again")
    page = visitor.arrives()
    page.goto(stack.url)
    page.locator("summary").first.click()
    page.get_by_label("Words likely to be said").fill("again")
    drop(page, call, "again.wav")
    page.get_by_role("dialog", name="Your jobs").wait_for()
    panel(page, "Completed")
    card(page, "again.wav").get_by_text(re.compile("^Result from ")).wait_for(timeout=JOB_MS)
    look(page, "panel-cached")
    visitor.leaves()


def test_where_no_place_is_free_the_page_waits_and_goes_on_by_itself(browser: Any, call: Path, tmp_path: Path) -> None:
    with started(SUBTIDE_MAX_ACTIVE_JOBS="1", SUBTIDE_MAX_QUEUED_JOBS="0") as stack:
        visitor = Visitor(browser, stack.url)
        visitor.expected = ["429"]
        page = visitor.arrives()
        # given a job that takes the only place
        accepted = stack.submit(longer(call, tmp_path / "long.wav", 40), name="long.wav").json()
        # when a file is dropped
        page.goto(stack.url)
        page.get_by_text("System busy: 1 running, 0 waiting.").wait_for()
        drop(page, call, "patient.wav")
        page.get_by_text("System busy: starts by itself when a place is free").wait_for()
        look(page, "busy")
        # then it starts once the place is free
        headers = {"Authorization": f"Bearer {accepted['access_token']}"}
        gone = httpx.delete(f"{stack.url}/api/jobs/{accepted['job_id']}?running=true", headers=headers)
        assert gone.is_success
        card(page, "patient.wav").wait_for(timeout=JOB_MS)
        panel(page, "Completed").get_by_role("button", name="View patient.wav").wait_for(timeout=JOB_MS)
        visitor.leaves()
        assert visitor.complaints == []


def test_a_link_shows_the_result_until_it_is_revoked(visitor: Visitor, browser: Any, stack: Stack, call: Path) -> None:
    # given a link made in the dialog
    job = completed(stack, call, "shared.wav")
    visitor.knows(job)
    page = visitor.arrives()
    page.goto(stack.url)
    panel(page, "Completed").get_by_role("button", name="Share shared.wav").click()
    page.get_by_role("button", name="Make a link").click()
    link = page.locator("#share-link").input_value()
    look(page, "share")
    # when somebody opens it, then he reads, and can do no more, and its token is in neither address nor title
    reader = Visitor(browser, stack.url)
    reader.expected = ["404"]
    shared = reader.arrives()
    shared.goto(link)
    shared.get_by_text("Speaker 1").first.wait_for()
    assert shared.get_by_text("Shared with you").is_visible()
    assert shared.get_by_role("button", name="Share", exact=True).count() == 0
    assert shared.url == f"{stack.url}/jobs/{job['job_id']}"
    assert link.partition("token=")[2] not in shared.title() + shared.content()
    look(shared, "shared")
    shared.reload()
    shared.get_by_text("Speaker 1").first.wait_for()
    # when it is revoked, then it is over for him, at once
    page.get_by_role("button", name=re.compile("^Revoke link")).click()
    page.get_by_text("Revoked", exact=True).wait_for()
    shared.get_by_role("heading", name="This job cannot be opened").wait_for()
    look(shared, "share-revoked")
    reader.leaves()
    visitor.leaves()
    assert reader.complaints == []


def test_without_a_network_the_last_is_shown_and_all_goes_on_when_it_is_back(
    visitor: Visitor, stack: Stack, call: Path
) -> None:
    visitor.expected = ["ERR_INTERNET_DISCONNECTED"]
    visitor.knows(completed(stack, call, "kept.wav"))
    page = visitor.arrives()
    page.goto(stack.url)
    panel(page, "Completed").get_by_role("button", name="View kept.wav").wait_for()
    visitor.offline(True)
    page.get_by_role("dialog").get_by_text("Offline - data may be stale").wait_for()
    assert page.get_by_role("button", name="View kept.wav").is_visible()
    look(page, "offline")
    visitor.offline(False)
    page.get_by_text("Offline - data may be stale").first.wait_for(state="hidden")
    visitor.leaves()


def test_the_whole_path_can_be_walked_by_keyboard(visitor: Visitor, stack: Stack, call: Path) -> None:
    visitor.knows(completed(stack, call, "keys.wav"))
    page = visitor.arrives()
    page.add_init_script("window.showOpenFilePicker = undefined")  # its window is the system's, which no test can reach
    page.on("filechooser", lambda _: None)  # from the start: who begins to listen as the key is pressed may be late
    page.goto(stack.url)
    page.get_by_role("heading", name="Subtitles, while you do something else.").wait_for()
    # the first stop leads past the head of the page
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to content"
    # choosing a file is a button, which a chooser follows
    tab_to(page, "Choose files")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(str(call))
    # the panel opens, holds the focus, and gives it back
    page.get_by_role("dialog", name="Your jobs").wait_for()
    for _ in range(30):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('[role=dialog]') !== null")
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    tab_to(page, "Jobs")
    page.keyboard.press("Enter")
    page.get_by_role("dialog", name="Your jobs").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    assert "Jobs" in focused(page)
    page.keyboard.press("Enter")
    # on to the transcript
    page.get_by_role("dialog", name="Your jobs").wait_for()
    tab_to(page, "Active", "Completed", "Failed")
    for _ in range(3):
        if page.get_by_role("tab", name="Completed").get_attribute("aria-selected") == "true":
            break
        page.keyboard.press("ArrowRight")
    tab_to(page, "View keys.wav")
    page.keyboard.press("Enter")
    page.locator(".rows").wait_for()
    # where the player obeys, and the search takes the focus
    until(page, "document.querySelector('video, audio')?.readyState > 1")
    page.keyboard.press("l")
    at = page.evaluate("document.querySelector('video, audio').currentTime")
    assert at > 0
    page.keyboard.press("ArrowLeft")
    until(page, f"document.querySelector('video, audio').currentTime < {at}")
    page.keyboard.press("/")
    page.keyboard.type("jersey")
    page.locator(".hit").first.wait_for()
    visitor.leaves()


@pytest.mark.parametrize(("name", "screen"), [("light", DESK), ("dark", DARK), ("phone", PHONE)])
def test_every_view_is_fit_for_everyone(
    visitor: Visitor, stack: Stack, call: Path, name: str, screen: dict[str, Any]
) -> None:
    visitor.expected = ["404"]
    job = completed(stack, call, "interview.wav")
    visitor.knows(job)
    page = visitor.arrives(**screen)
    page.goto(stack.url)
    look(page, f"{name}-home")
    panel(page, "Active")
    page.get_by_text("Nothing is running.").wait_for()
    look(page, f"{name}-panel-empty")
    panel(page, "Completed")
    card(page, "interview.wav").wait_for()
    look(page, f"{name}-panel-completed")
    page.get_by_role("button", name="Download interview.wav").click()
    page.get_by_role("menuitem").first.wait_for()
    look(page, f"{name}-download-menu")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="View interview.wav").click()
    page.locator(".rows").wait_for()
    page.get_by_label("Search in the transcript").fill("jersey")
    page.locator(".hit").first.wait_for()
    look(page, f"{name}-transcript")
    width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1], "the page is wider than the screen"
    page.goto(f"{stack.url}/jobs/{'0' * 32}")
    page.get_by_role("heading", name="This job cannot be opened").wait_for()
    look(page, f"{name}-not-found")
    visitor.leaves()


def test_what_is_gone_says_so(visitor: Visitor, stack: Stack, call: Path) -> None:
    visitor.expected = ["410"]
    job = completed(stack, call, "gone.wav")
    visitor.knows(job)
    page = visitor.arrives()
    page.goto(f"{stack.url}/jobs/{job['job_id']}")
    page.locator(".rows").wait_for()
    headers = {"Authorization": f"Bearer {job['access_token']}"}
    httpx.delete(f"{stack.url}/api/jobs/{job['job_id']}?delete=true", headers=headers).raise_for_status()
    page.get_by_role("heading", name="This recording is no longer here").wait_for()
    look(page, "expired")
    visitor.leaves()
