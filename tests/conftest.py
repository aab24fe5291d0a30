"""What all tests share."""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

# The same examples everywhere, and no verdict on how fast a machine draws them.
settings.register_profile("subtide", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("subtide")

_TOGETHER = ("chaos", "e2e")
"""Folders whose tests share one stack, in their order."""


class Together(LoadScopeScheduling):  # type: ignore[misc]
    """Tests of one file, or of one such folder, stay in one process. (xdist's groups are lost on pytest 9.2.)"""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return next((folder for folder in path.split("/") if folder in _TOGETHER), path)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    """Asked for by xdist, which is told the order of folders by `--no-loadscope-reorder`: the slow ones come first."""
    return Together(config, log)
