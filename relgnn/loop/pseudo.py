"""Pseudo triples: what the loop learned from text, and how it teaches each of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np

from relgnn.linkpred.supervision import drawn


class Role(IntEnum):
    """How a pseudo triple is taught."""

    ACCEPTED = 0
    TOLD = 1
    """Not accepted, and told to a memory with its probability."""
    CONNECTED = 2
    """A pair that joins without a type, as a triple of relation R, one beyond the graph's."""


@dataclass(frozen=True)
class Pseudo:
    """Triples that text was read for.

    Args:
        triples: int64 [A, 3].
        weight: float [A] in (0, 1], how much each counts in training.
        p_text: float [A], what the text alone says of each, nan where it is silent; None where it
            is silent everywhere.
        role: int8 [A], a `Role` each; all accepted where none is given.
        p: float [A] in (0, 1], the probability that each is true; the weight where none is given,
            as of every selector but soft.
    """

    triples: np.ndarray
    weight: np.ndarray
    p_text: np.ndarray | None = None
    role: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int8))
    p: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        if not len(self.role):
            roles = np.full(len(self.weight), Role.ACCEPTED, dtype=np.int8)
            object.__setattr__(self, "role", roles)
        if not len(self.p):
            object.__setattr__(self, "p", self.weight)

    @classmethod
    def none(cls) -> Pseudo:
        """Before the first round."""
        return cls(np.zeros((0, 3), dtype=np.int64), np.zeros(0))

    def __len__(self) -> int:
        return len(self.weight)

    def subset(self, index: np.ndarray) -> Pseudo:
        """Those that `index` (bool mask or positions) picks."""
        text = None if self.p_text is None else self.p_text[index]
        rows = (self.triples[index], self.weight[index], text, self.role[index], self.p[index])
        return Pseudo(*rows)

    def of(self, *roles: Role) -> Pseudo:
        """Those of some roles."""
        return self.subset(np.isin(self.role, roles))

    def as_role(self, role: Role) -> Pseudo:
        """All of them in one role."""
        return replace(self, role=np.full(len(self), role, dtype=np.int8))

    def drawn(self, rng: np.random.Generator) -> np.ndarray:
        """Triples int64 [K, 3], each with the probability that it is true."""
        return drawn(self.triples, self.p, rng)

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
            np.concatenate([self.role, other.role]),
            np.concatenate([self.p, other.p]),
        )

    def with_column(self, column: int, values: np.ndarray) -> Pseudo:
        """Other triples, of which all else is the same: one column replaced."""
        triples = self.triples.copy()
        triples[:, column] = values
        return replace(self, triples=triples)
