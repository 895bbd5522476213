"""Pseudo triples: what the loop accepted from text, and pairs that it connects without a type."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pseudo:
    """Accepted triples, and connected pairs as triples of relation R, one beyond the graph's.

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

    def subset(self, index: np.ndarray) -> Pseudo:
        """Those that `index` (bool mask or positions) picks."""
        return Pseudo(self.triples[index], self.weight[index])

    def join(self, other: Pseudo) -> Pseudo:
        """These, then the others."""
        return Pseudo(
            np.concatenate([self.triples, other.triples]),
            np.concatenate([self.weight, other.weight]),
        )

    def typed(self, num_relations: int) -> Pseudo:
        """Without the connected pairs."""
        return self.subset(self.triples[:, 1] < num_relations)

    def with_column(self, column: int, values: np.ndarray) -> Pseudo:
        """The same weights on other triples: one column replaced."""
        triples = self.triples.copy()
        triples[:, column] = values
        return Pseudo(triples, self.weight)


def is_in(triples: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which of triples [C, 3] are among known [K, 3], bool [C]."""
    keys = {tuple(t) for t in known.tolist()}
    return np.array([tuple(t) in keys for t in triples.tolist()], dtype=bool)
