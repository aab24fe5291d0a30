"""The whole journey over the page: drop, close, return, read, hear, correct, download."""

from pathlib import Path

from tests.e2e.conftest import Stack
from tests.e2e.page.browsing import JOB_MS, NEEDED, Visitor, card, drop, longer, look, panel, until

pytestmark = NEEDED


def test_who_drops_a_file_and_leaves_finds_the_subtitles_later(
    visitor: Visitor, stack: Stack, call: Path, tmp_path: Path
) -> None:
    # given a file that is dropped
    page = visitor.arrives()
    page.goto(stack.url)
    drop(page, longer(call, tmp_path / "call.wav", 4), "call.wav")
    # when the panel opens by itself, its captions come in live, and the browser is closed
    ours = card(page, "call.wav")
    ours.wait_for()
    assert "You can safely close this browser." in ours.inner_text()
    look(page, "panel-active")
    ours.get_by_role("button", name="Watch live: call.wav").click()
    page.locator(".live-line").first.wait_for(timeout=JOB_MS)
    assert "hello" in page.locator(".live-line").first.inner_text().lower()
    assert page.locator(".rows").count() == 0
    look(page, "live-captions")
    assert "token" not in page.url
    visitor.leaves()
    # then in another session the result is there, to read
    page = visitor.arrives()
    page.goto(stack.url)
    panel(page, "Completed").get_by_role("button", name="View call.wav").click(timeout=JOB_MS)
    page.get_by_text("Speaker 1").first.wait_for()
    page.get_by_label("Search in the transcript").fill("new jersey")
    page.locator(".hit").first.wait_for()
    # and to hear from where it is said
    page.keyboard.press("Enter")
    until(page, "document.querySelector('video, audio')?.currentTime > 1")
    # and to correct
    page.get_by_label("Search in the transcript").fill("")
    page.get_by_role("button", name="Correct", exact=True).click()
    page.locator("[data-w='0']").click()
    page.locator("[data-e='0']").fill("Ahoy")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("Saved as version 1.").wait_for()
    # and to take away, as it was corrected
    with page.expect_download() as taken:
        page.get_by_role("button", name="Download SRT", exact=True).click()
    assert taken.value.suggested_filename == "call.srt"
    assert "Ahoy" in Path(taken.value.path()).read_text().partition("\n\n")[0]
    visitor.leaves()
