"""Hits among drawn negatives: the mean equals what all draws, and many random ones, come to."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relgnn.errors import InputError
from relgnn.ranking.ranks import Ranks
from relgnn.ranking.sampled import sampled_hits


def ranks_of(*rows: tuple[int, int, int]) -> Ranks:
    return Ranks(*np.array(rows).reshape(-1, 3).T)


@given(st.integers(1, 5), st.integers(0, 4), st.integers(1, 4), st.integers(1, 5))
def test_it_is_the_mean_over_every_draw(rivals: int, worse: int, drawn: int, k: int) -> None:
    """`rivals` negatives of which all but `worse` stand before the target, listed one by one."""
    better = max(rivals - worse, 0)
    rank = better + 1
    draws = list(product(range(rivals), repeat=drawn))
    hits = [sum(one < better for one in draw) < k for draw in draws]
    found = sampled_hits(ranks_of((rank, rank, rivals + 1)), k, drawn)
    assert found == pytest.approx(np.mean(hits))


def test_random_draws_of_fifty_come_near_it() -> None:
    scores = np.random.default_rng(0).normal(size=(6, 300))
    ranks = (scores[:, 1:] >= scores[:, :1]).sum(1) + 1
    candidates = np.full(6, 300)
    drawn = np.random.default_rng(1).integers(1, 300, size=(6, 4000, 50))
    better = np.take_along_axis(scores[:, None], drawn, 2) >= scores[:, :1, None]
    expected = (better.sum(2) < 10).mean(1)
    found = [sampled_hits(ranks_of((r, r, 300))) for r in ranks]
    # four standard errors of a share of 4,000 draws
    assert np.abs(found - expected).max() < 4 * 0.5 / 4000**0.5
    assert 0 < min(found) < max(found) < 1
    together = sampled_hits(Ranks(ranks, ranks, candidates))
    assert together == pytest.approx(np.mean(found))


def test_ties_count_against_the_target_unless_asked_otherwise() -> None:
    tied = ranks_of((1, 101, 101))
    assert sampled_hits(tied) == 0.0
    assert sampled_hits(tied, kind="optimistic") == 1.0
    assert 0 < sampled_hits(tied, k=25, kind="realistic") < 1


def test_a_target_without_rivals_and_as_many_hits_as_draws() -> None:
    assert sampled_hits(ranks_of((1, 1, 1))) == 1.0
    assert sampled_hits(ranks_of((9, 9, 9)), k=4, negatives=3) == 1.0


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(InputError, match="no rank to average"):
        sampled_hits(ranks_of())
    with pytest.raises(InputError, match="hits@0 among 50"):
        sampled_hits(ranks_of((1, 1, 2)), k=0)
    with pytest.raises(InputError, match="hits@10 among 0"):
        sampled_hits(ranks_of((1, 1, 2)), negatives=0)
    with pytest.raises(InputError, match="rank kind 'best' is unknown"):
        sampled_hits(ranks_of((1, 1, 2)), kind="best")
