"""Files on their way: stopped, cut off, left and taken up again, in a real browser against the real stack."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Stack
from tests.e2e.page.browsing import JOB_MS, NEEDED, Visitor, card, drop, focused, longer, look, panel, slowed, until

pytestmark = NEEDED

SLOW = 300_000
FAST = -1


@pytest.fixture(scope="module")
def large(call: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording that takes ten seconds to send, slowly."""
    return longer(call, tmp_path_factory.mktemp("large") / "large.wav", 3)


def begun(visitor: Visitor, stack: Stack, large: Path) -> Any:
    """The page, with a file a good part of the way."""
    page = visitor.arrives()
    page.goto(stack.url)
    slowed(page, SLOW)
    choose(page, large)
    until(page, "document.querySelector('.upload [role=progressbar]')?.ariaValueNow >= 10")
    return page


def choose(page: Any, *paths: Path) -> None:
    page.locator("input[type=file]").first.set_input_files([str(path) for path in paths])


def sent(page: Any) -> int:
    """Percent of the first upload."""
    return int(page.locator(".upload [role=progressbar]").first.get_attribute("aria-valuenow"))


def test_an_upload_is_paused_and_goes_on_from_there_after_a_reload_too(
    visitor: Visitor, stack: Stack, large: Path
) -> None:
    page = begun(visitor, stack, large)
    # by keyboard: one button does both, and keeps the focus
    page.get_by_role("button", name="Pause: large.wav").press("Enter")
    page.get_by_text("Paused", exact=True).wait_for()
    assert focused(page) == "Resume: large.wav"
    before = sent(page)
    assert 10 <= before < 100
    look(page, "upload-paused")
    # it is known how far it is, though the page was gone
    page.reload()
    page.get_by_text("Paused", exact=True).wait_for()
    assert abs(sent(page) - before) <= 1
    page.get_by_role("button", name="Resume: large.wav").press("Enter")
    assert focused(page) == "Pause: large.wav"
    until(page, f"(document.querySelector('.upload [role=progressbar]')?.ariaValueNow ?? 100) >= {before - 1}")
    card(page, "large.wav").wait_for()
    visitor.leaves()


def test_an_upload_that_a_reload_interrupts_goes_on_by_itself(visitor: Visitor, stack: Stack, large: Path) -> None:
    page = begun(visitor, stack, large)
    asked: list[tuple[str, str | None]] = []
    page.on("request", lambda request: asked.append((request.method, request.headers.get("upload-offset"))))
    page.reload()
    card(page, "large.wav").wait_for()
    # from where it was, and not from the beginning
    offsets = [int(offset) for method, offset in asked if method == "PATCH" and offset is not None]
    assert offsets
    assert min(offsets) > 0
    assert ("POST", None) in asked  # the submit, and no second upload: that would have failed above
    visitor.leaves()


def test_an_upload_goes_on_by_itself_when_the_network_is_back(visitor: Visitor, stack: Stack, large: Path) -> None:
    visitor.expected = ["ERR_INTERNET_DISCONNECTED"]
    page = begun(visitor, stack, large)
    visitor.offline(True)
    page.get_by_text("Connection lost: goes on by itself").wait_for()
    look(page, "upload-interrupted")
    visitor.offline(False)
    card(page, "large.wav").wait_for()
    visitor.leaves()


def test_an_upload_that_is_begun_without_a_network_waits_for_it(visitor: Visitor, stack: Stack, call: Path) -> None:
    visitor.expected = ["ERR_INTERNET_DISCONNECTED"]
    page = visitor.arrives()
    page.goto(stack.url)
    page.get_by_text("Audio or video, up to").wait_for()
    visitor.offline(True)
    choose(page, call)
    page.get_by_text("Connection lost: goes on by itself").wait_for()
    # with no job there is nothing that may be old
    assert page.get_by_text("Offline - data may be stale").count() == 0
    visitor.offline(False)
    card(page, "sample.wav").wait_for()
    assert page.get_by_text("Offline - data may be stale").count() == 0
    visitor.leaves()


@pytest.mark.parametrize("reloaded", [False, True])
def test_an_upload_is_cancelled_on_the_server_too(
    visitor: Visitor, stack: Stack, large: Path, *, reloaded: bool
) -> None:
    page = begun(visitor, stack, large)
    page.get_by_role("button", name="Pause: large.wav").click()
    if reloaded:
        page.reload()
    cancel = page.get_by_role("button", name="Cancel: large.wav")
    cancel.wait_for()
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as answer:
        cancel.press("Enter")
    assert answer.value.status == 204
    page.locator(".upload").wait_for(state="detached")
    until(page, "document.activeElement.textContent === 'Choose files'")
    page.reload()
    page.get_by_text("Audio or video, up to").wait_for()
    assert page.locator(".upload, .card").count() == 0
    visitor.leaves()


def test_the_panel_opens_once_for_a_batch_and_takes_the_focus_from_no_field(
    visitor: Visitor, stack: Stack, call: Path, tmp_path: Path
) -> None:
    files = [longer(call, tmp_path / f"batch {n}.wav", 1) for n in range(3)]
    page = visitor.arrives()
    page.goto(stack.url)
    page.locator("summary").first.click()
    # given somebody who types while his files are sent
    choose(page, files[0])
    field = page.get_by_label("Words likely to be said")
    field.press_sequentially("tide", delay=100)
    page.locator(".upload").wait_for(state="detached")
    page.get_by_role("button", name="Jobs, 1 running").or_(page.get_by_role("button", name="Jobs").first).wait_for()
    assert page.get_by_role("dialog").count() == 0
    field.press_sequentially(" rolls")
    assert field.input_value() == "tide rolls"
    # when he has done, the next files open it once
    field.blur()
    slowed(page, SLOW)
    choose(page, *files[1:])
    page.get_by_role("dialog", name="Your jobs").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    page.locator(".upload").last.wait_for(state="detached")
    page.wait_for_timeout(500)
    assert page.get_by_role("dialog").count() == 0
    visitor.leaves()


