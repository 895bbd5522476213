"""Nearness in the graph alone, blind to relations: what a link predictor has to beat."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

FLOOR = 1e-12  # the logarithm of what no walk reached
STEPS = 100
SETTLED = 1e-10


class PageRank:
    """Personalised PageRank of every node as the score of a tail, log π_v.

    π = a e_h + (1 − a) P π,  P_vu = (triples between u and v) / (triples at u),

    by power iteration: how often a walker is at v who goes over a random triple, in either
    direction, and returns to the head h with chance a. The relation is not looked at. A walker is
    at home most of all, so h itself comes last.

    Page et al., The PageRank Citation Ranking, 1999; Haveliwala, Topic-Sensitive PageRank, WWW
    2002.

    Args:
        triples: int64 [E, 3], the graph.
        num_entities: N.
        restart: a, in (0, 1].
    """

    def __init__(self, triples: np.ndarray, num_entities: int, restart: float) -> None:
        self.restart = restart
        head, _, tail = np.asarray(triples, dtype=np.int64).reshape(-1, 3).T
        ends = np.concatenate([head, tail]), np.concatenate([tail, head])
        walks = csr_array((np.ones(len(ends[0])), ends), shape=(num_entities, num_entities))
        degree = np.maximum(walks.sum(0), 1)
        walks.data /= degree[walks.indices]
        self.walks = walks

    def __call__(self, heads: Tensor, relations: Tensor) -> Tensor:
        """log π, float64 [B, N], of heads int64 [B]; relations [B] do not count."""
        asked = np.arange(len(heads))
        home = np.zeros((self.walks.shape[0], len(heads)))
        home[heads.numpy(), asked] = self.restart
        found = home / self.restart
        for _ in range(STEPS):
            before, found = found, home + (1 - self.restart) * (self.walks @ found)
            if np.abs(found - before).max(initial=0) < SETTLED:
                break
        found[heads.numpy(), asked] = 0
        return torch.from_numpy(np.log(np.maximum(found, FLOOR)).T.copy())
