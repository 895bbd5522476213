"""The closed form is the minimum that it is said to be, and valid alone chooses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from relgnn.config.ogb import AutoencoderSettings
from relgnn.data.ogb import OgbLinks
from relgnn.errors import InputError
from relgnn.linkpred import autoencoder
from relgnn.linkpred.autoencoder import LinearAutoencoder, choose_autoencoder
from relgnn.ranking.ogb import OgbEvaluator
from tests.ogb_sets import NODES, across, communities

CPU = torch.device("cpu")


def edges(seed: int, nodes: int = 9, count: int = 14) -> Tensor:
    drawn = torch.randint(nodes, (count, 2), generator=torch.Generator().manual_seed(seed))
    return drawn[drawn[:, 0] != drawn[:, 1]]


def solved(pairs: Tensor, nodes: int, damping: float, shrinkage: float) -> LinearAutoencoder:
    model = LinearAutoencoder(pairs, nodes, damping).double()
    model.solve(shrinkage)
    return model


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.4]), st.sampled_from([0.1, 1.0, 3.0]))
@settings(max_examples=30, deadline=None)
def test_no_other_weights_rebuild_better(seed: int, damping: float, shrinkage: float) -> None:
    model = solved(edges(seed), 9, damping, shrinkage)
    weight, inputs = model.weight.clone().requires_grad_(), model.inputs
    assert not weight.diagonal().any()
    mean = inputs.square().sum(1).mean()
    loss = (inputs - inputs @ weight).square().sum() + shrinkage * mean * weight.square().sum()
    (gradient,) = torch.autograd.grad(loss, weight)
    gradient.fill_diagonal_(0.0)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-8, rtol=0)


def test_edges_have_no_direction_and_count_once_and_loops_never() -> None:
    pairs = edges(1)
    one = solved(pairs, 9, 0.4, 1.0)
    loop = torch.tensor([[3, 3]])
    twice = torch.cat([pairs, pairs.flip(1), pairs[:2]])
    for other in (pairs.flip(1), twice, pairs.flip(0), torch.cat([loop, pairs])):
        assert torch.equal(one.weight, solved(other, 9, 0.4, 1.0).weight)
    rebuilt = one()
    torch.testing.assert_close(rebuilt, rebuilt.t())


def test_names_of_nodes_do_not_matter() -> None:
    pairs, order = edges(2), torch.randperm(9, generator=torch.Generator().manual_seed(0))
    rebuilt = solved(pairs, 9, 0.4, 1.0)()
    renamed = solved(order[pairs], 9, 0.4, 1.0)()
    torch.testing.assert_close(renamed[order][:, order], rebuilt)


def test_what_is_given_back_is_a_power_of_both_degrees() -> None:
    model, pairs = solved(edges(3), 9, 0.5, 1.0), torch.tensor([[0, 1], [2, 5]])
    rebuilt = model()
    degree = model.degree[pairs].prod(1)
    for share in (0.0, 0.75, 1.0):
        expected = rebuilt[pairs[:, 0], pairs[:, 1]] * degree ** (share * 0.5)
        torch.testing.assert_close(model.score(rebuilt, pairs, share), expected)


def test_a_node_without_edges_is_like_no_other() -> None:
    pairs = edges(4, nodes=8)
    rebuilt = solved(pairs, 9, 0.4, 1.0)()
    assert rebuilt.isfinite().all()
    assert not rebuilt[8].any()


def links() -> OgbLinks:
    inside, outside = communities(), np.random.default_rng(1).permutation(across())
    parts = dict(zip(("train", "valid", "test"), np.split(inside, [90, 110]), strict=True))
    false = {"valid": outside[:70], "test": outside[70:]}
    return OgbLinks(NODES, parts, false, None)


def test_valid_chooses_and_test_is_not_looked_at() -> None:
    own = AutoencoderSettings(
        benchmark="ogbl-ddi", damping=(0.0, 0.5), shrinkage=(1e6, 0.5), restored=(0.0, 1.0)
    )
    judge, blind = OgbEvaluator("ogbl-ddi"), links()
    del blind.pairs["test"], blind.negatives["test"]
    model, chosen = choose_autoencoder(blind, own, judge, CPU)
    found = {}
    for damping in own.damping:
        for shrinkage in own.shrinkage:
            other = autoencoder.autoencoder(blind, damping, CPU)
            other.solve(shrinkage)
            for share in own.restored:
                found[damping, shrinkage, share] = autoencoder.measure_autoencoder(
                    other, other(), blind, judge, "valid", share
                )
    best = max(found.values())
    assert chosen.valid == best > 0.9
    first = next(key for key, value in found.items() if value == best)
    assert (chosen.damping, chosen.shrinkage, chosen.restored) == first
    assert model.damping == chosen.damping
    again = autoencoder.autoencoder(blind, chosen.damping, CPU)
    again.solve(chosen.shrinkage)
    assert torch.equal(model.weight, again.weight)


def test_squares_that_are_at_hand_are_those_of_the_model_and_stay() -> None:
    model, other = (LinearAutoencoder(edges(5), 9, 0.4) for _ in range(2))
    squares = model.squares()
    for shrinkage in (0.5, 2.0):
        model.solve(shrinkage, squares)
        other.solve(shrinkage)
        assert torch.equal(model.weight, other.weight)
    assert torch.equal(squares, other.squares())


def test_false_pairs_as_edges_are_found() -> None:
    """A control: among the same nodes, pairs across the halves are edges now."""
    data, judge = links(), OgbEvaluator("ogbl-ddi")
    other = replace(data, pairs=data.pairs | {"train": across()})
    own = AutoencoderSettings(benchmark="ogbl-ddi")
    assert choose_autoencoder(data, own, judge, CPU)[1].valid > 0.9
    assert choose_autoencoder(other, own, judge, CPU)[1].valid < 0.1


def test_too_many_nodes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoencoder, "LARGEST", 8)
    with pytest.raises(InputError, match=r"9 nodes are too many .* 8 at most; train a model"):
        LinearAutoencoder(edges(0), 9, 0.4)


@pytest.mark.parametrize(
    ("pairs", "shrinkage"), [(edges(0, 300, 600), 1e-9), (edges(0)[:0], 1.0)],
    ids=["too small", "no edge"],
)  # fmt: skip
def test_equations_without_a_solution_are_told(pairs: Tensor, shrinkage: float) -> None:
    model = LinearAutoencoder(pairs, 300, 0.4)
    with pytest.raises(InputError, match=f"shrinkage={shrinkage:g} leaves .* give a larger one"):
        model.solve(shrinkage)
