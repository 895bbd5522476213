"""OGB's evaluators beside figures counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from relgnn.ranking.metrics import rank_metrics
from relgnn.ranking.ogb import OgbEvaluator
from relgnn.ranking.ranks import Ranks


@pytest.mark.parametrize(("name", "k"), [("ogbl-ddi", 20), ("ogbl-collab", 50)])
def test_hits_count_true_links_above_the_kth_false_one(name: str, k: int) -> None:
    generator = torch.Generator().manual_seed(0)
    # few different scores, so that there are ties
    true, false = (torch.randint(40, (n,), generator=generator) / 8 for n in (300, 200))
    judge = OgbEvaluator(name)
    assert judge.metric == f"hits@{k}"
    bar = sorted(false.tolist())[-k]
    ours = sum(score > bar for score in true.tolist()) / len(true)
    assert 0 < ours < 1
    assert judge.links(true, false) == pytest.approx(ours)


@pytest.mark.parametrize("name", ["ogbl-citation2", "ogbl-biokg", "ogbl-wikikg2"])
def test_mrr_is_that_of_our_realistic_ranks(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    true = torch.randint(9, (50,), generator=generator).float()
    false = torch.randint(9, (50, 30), generator=generator).float()
    judge = OgbEvaluator(name)
    assert judge.metric == "mrr"
    above, equal = ((false > true[:, None]).sum(1), (false == true[:, None]).sum(1))
    ranks = Ranks(*(x.numpy() for x in (1 + above, 1 + above + equal)), np.full(50, 31))
    assert judge.links(true, false) == pytest.approx(rank_metrics(ranks)["mrr"], abs=1e-6)


def test_accuracy_of_nodes() -> None:
    judge = OgbEvaluator("ogbn-arxiv")
    assert judge.metric == "acc"
    assert judge.nodes(np.array([0, 1, 2, 2]), np.array([0, 1, 2, 0])) == 0.75
