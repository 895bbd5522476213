"""Distances to every candidate: gradcheck, chunks."""

from __future__ import annotations

import pytest
import torch

from relgnn.gnn import distances
from relgnn.gnn.distances import modulus_distance
from tests.gnn.references import normal


def test_gradients() -> None:
    queries = normal(3, 8, dtype=torch.float64).requires_grad_()
    candidates = normal(5, 8, seed=1, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(modulus_distance, (queries, candidates))


def test_chunked_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> list[torch.Tensor]:
        inputs = [normal(3, 8).requires_grad_(), normal(5, 8, seed=1).requires_grad_()]
        out = modulus_distance(*inputs)
        return [out, *torch.autograd.grad(out.square().sum(), inputs)]

    whole = run()
    monkeypatch.setattr(distances, "CHUNK_ELEMENTS", 24)
    torch.testing.assert_close(run(), whole)


def test_the_gradient_where_both_are_equal_is_zero() -> None:
    queries = normal(1, 8).requires_grad_()
    modulus_distance(queries, queries.detach()).sum().backward()
    assert queries.grad is not None and not queries.grad.any()
