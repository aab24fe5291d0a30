"""A visitor with Debian's Chromium: keeps its storage, notes whatever should not happen, and looks closely.

Every look is a check by axe-core and a picture in build/screens/, for people to look at.
"""

import base64
import shutil
import wave
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from services.gateway import page as served
from tests.e2e.conftest import Stack

ROOT = Path(__file__).resolve().parents[3]
SCREENS = ROOT / "build" / "screens"
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip
JOB_MS = 90_000

NEEDED = [
    pytest.mark.models,
    pytest.mark.timeout(300),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
    pytest.mark.skipif(not (served.STATIC / "index.html").is_file(), reason="the page is not built: make web"),
]
"""Marks of every test of the page."""

DESK: dict[str, Any] = {"viewport": {"width": 1280, "height": 860}}
DARK: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark"}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True,
}  # fmt: skip


class Visitor:
    """A browser that keeps its storage when it is closed."""

    def __init__(self, browser: Any, url: str) -> None:
        self._browser = browser
        self.url = url
        self._storage: Any = None
        self._context: Any = None
        self.complaints: list[str] = []
        self.expected: list[str] = []
        """What may be said on the console: the browser itself reports every refusal of the server there."""

    def arrives(self, **screen: Any) -> Any:
        """A new page in a new context, with the storage of the last."""
        self._context = self._browser.new_context(
            storage_state=self._storage, accept_downloads=True, **(screen or DESK)
        )
        self._context.on("request", lambda request: self._seen(request.url))  # of the service worker too
        page = self._context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._heard)
        page.on("websocket", lambda socket: self._seen(socket.url))
        return page

    def leaves(self) -> None:
        """Close everything but what the browser stores."""
        if self._context is not None:
            self._storage = self._context.storage_state()
            self._context.close()
            self._context = None

    def knows(self, *jobs: dict[str, Any]) -> None:
        """The browser's storage has these jobs, as if it had submitted them."""
        entries = [{"id": job["job_id"], "token": job["access_token"], "addedAt": 1} for job in jobs]
        entry = {"name": "subtide.jobs.1", "value": msgspec.json.encode(entries).decode()}
        self._storage = {"cookies": [], "origins": [{"origin": self.url, "localStorage": [entry]}]}

    def offline(self, away: bool) -> None:
        """Whether the network is gone."""
        self._context.set_offline(away)

    def _heard(self, line: Any) -> None:
        if line.type == "error" and not any(part in line.text for part in self.expected):
            self.complaints.append(line.text)

    def _seen(self, address: str) -> None:
        if not address.startswith((self.url, self.url.replace("http", "ws", 1), f"blob:{self.url}", "data:")):
            self.complaints.append(f"asked another host: {address}")
        if "token=" in address.partition("#")[0]:
            self.complaints.append(f"a token in an address: {address}")


def look(page: Any, name: str) -> None:
    """A picture, and no violation of what axe-core checks."""
    page.wait_for_timeout(350)  # what fades in has its contrast when it has arrived
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(SCREENS / f"{name}.png"))
    found = page.evaluate(
        AXE.read_text()
        + """; axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) =>
            violations.map(({ id, nodes }) => [id, nodes.slice(0, 3).map((node) => node.html.slice(0, 200))]))"""
    )
    assert found == [], f"{name}: {found}"


def drop(page: Any, path: Path, name: str, kind: str = "audio/wav", onto: str = ".drop") -> None:
    """Let a file go over the page."""
    dropped = page.evaluate_handle(
        """([encoded, name, type]) => {
            const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
            const carried = new DataTransfer();
            carried.items.add(new File([bytes], name, { type }));
            return carried;
        }""",
        [base64.b64encode(path.read_bytes()).decode(), name, kind],
    )
    page.locator(onto).dispatch_event("drop", {"dataTransfer": dropped})


def slowed(page: Any, bytes_per_s: int) -> None:
    """Have uploads go no faster; -1 is as fast as they can."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_per_s},
    )


def longer(call: Path, path: Path, times: int) -> Path:
    """The call over and over, each time a bit fainter, so that no result can be found for it."""
    with wave.open(str(call), "rb") as audio:
        parameters, frames = audio.getparams(), audio.readframes(audio.getnframes())
    samples = np.frombuffer(frames, dtype="<i2")
    with wave.open(str(path), "wb") as audio:
        audio.setparams(parameters)
        for n in range(times):
            audio.writeframes((samples * (1 - n / 100)).astype("<i2").tobytes())
    return path


def focused(page: Any) -> str:
    """What has the focus, by its name."""
    name: str = page.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.textContent")
    return name


def tab_to(page: Any, *names: str) -> None:
    """Press Tab until something of that name has the focus."""
    seen = []
    for _ in range(60):
        if any(focused(page).startswith(name) for name in names):
            return
        page.keyboard.press("Tab")
        seen.append(focused(page)[:30])
    raise AssertionError(f"{names} cannot be reached by Tab: {seen}")


def card(page: Any, name: str) -> Any:
    """The card of a job in the open panel."""
    return page.get_by_role("dialog").locator(".card", has_text=name)


def panel(page: Any, tab: str) -> Any:
    """The jobs panel, open at a tab."""
    shown = page.get_by_role("dialog", name="Your jobs")
    if not shown.is_visible():
        page.get_by_role("button", name="Jobs").first.click()
    shown.get_by_role("tab", name=tab).click()
    return shown


def completed(stack: Stack, path: Path, name: str, **parameters: str) -> dict[str, Any]:
    """A job that is done."""
    accepted: dict[str, Any] = stack.submit(path, name=name, **parameters).json()
    assert stack.ended(accepted)["status"] == "completed"
    return accepted


def until(page: Any, condition: str) -> None:
    """Wait until an expression holds. Playwright's own way evaluates text in the page, which our policy forbids."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never: {condition}")