def test_what_the_server_would_refuse_is_said_before_anything_is_sent(
    visitor: Visitor, stack: Stack, call: Path, tmp_path: Path
) -> None:
    page = visitor.arrives()
    page.goto(stack.url)
    # what is no recording
    for name in ("letter.txt", "paper.pdf", "sheet.xlsx", "all.zip", "photo.jpg"):
        other = tmp_path / name
        other.write_text("no sound in it")
        choose(page, other)
        page.get_by_text(f"{name} is no recording.").wait_for()
    look(page, "refused-kind")
    # a model that cannot be one, at its field, and again when a file is dropped
    page.locator("summary").first.click()
    field = page.get_by_label("Model")
    field.fill("large v3")
    page.get_by_text("A model's name is made of letters").first.wait_for()
    assert field.get_attribute("aria-invalid") == "true"
    described = page.locator(f"[id='{field.get_attribute('aria-describedby')}']")
    assert "A model's name is made of" in described.inner_text()
    drop(page, call, "model.wav")
    page.get_by_text("Nothing is sent yet, as something in the options is wrong").wait_for()
    assert page.evaluate("document.activeElement.placeholder") == "base"
    field.fill("")
    # a number of speakers that is none, and two in the wrong order
    height = page.locator(".fields").bounding_box()["height"]
    page.get_by_label("Number of speakers").select_option("range")
    before = page.locator(".fields").bounding_box()["height"]
    page.get_by_label("At least").fill("5")
    page.get_by_label("At most").fill("2")
    page.get_by_text("The least number is above the greatest.").first.wait_for()
    assert page.get_by_label("At least").get_attribute("aria-invalid") == "true"
    assert page.locator(".fields").bounding_box()["height"] == before > height
    look(page, "options-wrong")
    assert page.locator(".upload").count() == 0
    page.get_by_label("At most").fill("6")
    drop(page, call, "speakers.wav")
    card(page, "speakers.wav").wait_for()
    entry = page.evaluate("JSON.parse(localStorage.getItem('subtide.jobs.1'))[0]")
    job = stack.get({"job_id": entry["id"], "access_token": entry["token"]}, "").json()
    assert (job["parameters"]["min_speakers"], job["parameters"]["max_speakers"]) == (5, 6)
    visitor.leaves()


def test_a_file_may_be_dropped_beside_the_place_for_it(visitor: Visitor, stack: Stack, call: Path) -> None:
    page = visitor.arrives()
    page.goto(stack.url)
    drop(page, call, "beside.wav", onto="footer")
    card(page, "beside.wav").wait_for()
    # on another view nothing happens, and the page stays
    page.goto(f"{stack.url}/jobs/{'0' * 32}")
    visitor.expected = ["404"]
    page.get_by_role("heading", name="This job cannot be opened").wait_for()
    stays = page.evaluate(
        """() => {
            const carried = new DataTransfer();
            carried.items.add(new File(["x"], "x.wav"));
            const told = (kind) => new DragEvent(kind, { dataTransfer: carried, bubbles: true, cancelable: true });
            return ["dragover", "drop"].map((kind) => !document.querySelector("h1").dispatchEvent(told(kind)));
        }"""
    )
    assert stays == [True, True]
    visitor.leaves()


def test_busy_is_not_said_any_longer_than_it_is(visitor: Visitor, stack: Stack) -> None:
    page = visitor.arrives()
    busy = stack_is_busy(page)
    page.goto(stack.url)
    page.get_by_text("System busy: 3 running, 9 waiting.").wait_for()
    busy.clear()
    page.get_by_text("System busy").wait_for(state="detached", timeout=15_000)
    visitor.leaves()


def stack_is_busy(page: Any) -> list[bool]:
    """The server has no place for as long as the list is not empty."""
    busy = [True]

    def answer(route: Any) -> None:
        told = route.fetch().json()
        if busy:
            told |= {"accepting": False, "active": 3, "waiting": 9}
        route.fulfill(json=told)

    page.route("**/api/capacity", answer)
    return busy


def test_who_retries_what_was_refused_sends_what_is_asked_now(visitor: Visitor, stack: Stack, call: Path) -> None:
    visitor.expected = ["400"]
    page = visitor.arrives()
    page.goto(stack.url)
    refusing = [True]

    def answer(route: Any) -> None:
        if refusing:
            route.fulfill(status=400, json={"detail": "Refused, as a test.", "code": "invalid_parameter"})
        else:
            route.continue_()

    page.route("**/api/jobs/submit", answer)
    drop(page, call, "refused.wav")
    page.get_by_text("Refused, as a test.").wait_for()
    look(page, "upload-refused")
    refusing.clear()
    page.locator("summary").first.click()
    page.get_by_label("Words likely to be said").fill("retried")
    page.get_by_role("button", name="Try again: refused.wav").click()
    card(page, "refused.wav").wait_for()
    panel(page, "Completed").get_by_role("button", name="View refused.wav").wait_for(timeout=JOB_MS)
    entry = page.evaluate("JSON.parse(localStorage.getItem('subtide.jobs.1'))[0]")
    job = stack.get({"job_id": entry["id"], "access_token": entry["token"]}, "").json()
    assert job["parameters"]["hotwords"] == "retried"
    visitor.leaves()
