"""Runs that are stopped on the way and go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relgnn.training import Interrupted, Trainer

CHANGING = ("seconds", "peak_memory_mb")
"""Metrics that differ between two runs of one configuration."""


def stopped_and_resumed(
    run: Callable[..., dict[str, Any]],
    settings: Any,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    training: int = 2,
) -> dict[str, Any]:
    """Metrics, without `CHANGING`, of a run that was stopped before so many trainings had begun."""
    fit, calls = Trainer.fit, []

    def stopping(self: Trainer, *args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == training:
            raise Interrupted("stopped")
        return fit(self, *args, **options)

    monkeypatch.setattr(Trainer, "fit", stopping)
    with pytest.raises(Interrupted):
        run(settings, folder)
    monkeypatch.undo()
    return lasting(run(settings, folder, resume=True))


def lasting(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics without `CHANGING`."""
    return {name: value for name, value in metrics.items() if name not in CHANGING}
