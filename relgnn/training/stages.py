"""How long the stages of a run took, and how much memory there was in use."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from relgnn.runtime import peak_memory_mb


@dataclass
class Stages:
    """A stopwatch with named laps.

    Attributes:
        laps: in the order in which they ended: stage, round (0 where it belongs to none), seconds,
            and peak_memory_mb, the most that the process had in use until then.
    """

    laps: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def lap(self, stage: str, round_: int = 0) -> Iterator[None]:
        """Time what is done inside; one that fails is not written down."""
        started = time.perf_counter()
        yield
        self.laps.append(
            {
                "stage": stage,
                "round": round_,
                "seconds": time.perf_counter() - started,
                "peak_memory_mb": peak_memory_mb(),
            }
        )


def by_stage(laps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sums of seconds and the highest memory of each stage, in the order of their first laps."""
    found: dict[str, dict[str, Any]] = {}
    for lap in laps:
        one = found.setdefault(
            lap["stage"], {"stage": lap["stage"], "laps": 0, "seconds": 0.0, "peak_memory_mb": 0.0}
        )
        one["laps"] += 1
        one["seconds"] += lap["seconds"]
        one["peak_memory_mb"] = max(one["peak_memory_mb"], lap["peak_memory_mb"])
    return list(found.values())
