"""Personalised PageRank: the stationary distribution itself, blind to relations."""

from __future__ import annotations

import numpy as np
import torch

from relgnn.linkpred.pagerank import FLOOR, PageRank

TRIPLES = np.array([[0, 0, 1], [1, 1, 2], [0, 1, 2], [2, 0, 3], [2, 1, 3], [5, 0, 6]])
NODES, RESTART = 8, 0.2


def exact(head: int) -> np.ndarray:
    """π by solving its equation, the row of a dense matrix at a time."""
    walks = np.zeros((NODES, NODES))
    for source, _, target in TRIPLES:
        walks[target, source] += 1
        walks[source, target] += 1
    for node in range(NODES):
        walks[:, node] /= max(walks[:, node].sum(), 1)
    home = np.zeros(NODES)
    home[head] = RESTART
    return np.linalg.solve(np.eye(NODES) - (1 - RESTART) * walks, home)


def test_it_solves_its_equation_and_the_head_comes_last() -> None:
    rank = PageRank(TRIPLES, NODES, RESTART)
    heads = torch.tensor([0, 3, 5])
    scores = rank(heads, torch.zeros(3, dtype=torch.int64))
    for head, row in zip(heads.tolist(), scores, strict=True):
        others = np.arange(NODES) != head
        np.testing.assert_allclose(np.exp(row.numpy()[others]), exact(head)[others], atol=1e-8)
        assert row[head] == row.min() == np.log(FLOOR)


def test_relations_do_not_count_and_what_is_apart_is_never_reached() -> None:
    rank = PageRank(TRIPLES, NODES, RESTART)
    scores = rank(torch.tensor([0, 0, 7]), torch.tensor([0, 3, 1]))
    assert torch.equal(scores[0], scores[1])
    other = TRIPLES.copy()
    other[:, 1] = 1 - other[:, 1]
    assert torch.equal(
        PageRank(other, NODES, RESTART)(torch.tensor([0]), torch.tensor([0])), scores[:1]
    )
    assert (scores[0, 4:] == np.log(FLOOR)).all()
    assert (scores[0, 1:4] > np.log(FLOOR)).all()
    assert (scores[2] == np.log(FLOOR)).all()
