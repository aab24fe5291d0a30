"""The README's picture of the page, taken of the real one: `python -m tests.e2e.page.picture docs/page.png`."""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.e2e.conftest import sample_call, started
from tests.e2e.page.browsing import ARGUMENTS, CHROMIUM, Visitor, completed, until

_AT_S = 11.4


def main(path: Path) -> None:
    """A job of the sample call, in the middle of being listened to."""
    with started() as stack, sync_playwright() as playwright:
        job = completed(stack, sample_call(), "Diane and Sheila.wav")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        visitor = Visitor(browser, stack.url)
        visitor.knows(job)
        page = visitor.arrives(viewport={"width": 1280, "height": 800})
        page.goto(f"{stack.url}/jobs/{job['job_id']}")
        page.locator(".rows").wait_for()
        page.get_by_role("button", name="Not now").click()
        until(page, "document.querySelector('video, audio')?.readyState > 1")
        page.evaluate(f"document.querySelector('video, audio').currentTime = {_AT_S}")
        page.locator(".now").wait_for()
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_timeout(500)
        page.screenshot(path=str(path))
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
