"""A browser, and a visitor with it."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import Stack


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, without a window. Ends with its module: Playwright keeps an event loop running in the thread
    of the tests, where others start one of their own.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e .[dev]")
    from tests.e2e.page import browsing

    with playwright.sync_playwright() as running:
        launched = running.chromium.launch(executable_path=browsing.CHROMIUM, args=browsing.ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def visitor(browser: Any, stack: Stack) -> Iterator[Any]:
    """Somebody with a new browser; nothing may have gone wrong in it by the end."""
    from tests.e2e.page.browsing import Visitor

    one = Visitor(browser, stack.url)
    yield one
    assert one.complaints == []
