"""What all tests share."""

import pytest
from hypothesis import HealthCheck, settings

# The same examples everywhere, and no verdict on how fast a machine draws them.
settings.register_profile("subtide", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("subtide")

_TOGETHER = ("chaos", "e2e")
"""Folders whose tests share one stack, in their order."""


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests run in two processes; those of one file, or of one such folder, stay in one."""
    for item in items:
        folder = item.path.parent.name
        item.add_marker(pytest.mark.xdist_group(folder if folder in _TOGETHER else str(item.path)))
