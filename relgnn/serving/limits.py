"""How often somebody may ask: a token bucket for each key or address."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

REMEMBERED = 10_000
"""Buckets that are kept; the one that was used longest ago goes, and is full when it returns."""


class Buckets:
    """Token buckets by name: each fills at a rate up to a size, and a request takes one token.

    Args:
        rate: tokens a second.
        size: how many a bucket holds; a new one is full.
        clock: seconds, never falling.
    """

    def __init__(self, rate: float, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.size, self.clock = rate, size, clock
        self._level: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> float:
        """Take a token.

        Returns:
            0 where there was one, else the seconds until there is.
        """
        now = self.clock()
        level, before = self._level.pop(name, (float(self.size), now))
        level = min(self.size, level + (now - before) * self.rate)
        missing = max(0.0, 1.0 - level)
        self._level[name] = (level if missing else level - 1, now)
        if len(self._level) > REMEMBERED:
            self._level.popitem(last=False)
        return missing / self.rate
