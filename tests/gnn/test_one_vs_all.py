"""Cross-entropy block by block is that of all scores at once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from relgnn.gnn.losses import one_vs_all_cross_entropy
from relgnn.gnn.one_vs_all import product_cross_entropy

Case = tuple[Tensor, Tensor, Tensor, Tensor]


def case(seed: int, queries: int = 7, candidates: int = 23, dim: int = 5) -> Case:
    draw = torch.Generator().manual_seed(seed)
    q = torch.randn(queries, dim, generator=draw, dtype=torch.float64)
    x = torch.randn(candidates, dim, generator=draw, dtype=torch.float64)
    targets = torch.randint(candidates, (queries,), generator=draw)
    weights = torch.rand(queries, generator=draw, dtype=torch.float64)
    return q.requires_grad_(), x.requires_grad_(), targets, weights


def whole(q: Tensor, x: Tensor, targets: Tensor, weights: Tensor, smoothing: float = 0.0) -> Tensor:
    return one_vs_all_cross_entropy(q @ x.t(), torch.arange(len(q)), targets, weights, smoothing)


@given(st.integers(0, 1000), st.integers(1, 40), st.sampled_from([0.0, 0.1, 1.0]))
@settings(max_examples=40, deadline=None)
def test_loss_and_gradients_are_those_of_all_scores(
    seed: int, block: int, smoothing: float
) -> None:
    q, x, targets, weights = case(seed)
    expected = whole(q, x, targets, weights, smoothing)
    found = product_cross_entropy(q, x, targets, weights, smoothing, block)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(3 * found, (q, x)), torch.autograd.grad(3 * expected, (q, x))
    )


def test_gradients_are_those_of_small_differences() -> None:
    q, x, targets, weights = case(0, queries=3, candidates=6, dim=2)

    def loss(q: Tensor, x: Tensor) -> Tensor:
        return product_cross_entropy(q, x, targets, weights, 0.2, block=4)

    assert torch.autograd.gradcheck(loss, (q, x))


def test_large_scores_do_not_overflow() -> None:
    q, x, targets, weights = (one.detach() for one in case(1))
    found = product_cross_entropy(1e4 * q, x, targets, weights, block=4)
    torch.testing.assert_close(found, whole(1e4 * q, x, targets, weights))


def test_weightless_queries_say_nothing() -> None:
    q, x, targets, weights = case(2)
    weights[3] = 0
    (by_query,) = torch.autograd.grad(product_cross_entropy(q, x, targets, weights), q)
    assert not by_query[3].any()
    assert by_query[[0, 1, 2, 4, 5, 6]].any(1).all()


def test_no_query_costs_nothing() -> None:
    q, x, targets, weights = case(0, queries=0)
    loss = product_cross_entropy(q, x, targets, weights)
    loss.backward()
    assert loss == 0
    assert x.grad is not None
    assert not x.grad.any()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_autocast_rounds_products_and_keeps_the_sums(smoothing: float) -> None:
    q, x, targets, weights = (
        one.detach().float() if one.is_floating_point() else one for one in case(3, 64, 300, 32)
    )
    q, x = q.requires_grad_(), x.requires_grad_()
    expected = whole(q, x, targets, weights, smoothing)
    with torch.autocast("cpu", torch.bfloat16):
        found = product_cross_entropy(q, x, targets, weights, smoothing, block=100)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)
    for ours, theirs in zip(
        torch.autograd.grad(found, (q, x)), torch.autograd.grad(expected, (q, x)), strict=True
    ):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() < 0.03 * theirs.norm()
