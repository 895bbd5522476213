"""What ranking is held against: as many products as our ranks need, each query once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks import rank
from relgnn.ranking.scores import Products
from tests.linkpred.toy import toy_graph


def test_the_limit_multiplies_each_query_of_ours_once(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = toy_graph()
    twice = np.concatenate([graph.test, graph.test, graph.train])
    object.__setattr__(graph, "test", twice)
    monkeypatch.setattr(rank, "load", lambda name: graph)
    asked: list[int] = []

    def products(query: Tensor, candidates: object) -> Products:
        asked.append(len(query))
        return Products(query, candidates)  # type: ignore[arg-type]

    monkeypatch.setattr(rank, "Products", products)
    rank.ours()()
    multiplied: list[int] = []
    product = torch.mm

    def mm(query: Tensor, other: Tensor, out: Tensor) -> Tensor:
        multiplied.append(len(query))
        return product(query, other, out=out)

    monkeypatch.setattr(torch, "mm", mm)
    rank.bare_products()()
    assert sum(multiplied) == sum(asked) == len(rank.queries(graph)) < 2 * len(twice)
