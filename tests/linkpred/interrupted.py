"""Runs that are stopped in the middle, as Ctrl-C stops them."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from relgnn.config import AnyConfig
from relgnn.loop.runs import run_any
from relgnn.training import Interrupted, Task


def interrupt(config: AnyConfig, folder: Path, task: type[Task[Any]], step: int) -> None:
    """Begin a run in a folder; it is stopped at a step, counted from 1, of a kind of task."""
    loss, steps = task.loss, []

    def stopping(self: Task[Any], *args: Any) -> Any:
        steps.append(1)
        if len(steps) == step:
            signal.raise_signal(signal.SIGINT)
        return loss(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task, "loss", stopping)
        with pytest.raises(Interrupted):
            run_any(config, folder)
    assert len(steps) == step
