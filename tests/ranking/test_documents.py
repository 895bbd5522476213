from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from relgnn.data.documents import Document, Entity, Fact
from relgnn.ranking.documents import best_cut, document_scores, facts_of, ranked_precision


def drawn() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 12, (30, 3), generator=generator).float()
    scores[:5] = float("-inf")
    truth = torch.rand(30, 3, generator=generator) < 0.2 + scores.clamp(min=0) / 40
    return scores, truth


def f1(scores: torch.Tensor, truth: torch.Tensor, cut: float) -> float:
    return document_scores(scores, truth, cut)["micro_f1"]


def test_the_best_cut_is_the_best_of_all() -> None:
    scores, truth = drawn()
    cut, best = best_cut(scores, truth)
    every = {float(x): f1(scores, truth, float(x)) for x in scores[5:].unique()}
    assert best == pytest.approx(max(every.values()))
    assert every[cut] == pytest.approx(best)
    assert len(set(every.values())) > 3


def test_where_no_pair_is_read_nothing_is_said() -> None:
    scores, truth = torch.full((3, 2), float("-inf")), torch.ones(3, 2, dtype=torch.bool)
    cut, best = best_cut(scores, truth)
    assert best == 0
    assert document_scores(scores, truth, cut) == {
        "micro_f1": 0.0, "precision": 0.0, "recall": 0.0, "average_precision": 0.0,
    }  # fmt: skip


def test_average_precision_counts_facts_that_no_pair_was_read_for() -> None:
    _, truth = drawn()
    scores = torch.from_numpy(np.random.default_rng(0).permutation(90).reshape(30, 3)).double()
    whole = average_precision_score(truth.flatten().numpy(), scores.flatten().numpy())
    assert ranked_precision(scores, truth) == pytest.approx(whole)
    unread = scores.clone()
    unread[:5] = float("-inf")
    own = average_precision_score(truth[5:].flatten().numpy(), scores[5:].flatten().numpy())
    share = int(truth[5:].sum()) / int(truth.sum())
    assert ranked_precision(unread, truth) == pytest.approx(own * share)


def test_equal_scores_are_one_step_whatever_their_order() -> None:
    scores, truth = drawn()
    tied = (scores * 2).round()
    whole = average_precision_score(truth[5:].flatten().numpy(), tied[5:].flatten().numpy())
    assert ranked_precision(tied[5:], truth[5:]) == pytest.approx(whole)
    order = torch.randperm(len(tied), generator=torch.Generator().manual_seed(0))
    assert ranked_precision(tied[order], truth[order]) == ranked_precision(tied, truth)
    first = torch.tensor([[True, False, False, False]])
    assert ranked_precision(torch.zeros(1, 4), first) == 0.25


def test_facts_stand_in_the_order_of_the_pairs() -> None:
    entities = (Entity((), "PER"),) * 3
    first = Document("", (), entities[:2], frozenset({Fact(1, 0, 0)}))
    second = Document("", (), entities, frozenset({Fact(0, 2, 1), Fact(2, 1, 0)}))
    found = facts_of([first, second], 2)
    pairs = [(i, *pair) for i, one in enumerate((first, second)) for pair in one.pairs]
    assert len(pairs) == len(found)
    said = {(*pairs[row], label) for row, label in found.nonzero().tolist()}
    assert said == {(0, 1, 0, 0), (1, 0, 2, 1), (1, 2, 1, 0)}
