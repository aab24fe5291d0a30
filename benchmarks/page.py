"""What the page costs a browser: script at the first load, time until it can be used, tasks that hold it up.

    python -m benchmarks.page

A real stack and Debian's Chromium; beside it, in the same run, an empty page from the same gateway. The transcript of
three hours and the hundred jobs are made up here and served in place of the gateway's answers: what is measured is what
the page does with them. The exit status is 1 where a budget is exceeded.
"""

import random
import statistics
import sys
from typing import Any

import msgspec
from playwright.sync_api import sync_playwright

from tests.e2e.conftest import sample_call, started
from tests.e2e.page.browsing import ARGUMENTS, CHROMIUM, DESK, panel

SCRIPT_KB_MAX = 150.0
INTERACTIVE_S_MAX = 1.5
LONG_TASK_MS_MAX = 200.0
FRAMES_MIN = 55.0
"""Of 60 a second: Chromium itself drops some without a GPU."""

HOURS = 3
JOBS = 100
ROUNDS = 7

_WORDS = "the quick tide rolls over every stone and leaves a quiet line of sand behind while people talk".split()
_WATCH = """new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) (window.longTasks ??= []).push(duration);
}).observe({ type: "longtask", buffered: true })"""
_SCROLL = """() => new Promise((done) => {
    let frames = 0;
    const began = performance.now();
    const frame = (now) => {
        frames++;
        scrollBy(0, 120);
        if (now - began < 4000) requestAnimationFrame(frame);
        else done(frames / ((now - began) / 1000));
    };
    requestAnimationFrame(frame);
})"""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One figure, and what it may be."""

    what: str
    value: float
    unit: str
    limit: float
    at_least: bool = False

    @property
    def kept(self) -> bool:
        """Whether the budget is kept."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def main() -> int:
    """Print the table."""
    with started(SUBTIDE_MAX_QUEUED_JOBS="50") as stack, sync_playwright() as playwright:
        accepted = stack.submit(sample_call(), name="call.wav").json()
        assert stack.ended(accepted)["status"] == "completed"
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        lines = [*_first_load(browser, stack.url), *_much(browser, stack.url, stack.get(accepted, "").json(), accepted)]
        browser.close()
    for line in lines:
        bound = "at least" if line.at_least else "at most"
        verdict = "" if line.kept else "   EXCEEDED"
        print(f"{line.what:<52}{line.value:>8.1f} {line.unit:<9} {bound} {line.limit:g}{verdict}")
    return 0 if all(line.kept for line in lines) else 1


def _first_load(browser: Any, url: str) -> list[Line]:
    """Of a browser that has never been here."""
    ours, empty, size = [], [], 0
    for _ in range(ROUNDS):
        for address, times in ((f"{url}/health/live", empty), (url, ours)):
            context = browser.new_context(**DESK)
            page = context.new_page()
            began = page.evaluate("performance.timeOrigin + performance.now()")
            page.goto(address, wait_until="commit")
            if address == url:
                page.get_by_role("button", name="Choose files").click(trial=True)
                size = page.evaluate(
                    """performance.getEntriesByType("resource").filter(({ name }) => name.endsWith(".js"))
                        .reduce((sum, { encodedBodySize }) => sum + encodedBodySize, 0)"""
                )
            else:
                page.wait_for_load_state()
            times.append((page.evaluate("performance.timeOrigin + performance.now()") - began) / 1000)
            context.close()
    beside = statistics.median(ours) / statistics.median(empty)
    print(f"interactive after {beside:.1f} times as long as an empty page takes ({statistics.median(empty):.2f} s)")
    return [
        Line(what="script of the first load, compressed", value=size / 1024, unit="KiB", limit=SCRIPT_KB_MAX),
        Line(what="interactive, median", value=statistics.median(ours), unit="s", limit=INTERACTIVE_S_MAX),
    ]


