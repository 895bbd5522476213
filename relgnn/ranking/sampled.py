"""What hits among a few drawn negatives come to on average, without drawing any."""

from __future__ import annotations

import numpy as np
from scipy.special import bdtr

from relgnn.errors import InputError
from relgnn.ranking.ranks import Ranks

HITS_10_OF_50 = "hits@10_of_50"
"""What metrics call hits@10 among 50 drawn negatives."""


def sampled_hits(
    ranks: Ranks, k: int = 10, negatives: int = 50, kind: str = "pessimistic"
) -> float:
    """Hits@k among n negatives that are drawn, with replacement, from all that were ranked.

    A drawn one stands before the target with chance p = (rank − 1) / (candidates − 1), so that

        E[hits@k] = mean over queries of Σ_{i<k} C(n, i) p^i (1 − p)^(n−i).

    Teru et al., Inductive Relation Prediction by Subgraph Reasoning, ICML 2020, draw; Zhu et al.,
    Neural Bellman-Ford Networks, NeurIPS 2021, take this mean, with ties against the target.

    Args:
        ranks: of N queries among all candidates.
        k: the last rank that counts.
        negatives: n, how many are drawn.
        kind: which ranks; realistic ones may be halves, which p takes as they are.

    Returns:
        The mean, in [0, 1].

    Raises:
        InputError: there is no query, k or n is below 1, or `kind` is unknown.
    """
    if not len(ranks):
        raise InputError("there is no rank to average; evaluate at least one triple")
    if k < 1 or negatives < 1:
        raise InputError(
            f"hits@{k} among {negatives} drawn negatives: expected at least 1 of each; give both"
        )
    # a target without rivals is first, whatever is drawn
    before = (ranks.of_kind(kind) - 1) / np.maximum(ranks.candidates - 1, 1)
    return float(np.mean(bdtr(min(k - 1, negatives), negatives, before)))
