"""Reading: what the texts say of a candidate answer joins the graph's score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from relgnn.linkpred.supervision import drawn
from relgnn.posterior.fusion import logit

if TYPE_CHECKING:
    from relgnn.linkpred.fit import Fitted

WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
FLOORS = (0.01, 0.1, 0.3)
"""What a triple that is not spoken of counts as, and what is said to be less probable."""
SHRINKAGE = 20.0
"""Queries on valid that all relations together count as, beside a relation's own."""


@dataclass(frozen=True)
class Reading:
    """How much what is read counts, by relation.

    Args:
        weight: float [R], factor of the log odds; 0 reads nothing.
        floor: float [R], the probability from which on they count.
    """

    weight: np.ndarray
    floor: np.ndarray

    @classmethod
    def alike(cls, weight: float, floor: float, num_relations: int) -> Reading:
        """The same for every relation."""
        return cls(np.full(num_relations, weight), np.full(num_relations, floor))


@dataclass(frozen=True)
class TextReader:
    """Scores of candidate answers from what was read alone, 0 where it is silent.

    Args:
        triples: int64 [C, 3], what the text speaks of.
        p: float [C], its probability; nan is silent.
        num_entities, num_relations: N and R.
    """

    triples: np.ndarray
    p: np.ndarray
    num_entities: int
    num_relations: int

    def scores(self, reading: Reading) -> Callable[[Tensor, Tensor], Tensor]:
        """heads [B], relations [B] in [0, 2R) -> w_r · (logit p − logit floor_r)⁺, [B, N]."""
        spoken = ~np.isnan(self.p)
        head, relation, tail = self.triples[spoken].T
        odds = logit(self.p[spoken]) - logit(reading.floor)[relation]
        value = reading.weight[relation] * np.maximum(odds, 0)
        query = np.concatenate(
            [
                head * 2 * self.num_relations + relation,
                tail * 2 * self.num_relations + relation + self.num_relations,
            ]
        )
        answer, value = np.concatenate([tail, head]), np.concatenate([value, value])
        order = np.argsort(query, kind="stable")
        query, answer, value = query[order], answer[order], value[order]

        def read(heads: Tensor, relations: Tensor) -> Tensor:
            asked = (heads * 2 * self.num_relations + relations).cpu().numpy()
            low, high = np.searchsorted(query, asked), np.searchsorted(query, asked, side="right")
            count = high - low
            row = np.repeat(np.arange(len(asked)), count)
            place = np.arange(count.sum()) + np.repeat(low - (count.cumsum() - count), count)
            out = torch.zeros(len(asked), self.num_entities)
            said = torch.from_numpy(value[place]).float()
            out[torch.from_numpy(row), torch.from_numpy(answer[place])] = said
            return out

        return read

    def drawn(self, rng: np.random.Generator) -> np.ndarray:
        """What is spoken of, int64 [K, 3], each with the probability that it is true."""
        return drawn(self.triples, np.nan_to_num(self.p), rng)

    def choose(self, fitted: Fitted, valid: np.ndarray, known: np.ndarray) -> Reading:
        """Weight and floor of every relation: the best MRR on valid of `WEIGHTS` × `FLOORS`.

        A relation has few valid triples, so all together count as `SHRINKAGE` queries beside its
        own: argmax_θ Σ_{q of r} 1/rank_q(θ) + SHRINKAGE · mean_q 1/rank_q(θ). Without valid nothing
        is read.

        Args:
            fitted: the model whose scores are joined.
            valid: int64 [V, 3].
            known: int64 [K, 3], no wrong answers.
        """
        relations = self.num_relations
        if not len(valid):
            return Reading.alike(0.0, FLOORS[0], relations)
        grid = [(w, f) for w, f in product(WEIGHTS, FLOORS) if w or f == FLOORS[0]]
        gain = []
        for weight, floor in grid:
            read = self.scores(Reading.alike(weight, floor, relations))
            ranks = fitted.ranks(valid, known, read)
            reciprocal = np.stack([1 / side.realistic for side in ranks.values()]).mean(0)
            own = 2 * np.bincount(valid[:, 1], reciprocal, minlength=relations)
            gain.append(own + SHRINKAGE * reciprocal.mean())
        best = np.array(grid)[np.argmax(gain, axis=0)]
        return Reading(best[:, 0], best[:, 1])
