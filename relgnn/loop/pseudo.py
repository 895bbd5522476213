"""Pseudo triples: what the loop accepted from text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pseudo:
    """Accepted triples.

    Args:
        triples: int64 [A, 3].
        weight: float [A] in (0, 1], the posterior of each.
    """

    triples: np.ndarray
    weight: np.ndarray

    @classmethod
    def none(cls) -> Pseudo:
        """Before the first round."""
        return cls(np.zeros((0, 3), dtype=np.int64), np.zeros(0))

    def __len__(self) -> int:
        return len(self.weight)

    def with_column(self, column: int, values: np.ndarray) -> Pseudo:
        """The same weights on other triples: one column replaced."""
        triples = self.triples.copy()
        triples[:, column] = values
        return Pseudo(triples, self.weight)
