"""Reading at test time: the text's posterior joins the graph's score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from relgnn.linkpred.fit import Fitted
from relgnn.posterior.fusion import logit
from relgnn.ranking.metrics import rank_metrics
from relgnn.ranking.ranks import concatenate

WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0)
FLOOR = 0.01
"""What the text says of a triple that it does not speak of."""


@dataclass(frozen=True)
class TextReader:
    """Scores of candidate answers from the text alone, 0 where it is silent.

    Args:
        triples: int64 [C, 3], what the text speaks of.
        p_text: float [C], its probability.
        num_entities, num_relations: N and R.
    """

    triples: np.ndarray
    p_text: np.ndarray
    num_entities: int
    num_relations: int

    def scores(self, weight: float) -> Callable[[Tensor, Tensor], Tensor]:
        """heads [B], relations [B] in [0, 2R) -> weight · (logit p_text − logit floor)⁺, [B, N]."""
        spoken = ~np.isnan(self.p_text)
        value = weight * np.maximum(logit(self.p_text[spoken]) - logit(np.array(FLOOR)), 0)
        head, relation, tail = self.triples[spoken].T
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
            out = torch.zeros(len(asked), self.num_entities)
            for row, (a, b) in enumerate(zip(low, high, strict=True)):
                out[row, torch.from_numpy(answer[a:b])] = torch.from_numpy(value[a:b]).float()
            return out

        return read

    def choose_weight(self, fitted: Fitted, valid: np.ndarray, known: np.ndarray) -> float:
        """The weight of `WEIGHTS` with the best MRR on valid; 0 where there is no valid."""
        if not len(valid):
            return 0.0

        def mrr(weight: float) -> float:
            ranks = fitted.ranks(valid, known, self.scores(weight))
            return rank_metrics(concatenate(list(ranks.values())))["mrr"]

        return max(WEIGHTS, key=mrr)
