"""Graph convolution of nodes of one kind: against dense matrices, masked, drawn, in bfloat16."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from relgnn.errors import InputError
from relgnn.gnn import propagation
from relgnn.gnn.graph import MessageGraph
from relgnn.gnn.propagation import NodeVectors, PairDecoder, Propagation, degrees, link_graph
from relgnn.gnn.sampling import NeighbourSampler
from tests.gnn.references import normal

NODES, DIM = 9, 6
PAIRS = torch.tensor([[0, 1], [1, 2], [2, 0], [3, 4], [4, 5], [5, 3], [2, 3], [6, 7], [0, 1]])


def adjacency(keep: Tensor | None = None) -> Tensor:
    pairs = PAIRS if keep is None else PAIRS[keep]
    found = torch.zeros(NODES, NODES)
    for left, right in pairs.tolist():
        found[left, right] += 1
        found[right, left] += 1
    return found


def reference(model: Propagation, x: Tensor, a: Tensor) -> Tensor:
    a = a + torch.eye(NODES)
    scale = a.sum(1).rsqrt()
    hat, h = scale[:, None] * a * scale, x
    for step, weight in enumerate(model.weights):
        h = weight(hat @ h) + model.own[step](h)
        if step < len(model.between):
            h = model.between[step](h)
    return h


@pytest.mark.parametrize("nonlinear", [False, True])
def test_it_is_the_dense_formula_forward_and_backward(nonlinear: bool) -> None:
    torch.manual_seed(0)
    model = Propagation(DIM, 3, nonlinear)
    x = normal(NODES, DIM).requires_grad_()
    graph = link_graph(PAIRS, NODES)
    assert degrees(graph).tolist() == adjacency().sum(1).tolist()
    ours, theirs = model(x, graph), reference(model, x, adjacency())
    torch.testing.assert_close(ours, theirs)
    seed = normal(NODES, DIM, seed=1)
    mine = torch.autograd.grad((ours * seed).sum(), [x, *model.parameters()])
    other = torch.autograd.grad((theirs * seed).sum(), [x, *model.parameters()])
    for left, right in zip(mine, other, strict=True):
        torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("nonlinear", [False, True])
def test_without_gradients_some_rows_at_a_time_give_the_same(
    nonlinear: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model, x, graph = Propagation(DIM, 3, nonlinear), normal(NODES, DIM), link_graph(PAIRS, NODES)
    whole = model(x, graph)
    assert whole.requires_grad
    for elements in (1, 2 * DIM, 4 * DIM, 10**6):
        monkeypatch.setattr(propagation, "ROW_ELEMENTS", elements)
        with torch.no_grad():
            torch.testing.assert_close(model(x, graph), whole)


def test_dropped_edges_carry_nothing_and_do_not_count() -> None:
    torch.manual_seed(0)
    model, x = Propagation(DIM, 2), normal(NODES, DIM)
    keep = torch.tensor([True, False, True, True, True, False, True, False, True])
    dropped = model(x, link_graph(PAIRS, NODES).drop(keep))
    torch.testing.assert_close(dropped, reference(model, x, adjacency(keep)))


def test_a_neighbourhood_drawn_whole_gives_what_the_graph_gives() -> None:
    torch.manual_seed(0)
    model, x, graph = Propagation(DIM, 2), normal(NODES, DIM), link_graph(PAIRS, NODES)
    part = NeighbourSampler(graph, [None, None]).sample(torch.tensor([2, 7]), torch.Generator())
    drawn = model(x[part.nodes], part.graph, degrees(graph)[part.nodes])
    torch.testing.assert_close(drawn[:2], model(x, graph)[[2, 7]])


def test_half_precision_on_a_dense_graph_is_one_product_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    model, x, graph = Propagation(DIM, 2), normal(NODES, DIM), link_graph(PAIRS, NODES)
    full = model(x, graph)

    def half(density: float) -> tuple[Tensor, list[int]]:
        calls: list[int] = []
        summed = propagation.weighted_spmm

        def counted(*given: Tensor) -> Tensor:
            calls.append(1)
            return summed(*given)

        with monkeypatch.context() as patch, torch.autocast("cpu", dtype=torch.bfloat16):
            patch.setattr(propagation, "DENSE", density)
            patch.setattr(propagation, "weighted_spmm", counted)
            return model(x, graph).float(), calls

    for density, sums in ((0.0, 0), (1.0, 2)):
        found, calls = half(density)
        assert len(calls) == sums
        torch.testing.assert_close(found, full, atol=0.03, rtol=0.03)


def test_learned_vectors_begin_orthogonal_and_given_ones_are_not_kept() -> None:
    vectors = NodeVectors(NODES, DIM, None, embedding=True)
    torch.testing.assert_close(vectors().T @ vectors(), torch.eye(DIM))
    assert vectors(torch.tensor([3, 1])).equal(vectors()[[3, 1]])
    given = normal(NODES, 4)
    both = NodeVectors(NODES, DIM, given, embedding=True)
    assert set(both.state_dict()) == {"embedding", "projection.weight", "projection.bias"}
    assert both.projection is not None and both.embedding is not None
    torch.testing.assert_close(both(), both.projection(given) + both.embedding)
    alone = NodeVectors(NODES, DIM, given, embedding=False)
    some = torch.tensor([5, 0])
    torch.testing.assert_close(alone(some), alone()[some])


@pytest.mark.parametrize("layers", [0, 2])
def test_a_pair_scores_alike_in_both_orders(layers: int) -> None:
    decoder = PairDecoder(DIM, layers)
    left, right = normal(4, DIM), normal(4, DIM, seed=1)
    scores = decoder(left, right)
    assert scores.shape == (4,)
    torch.testing.assert_close(scores, decoder(right, left))
    if not layers:
        torch.testing.assert_close(scores, decoder.out(left * right)[:, 0])


def test_a_node_out_of_range_is_one_line() -> None:
    with pytest.raises(InputError, match="head ids from 0 to 6 in the triples"):
        link_graph(PAIRS, 5)
    assert isinstance(link_graph(PAIRS[:0], 5), MessageGraph)
