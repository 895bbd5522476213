"""Pairs of R-GCN with blocks: as few as either side allows, both sides equal to the obvious sum."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from relgnn import native
from relgnn.gnn import blocks as module
from relgnn.gnn.blocks import block_sum, pair_chunks
from relgnn.gnn.graph import MessageGraph
from tests.gnn.references import normal, random_triples

NODES, RELATIONS, EDGES, BLOCKS, IN, OUT = 9, 3, 40, 2, 6, 4


def skewed() -> MessageGraph:
    """Relation 0: many heads, one tail. Relation 1: one head, many tails. Relation 2: any."""
    n = torch.arange(1, NODES)
    zero = torch.zeros_like(n)
    triples = torch.cat(
        [
            torch.stack([n, zero, zero], 1),
            torch.stack([zero, zero + 1, n], 1),
            random_triples(NODES, 1, EDGES) + torch.tensor([0, 2, 0]),
        ]
    )
    return MessageGraph.build(triples, NODES, RELATIONS)


def plain_sum(graph: MessageGraph, c: Tensor, x: Tensor, q: Tensor) -> Tensor:
    out = x.new_zeros(NODES, OUT)
    for e in range(len(c)):
        matrix = torch.block_diag(*q[graph.relation[e]])
        out = out.index_add(0, graph.target[e, None], (c[e] * x[graph.source[e]] @ matrix)[None])
    return out


def test_each_relation_is_paired_on_its_smaller_side() -> None:
    graph = skewed()
    pairs = 0
    for r in range(2 * RELATIONS):
        own = graph.relation == r
        pairs += min(len(graph.source[own].unique()), len(graph.target[own].unique()))
    chunks = pair_chunks(graph.topology, 1)
    assert sum(len(chunk.node) for chunk in chunks) == pairs
    assert {chunk.summed_first for chunk in chunks} == {False, True}
    covered = torch.cat([chunk.message for chunk in chunks]).sort().values
    assert torch.equal(covered, torch.arange(len(graph.source)))


class Work(TorchDispatchMode):
    """Counts the numbers that PyTorch makes."""

    made = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.made += sum(part.numel() for part in tree_leaves(out) if isinstance(part, Tensor))
        return out


def test_work_grows_with_the_messages_not_with_their_square(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PAIR_ELEMENTS", 50)

    def work(relations: int) -> int:
        graph = MessageGraph.build(
            random_triples(NODES, relations, 50 * relations), NODES, relations
        )
        with Work() as counted:
            pair_chunks(graph.topology, 1)
        return counted.made

    assert work(160) < 5 * work(40)


@pytest.mark.parametrize("elements", [1 << 21, 3 * IN], ids=["whole", "in chunks"])
@pytest.mark.parametrize("asked", [True, False], ids=["coefficient learned", "coefficient given"])
@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "PyTorch"])
def test_value_and_gradients_are_those_of_the_obvious_sum(
    monkeypatch: pytest.MonkeyPatch, elements: int, asked: bool, compiled: bool
) -> None:
    if compiled and native.library(module.kernels.SOURCE) is None:
        pytest.skip("no compiler")
    monkeypatch.setattr(module, "PAIR_ELEMENTS", elements)
    graph = skewed()
    c = normal(len(graph.source), dtype=torch.float64).requires_grad_(asked)
    x = normal(NODES, IN, seed=1, dtype=torch.float64).requires_grad_()
    q = normal(2 * RELATIONS, BLOCKS, IN // BLOCKS, OUT // BLOCKS, seed=2, dtype=torch.float64)
    q.requires_grad_()
    inputs = [c, x, q] if asked else [x, q]
    weight = normal(NODES, OUT, seed=3, dtype=torch.float64)

    def gradients(out: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad((out * weight).sum(), inputs))

    expected = plain_sum(graph, c, x, q)
    if compiled:
        out = block_sum(graph.topology, c, x, q)
        found = gradients(out)
    else:
        with native.disabled():
            out = block_sum(graph.topology, c, x, q)
            found = gradients(out)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(found, gradients(expected))
