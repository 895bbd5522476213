"""Time and memory of a run, those of the parts before an interruption included."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any

from relgnn.errors import MachineError
from relgnn.runtime import peak_memory_mb
from relgnn.training.checkpoint import load_json, save_json

EVERY_S = 60.0
"""How much time a run that is killed may lose."""


class Spent:
    """What a run has taken so far; as a context it is kept in `resume/spent.json` as time passes.

    So a run that is interrupted, or killed, counts it when it goes on.

    Args:
        folder: of the run, made before the context is entered.
        resume: whether the run goes on; then what it took before counts.
    """

    def __init__(self, folder: Path, resume: bool) -> None:
        self._started = time.perf_counter()
        self.path = _path(folder)
        there = resume and self.path.is_file()
        self._before = load_json(self.path) if there else {"seconds": 0.0, "peak_memory_mb": 0.0}
        self._over = Event()
        self._keeper = Thread(target=self._keep_on, daemon=True)

    def total(self) -> dict[str, float]:
        """`seconds` of all parts, and `peak_memory_mb`, the highest of them."""
        return {
            "seconds": self._before["seconds"] + time.perf_counter() - self._started,
            "peak_memory_mb": max(self._before["peak_memory_mb"], peak_memory_mb()),
        }

    def __enter__(self) -> Spent:
        self._keeper.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._over.set()
        self._keeper.join()
        if kind is not None:
            self._keep()

    def _keep_on(self) -> None:
        while not self._over.wait(EVERY_S):
            self._keep()

    def _keep(self) -> None:
        # a full disk stops the run where it writes what counts, and is told there
        with suppress(MachineError):
            save_json(self.path, self.total())


def spent_before(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Let a run that has ended, and is to go on, count what it took until it ended.

    Args:
        folder: of the run.
        metrics: what it left.
    """
    save_json(_path(folder), {name: metrics[name] for name in ("seconds", "peak_memory_mb")})


def _path(folder: Path) -> Path:
    return folder / "resume" / "spent.json"
