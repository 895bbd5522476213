"""Pseudo triples: what the loop accepted from text, and pairs that it connects without a type."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Pseudo:
    """Accepted triples, and connected pairs as triples of relation R, one beyond the graph's.

    Args:
        triples: int64 [A, 3].
        weight: float [A] in (0, 1], the posterior of each.
        p_text: float [A], what the text alone says of each, nan where it is silent; None where it
            is silent everywhere.
    """

    triples: np.ndarray
    weight: np.ndarray
    p_text: np.ndarray | None = None

    @classmethod
    def none(cls) -> Pseudo:
        """Before the first round."""
        return cls(np.zeros((0, 3), dtype=np.int64), np.zeros(0))

    def __len__(self) -> int:
        return len(self.weight)

    def subset(self, index: np.ndarray) -> Pseudo:
        """Those that `index` (bool mask or positions) picks."""
        text = None if self.p_text is None else self.p_text[index]
        return Pseudo(self.triples[index], self.weight[index], text)

    def drawn(self, rng: np.random.Generator) -> np.ndarray:
        """Triples int64 [K, 3], each kept with the probability that it is true.

        They filter ranks at valid, where most true answers are hidden: a model that found them must
        not be punished, nor one rewarded for believing what is false.
        """
        return self.triples[rng.random(len(self)) < self.weight]

    def join(self, other: Pseudo) -> Pseudo:
        """These, then the others."""
        text = None
        if self.p_text is not None or other.p_text is not None:
            silent = (
                np.full(len(part), np.nan) if part.p_text is None else part.p_text
                for part in (self, other)
            )
            text = np.concatenate(list(silent))
        return Pseudo(
            np.concatenate([self.triples, other.triples]),
            np.concatenate([self.weight, other.weight]),
            text,
        )

    def typed(self, num_relations: int) -> Pseudo:
        """Without the connected pairs."""
        return self.subset(self.triples[:, 1] < num_relations)

    def with_column(self, column: int, values: np.ndarray) -> Pseudo:
        """The same weights, and word of the text, on other triples: one column replaced."""
        triples = self.triples.copy()
        triples[:, column] = values
        return replace(self, triples=triples)


def is_in(triples: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which of triples [C, 3] are among known [K, 3], bool [C]."""
    keys = {tuple(t) for t in known.tolist()}
    return np.array([tuple(t) in keys for t in triples.tolist()], dtype=bool)
