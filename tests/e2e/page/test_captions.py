"""Captions as they will look, in the preset somebody chooses: on the page, by keyboard, and in the file."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.captioning import PRESETS, SOCIAL
from services.exporter.cues import width
from tests.e2e.conftest import Stack
from tests.e2e.page.browsing import DARK, DESK, JOB_MS, NEEDED, PHONE, Visitor, card, completed, drop, look, panel

pytestmark = NEEDED

TITLE = "Captions and quality"


@pytest.mark.parametrize(("name", "screen"), [("light", DESK), ("dark", DARK), ("phone", PHONE)])
def test_captions_are_looked_at_and_taken_in_another_preset(
    visitor: Visitor, stack: Stack, call: Path, name: str, screen: dict[str, Any]
) -> None:
    job = completed(stack, call, "captions.wav")
    visitor.knows(job)
    page = visitor.arrives(**screen)
    page.goto(f"{stack.url}/jobs/{job['job_id']}")
    # by keyboard, it opens at the preset of the job
    page.locator("summary", has_text=TITLE).press("Enter")
    page.get_by_text("2 lines of 42, 17 characters a second, 1 to 7 seconds").wait_for()
    assert page.get_by_label("Captions for").input_value() == "standard"
    page.get_by_text("words are in the captions.").wait_for()
    # the preview goes where the player goes, line by line as in the file
    page.get_by_role("button", name="Next caption").press("Enter")
    page.get_by_role("figure", name="Caption at the place of the player").get_by_text("1 of ").wait_for()
    first = page.locator(".screen p > span").all_inner_texts()
    assert "\n".join(first) in _captions(stack, job, "vtt", "standard")
    page.locator(".broken button").last.scroll_into_view_if_needed()
    look(page, f"{name}-captions")
    # in another preset it is another file
    page.get_by_label("Captions for").select_option("social")
    page.get_by_text("One line of 28, 20 characters a second, 0.8 to 4 seconds").wait_for()
    page.locator(".broken button").first.click()
    page.locator(".screen.portrait p").wait_for()
    assert page.locator(".screen p > span").count() == 1
    page.locator(".screen").scroll_into_view_if_needed()
    look(page, f"{name}-captions-social")
    with page.expect_download() as taken:
        page.get_by_role("button", name="Download SRT: Phones and social media").press("Enter")
    assert taken.value.suggested_filename == "captions.social.srt"
    assert Path(taken.value.path()).read_text() == _captions(stack, job, "srt", "social")
    visitor.leaves()


def test_a_preset_that_was_chosen_with_the_upload_is_that_of_the_files(
    visitor: Visitor, stack: Stack, call: Path
) -> None:
    page = visitor.arrives()
    page.goto(stack.url)
    page.locator("summary").first.click()
    page.get_by_label("Captions for").select_option("social")
    drop(page, call, "phone.wav")
    card(page, "phone.wav").wait_for()
    panel(page, "Completed").get_by_role("button", name="View phone.wav").click(timeout=JOB_MS)
    page.locator("summary", has_text=TITLE).click()
    assert page.get_by_label("Captions for").input_value() == "social"
    entry = page.evaluate("JSON.parse(localStorage.getItem('subtide.jobs.1'))[0]")
    job = {"job_id": entry["id"], "access_token": entry["token"]}
    assert _captions(stack, job, "srt") == _captions(stack, job, "srt", "social")
    visitor.leaves()


def test_of_real_speech_no_preset_drops_a_word(stack: Stack, call: Path) -> None:
    job = completed(stack, call, "words.wav")
    told = httpx.get(f"{stack.url}/api/jobs/{job['job_id']}/quality", headers=_bearer(job)).raise_for_status().json()

    assert [one["preset"] for one in told["presets"]] == list(PRESETS)
    assert told["words"] > 20
    assert {(one["words"], one["words_dropped"]) for one in told["presets"]} == {(told["words"], 0)}
    lines = _captions(stack, job, "vtt", "social").split("\n\n")[1:]
    assert all(len(block.strip().split("\n")) == 2 for block in lines)
    assert all(width(block.split(">")[-1].strip()) <= SOCIAL.line_width for block in lines)


def _captions(stack: Stack, job: dict[str, Any], name: str, preset: str | None = None) -> str:
    path = f"{stack.url}/api/jobs/{job['job_id']}/download/{name}"
    answer = httpx.get(path, params={"preset": preset} if preset else {}, headers=_bearer(job))
    return answer.raise_for_status().text


def _bearer(job: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {job['access_token']}"}
