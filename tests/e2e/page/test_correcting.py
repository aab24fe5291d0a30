"""Correcting a transcript on the page, in a real browser against the real stack."""

import re
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.conftest import Stack
from tests.e2e.page.browsing import NEEDED, PHONE, Visitor, completed, look

pytestmark = NEEDED


def opened(visitor: Visitor, stack: Stack, accepted: dict[str, Any], **screen: Any) -> Any:
    """The transcript of a job, for its owner."""
    visitor.knows(accepted)
    page = visitor.arrives(**screen)
    page.goto(f"{stack.url}/jobs/{accepted['job_id']}")
    page.locator(".rows").wait_for()
    return page


def taken(page: Any, name: str = "SRT") -> str:
    with page.expect_download() as file:
        page.get_by_role("button", name=f"Download {name}", exact=True).click()
    return Path(file.value.path()).read_text()


def correct(stack: Stack, accepted: dict[str, Any], based_on: int, text: str) -> None:
    """What somebody else does meanwhile: the first word."""
    answer = httpx.post(
        f"{stack.url}/api/jobs/{accepted['job_id']}/versions",
        headers={"Authorization": f"Bearer {accepted['access_token']}"},
        json={"based_on": based_on, "words": [{"word": 0, "text": text}]},
    )
    assert answer.status_code == 201, answer.text


def test_words_and_names_are_corrected_taken_back_and_saved(visitor: Visitor, stack: Stack, call: Path) -> None:
    accepted = completed(stack, call, "correct.wav")
    page = opened(visitor, stack, accepted)
    original = taken(page)
    # when a word is typed over, the next is reached by Tab, and one is removed
    page.get_by_role("button", name="Correct", exact=True).click()
    page.locator("[data-w='0']").click()
    page.locator("[data-e='0']").fill("Ahoy")
    look(page, "correcting-word")
    page.keyboard.press("Tab")
    page.locator("[data-e='1']").fill("my dear Bob")
    page.keyboard.press("Enter")
    page.locator("[data-w='1']:focus").wait_for()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Delete")
    page.get_by_text("3 changes").wait_for()
    page.keyboard.press("Control+z")
    page.get_by_text("2 changes").wait_for()
    page.keyboard.press("Control+Shift+z")
    page.get_by_text("3 changes").wait_for()
    page.keyboard.press("Control+z")
    # and what is begun can be left
    page.keyboard.press("F2")
    page.keyboard.type("nonsense")
    page.keyboard.press("Escape")
    page.get_by_text("2 changes").wait_for()
    # and a speaker gets a name
    page.get_by_role("button", name="Rename Speaker 1").click()
    page.get_by_label("New name of Speaker 1").fill("Ana & Co")
    page.keyboard.press("Enter")
    page.locator(".rows .speaker-name", has_text="Ana & Co").first.wait_for()
    assert page.locator(".rows").get_by_text("Speaker 1").count() == 0
    page.get_by_text("3 changes").wait_for()
    look(page, "correcting")
    # then it is saved as a version of its own, and every file follows
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("Saved as version 1.").wait_for()
    assert page.get_by_text("No changes yet").is_visible()
    srt = taken(page)
    assert "Ana & Co: Ahoy my dear Bob" in " ".join(srt.split())
    assert "<v Ana &amp; Co>" in taken(page, "VTT")
    page.locator(".edit-said", has_text="Saved").wait_for()
    # and the original is there to look at, and to bring back
    page.get_by_role("button", name="Version 1", exact=True).click()
    page.get_by_role("menuitemradio", name="Version 1").get_by_text("2 words · 1 speaker").wait_for()
    look(page, "versions")
    page.get_by_role("menuitemradio", name="Original").click()
    page.get_by_text("You are looking at an earlier version: Original.").wait_for()
    look(page, "version-earlier")
    assert taken(page) == original
    page.get_by_role("button", name="Bring this version back").click()
    page.get_by_text("The original is back, as version 2.").wait_for()
    assert taken(page) == original
    visitor.leaves()


def test_who_comes_second_is_told_and_keeps_what_can_be_kept(visitor: Visitor, stack: Stack, call: Path) -> None:
    accepted = completed(stack, call, "second.wav")
    page = opened(visitor, stack, accepted)
    visitor.expected.append("409")
    page.keyboard.press("e")
    for word, text in ((0, "Mine"), (3, "mine")):
        page.locator(f"[data-w='{word}']").click()
        page.locator(f"[data-e='{word}']").fill(text)
        page.keyboard.press("Enter")
    correct(stack, accepted, 0, "Theirs")
    page.wait_for_timeout(500)
    assert page.locator("[data-w='0']").inner_text() == "Mine"
    page.keyboard.press("Control+s")
    page.get_by_text("Somebody else has corrected this transcript meanwhile.").wait_for()
    look(page, "correcting-conflict")
    page.get_by_role("button", name="Load version 1, and keep my changes").click()
    page.get_by_text("This is version 1 with your changes, except 1 that").wait_for()
    assert page.locator("[data-w='0']").inner_text() == "Theirs"
    assert page.locator("[data-w='3']").inner_text() == "mine"
    # and nothing is left behind unasked
    asked = []
    page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    page.get_by_role("link", name="Subtide, start page").click()
    assert asked == ["Your corrections are not saved. Leave them behind?"]
    assert page.locator("[data-w='3']").inner_text() == "mine"
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("Saved as version 2.").wait_for()
    # and another tab that only looks on follows by itself
    page.get_by_role("button", name="Correct", exact=True).click()
    correct(stack, accepted, 2, "Last")
    page.locator("[data-w='0']", has_text="Last").wait_for()
    visitor.leaves()


def test_on_a_phone_and_for_who_was_given_a_link(visitor: Visitor, browser: Any, stack: Stack, call: Path) -> None:
    accepted = completed(stack, call, "phone.wav")
    page = opened(visitor, stack, accepted, **PHONE)
    page.get_by_role("button", name="Correct", exact=True).tap()
    page.locator("[data-w='2']").tap()
    page.locator("[data-e='2']").fill("there")
    look(page, "correcting-phone")
    page.get_by_role("button", name="Save", exact=True).tap()
    page.get_by_text("Saved as version 1.").wait_for()
    visitor.leaves()
    # given a link, there is nothing to correct with, and the versions can be read
    url = f"{stack.url}/api/jobs/{accepted['job_id']}/share"
    link = httpx.post(url, headers={"Authorization": f"Bearer {accepted['access_token']}"}).json()["url"]
    guest = Visitor(browser, stack.url)
    shared = guest.arrives()
    shared.goto(link)
    shared.locator(".rows").wait_for()
    assert shared.get_by_role("button", name="Correct", exact=True).count() == 0
    assert shared.get_by_role("button", name=re.compile("^Rename")).count() == 0
    shared.get_by_role("button", name="Version 1", exact=True).click()
    shared.get_by_role("menuitemradio", name="Original").click()
    shared.get_by_text("You are looking at an earlier version").wait_for()
    assert shared.get_by_role("button", name="Bring this version back").count() == 0
    guest.leaves()
    assert guest.complaints == []