def _much(browser: Any, url: str, job: dict[str, Any], accepted: dict[str, Any]) -> list[Line]:
    """A hundred jobs in storage, and a transcript of three hours."""
    context = browser.new_context(**DESK)
    page = context.new_page()
    transcript = msgspec.json.encode(_transcript()).decode()
    jobs = [job, *({**job, "job_id": f"{n:032x}", "filename": f"Recording {n}.mp4"} for n in range(JOBS - 1))]
    stored = [
        {
            "id": one["job_id"],
            "token": accepted["access_token"] if one is job else "x" * 43,
            "addedAt": 1,
            "job": one,
            "seq": 1,
        }
        for one in jobs
    ]
    page.route("**/download/json*", lambda route: route.fulfill(body=transcript, content_type="application/json"))
    page.route(
        "**/api/jobs/query",
        lambda route: route.fulfill(json={"jobs": jobs, "total": len(jobs), "page": 1, "per_page": 100}),
    )
    page.route_web_socket("**/ws", lambda socket: None)
    page.add_init_script(_WATCH)
    page.goto(url)
    page.evaluate("(jobs) => localStorage.setItem('subtide.jobs.1', JSON.stringify(jobs))", stored)
    page.reload()
    page.get_by_role("button", name="Choose files").click(trial=True)
    _longest(page)
    shown = panel(page, "Completed")
    for _ in range(3):
        shown.get_by_role("button", name="Next", exact=True).click()
        page.wait_for_timeout(150)
    hundred = _longest(page)
    page.goto(f"{url}/jobs/{job['job_id']}")
    page.locator(".rows").wait_for()
    page.wait_for_timeout(1000)
    _longest(page)
    frames = page.evaluate(_SCROLL)
    scrolling = _longest(page)
    page.get_by_label("Search in the transcript").press_sequentially("the tide", delay=60)
    page.wait_for_timeout(500)
    page.get_by_role("button", name="Next hit").click()
    page.get_by_role("button", name="Next doubtful word").click()
    page.get_by_label("Show what Speaker 2 says").click()
    page.wait_for_timeout(500)
    using = _longest(page)
    page.get_by_label("Show what Speaker 2 says").click()
    page.get_by_role("button", name="Correct", exact=True).click()
    page.locator("[data-w]").nth(40).click()
    page.keyboard.type("corrected by hand", delay=40)
    page.keyboard.press("Tab")
    page.keyboard.type("twice", delay=40)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Rename Speaker 1").click()
    page.keyboard.type("Ana")
    page.keyboard.press("Enter")
    for _ in range(3):
        page.keyboard.press("Control+z")
    page.wait_for_timeout(500)
    correcting = _longest(page)
    context.close()
    words = transcript.count('"word"')
    return [
        Line(what=f"{JOBS} jobs: longest task, panel and its pages", value=hundred, unit="ms", limit=LONG_TASK_MS_MAX),
        Line(what=f"{words:,} words: frames while scrolling", value=frames, unit="a second", limit=FRAMES_MIN,
             at_least=True),
        Line(what=f"{words:,} words: longest task, scrolling", value=scrolling, unit="ms", limit=LONG_TASK_MS_MAX),
        Line(what=f"{words:,} words: longest task, search, jumps, filter", value=using, unit="ms",
             limit=LONG_TASK_MS_MAX),
        Line(what=f"{words:,} words: longest task, correcting", value=correcting, unit="ms", limit=LONG_TASK_MS_MAX),
    ]  # fmt: skip


def _longest(page: Any) -> float:
    """The longest task since the last time, ms; the browser reports those over 50."""
    longest: float = page.evaluate("Math.max(0, ...(window.longTasks ?? []))")
    page.evaluate("window.longTasks = []")
    return longest


def _transcript() -> dict[str, Any]:
    """As result.json, of four speakers who talk without a pause."""
    chance = random.Random(1)
    segments, turns, at = [], [], 0.0
    while at < HOURS * 3600:
        speaker, words, began = f"Speaker {chance.randint(1, 4)}", [], at
        for _ in range(chance.randint(5, 25)):
            length = chance.uniform(0.15, 0.45)
            stop = "." if chance.random() < 0.1 else ""
            words.append(
                {
                    "word": f" {chance.choice(_WORDS)}{stop}",
                    "start": round(at, 2),
                    "end": round(at + length, 2),
                    "probability": chance.choice([0.99, 0.99, 0.99, 0.9, 0.3]),
                    "speaker": speaker,
                }
            )
            at += length
        text = "".join(str(word["word"]) for word in words)
        segments.append(
            {"id": len(segments), "start": began, "end": at, "text": text, "speaker": speaker, "words": words}
        )
        turns.append({"start": began, "end": at, "speaker": speaker})
    return {
        "language": "en",
        "duration": at,
        "segments": segments,
        "speakers": [f"Speaker {n}" for n in range(1, 5)],
        "turns": turns,
        "warnings": [],
        "receipt": {},
    }


if __name__ == "__main__":
    sys.exit(main())
