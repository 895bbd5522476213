"""One thread for models this small; the finished run of a user's folder, opened once."""

from __future__ import annotations

from pathlib import Path

import pytest

from relgnn.loop.opened import OpenRun, open_run
from tests.linkpred import toy

one_thread = toy.one_thread


@pytest.fixture(scope="session")
def opened(own_run: Path) -> OpenRun:
    return open_run(own_run)
