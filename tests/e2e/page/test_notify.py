"""Being told: asked for at the right moment only, and shown by the service worker with no page open."""

import json
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.conftest import Stack
from tests.e2e.page.browsing import JOB_MS, NEEDED, Visitor, completed, drop, look, panel

pytestmark = NEEDED

QUESTION = "Shall we tell you when it is done?"


def test_the_question_comes_after_the_first_completed_job_and_a_no_is_remembered(
    visitor: Visitor, stack: Stack, call: Path
) -> None:
    assert len(httpx.get(f"{stack.url}/api/notifications/key").json()["public_key"]) == 87
    page = visitor.arrives()
    _permission(page, stack.url, "prompt")
    page.goto(stack.url)
    assert page.evaluate("Notification.permission") == "default"
    # nothing is asked before, while it works, as it has to on what was never asked for
    page.locator("summary").first.click()
    page.get_by_label("Words likely to be said").fill("bells")
    drop(page, call, "asked.wav")
    page.get_by_role("dialog", name="Your jobs").wait_for()
    assert page.get_by_text(QUESTION).count() == 0
    panel(page, "Completed").get_by_role("button", name="View asked.wav").wait_for(timeout=JOB_MS)
    # then it is, beside what one is doing
    page.keyboard.press("Escape")
    page.get_by_role("heading", name=QUESTION).wait_for()
    look(page, "notify-asked")
    page.get_by_role("button", name="Not now").click()
    page.get_by_role("heading", name=QUESTION).wait_for(state="hidden")
    # and never again
    page.reload()
    drop(page, call, "again.wav")
    page.get_by_role("dialog", name="Your jobs").wait_for()
    panel(page, "Completed").get_by_role("button", name="View again.wav").wait_for(timeout=JOB_MS)
    page.keyboard.press("Escape")
    page.wait_for_timeout(500)
    assert page.get_by_text(QUESTION).count() == 0
    visitor.leaves()


def test_a_push_is_shown_by_the_service_worker(visitor: Visitor, stack: Stack, call: Path) -> None:
    job = completed(stack, call, "pushed.wav")
    visitor.knows(job)
    page = visitor.arrives()
    _permission(page, stack.url, "granted")
    page.goto(stack.url)
    # given the service worker, as it is registered for a push service
    page.evaluate("navigator.serviceWorker.register('/service-worker.js').then(() => navigator.serviceWorker.ready)")
    told = {"job_id": job["job_id"], "filename": "pushed.wav", "outcome": "completed"}
    # when a push comes, twice, then there is one notification
    for _ in range(2):
        _push(page, stack.url, json.dumps(told))
    shown = _shown(page)
    assert [(one["title"], one["tag"]) for one in shown] == [("pushed.wav is done", job["job_id"])]
    # and what is no notification of ours is not shown
    _push(page, stack.url, json.dumps(told | {"job_id": "../../elsewhere"}))
    _push(page, stack.url, "hello")
    assert _shown(page) == shown
    visitor.leaves()


def _permission(page: Any, url: str, setting: str) -> None:
    """What the browser says when it is asked for notifications."""
    session = page.context.browser.new_browser_cdp_session()
    target = page.context.new_cdp_session(page).send("Target.getTargetInfo")["targetInfo"]
    session.send(
        "Browser.setPermission",
        {
            "permission": {"name": "notifications"},
            "setting": setting,
            "origin": url,
            "browserContextId": target["browserContextId"],
        },
    )


def _push(page: Any, url: str, data: str) -> None:
    """As from the browser's push service."""
    session = page.context.new_cdp_session(page)
    registrations: list[str] = []
    session.on(
        "ServiceWorker.workerRegistrationUpdated",
        lambda event: registrations.extend(one["registrationId"] for one in event["registrations"]),
    )
    session.send("ServiceWorker.enable")
    for _ in range(100):
        if registrations:
            break
        page.wait_for_timeout(50)
    session.send("ServiceWorker.deliverPushMessage", {"origin": url, "registrationId": registrations[-1], "data": data})
    page.wait_for_timeout(300)
    session.detach()


def _shown(page: Any) -> list[dict[str, str]]:
    shown: list[dict[str, str]] = page.evaluate(
        """navigator.serviceWorker.ready.then((registration) => registration.getNotifications())
            .then((all) => all.map(({ title, tag }) => ({ title, tag })))"""
    )
    return shown
