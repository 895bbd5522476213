"""Weights of pseudo-labels in a training step: their formulas, their memory, and their twins."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from relgnn.posterior.selectors import FixedSelector, FlexSelector, FreeSelector, SoftSelector
from relgnn.posterior.thresholds import (
    FixedWeigher,
    FlexWeigher,
    FreeWeigher,
    SoftWeigher,
    Weigher,
    free_thresholds,
    soft_weights,
)
from tests.posterior.test_selectors import of_pairs

ITEMS, CLASSES = 12, 3
EVERY: list[Weigher] = [
    FixedWeigher(0.5), FlexWeigher(0.6, ITEMS, CLASSES, 0.2), FreeWeigher(CLASSES, 0.9),
    SoftWeigher(CLASSES, 0.9),
]  # fmt: skip


def drawn(seed: int, rows: int = ITEMS) -> Tensor:
    return (3 * torch.randn(rows, CLASSES, generator=torch.Generator().manual_seed(seed))).softmax(
        1
    )


@pytest.mark.parametrize("weigher", EVERY, ids=lambda one: type(one).__name__)
class TestEveryWeigher:
    def test_weights_are_shares_and_grow_with_p_of_one_label(self, weigher: Weigher) -> None:
        for seed in range(4):
            p = drawn(seed)
            weight, (sure, label) = weigher(p, torch.arange(ITEMS)), p.max(1)
            assert weight.shape == (ITEMS,)
            assert ((weight >= 0) & (weight <= 1)).all()
            for c in range(CLASSES):
                own = weight[label == c][sure[label == c].argsort()]
                assert (own.diff() >= 0).all()

    def test_what_it_remembers_is_in_its_buffers(self, weigher: Weigher) -> None:
        saved = {name: value.clone() for name, value in weigher.state_dict().items()}
        first = [weigher(drawn(seed), torch.arange(ITEMS)) for seed in range(3)]
        weigher.load_state_dict(saved)
        again = [weigher(drawn(seed), torch.arange(ITEMS)) for seed in range(3)]
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize(("weigher", "selector"), [
    (FixedWeigher(0.6), FixedSelector(0.6)),
    (FlexWeigher(0.6, ITEMS, CLASSES, 0.3), FlexSelector(0.6, 0.3)),
    (FreeWeigher(CLASSES, 0.0), FreeSelector()),
    (SoftWeigher(CLASSES, 0.0), SoftSelector()),
])  # fmt: skip
def test_the_twin_of_one_shot_agrees_on_one_batch(weigher: Weigher, selector: nn.Module) -> None:
    p, index = drawn(5), torch.arange(ITEMS)
    weight = weigher(p, index)
    if isinstance(weigher, FlexWeigher):  # its thresholds are of the batches before
        weight = weigher(p, index)
    given = of_pairs(p.numpy())
    found = selector.select(given)  # type: ignore[operator]
    label = p.argmax(1)
    mine = [i for i in found.index.tolist() if given.relation[i] == label[given.head[i]]]
    assert {int(given.head[i]) for i in mine} == set(weight.nonzero()[:, 0].tolist())
    if isinstance(weigher, SoftWeigher):  # its variance is the sample's, the selector's is whole
        assert set(given.head[found.index[found.weight == 1]].tolist()) == set(
            (weight == 1).nonzero()[:, 0].tolist()
        )


def test_flex_counts_the_last_sure_label_of_each_item() -> None:
    weigher = FlexWeigher(0.8, 4, 2)
    sure, unsure = torch.tensor([[0.9, 0.1]] * 4), torch.tensor([[0.3, 0.7]] * 4)
    assert weigher(unsure, torch.arange(4)).tolist() == [1, 1, 1, 1]  # β = 0: nothing is known
    assert weigher.chosen.tolist() == [-1] * 4
    weigher(sure[:3], torch.tensor([0, 1, 3]))
    assert weigher.chosen.tolist() == [0, 0, -1, 0]
    weigher(unsure, torch.arange(4))
    assert weigher.chosen.tolist() == [0, 0, -1, 0]
    # β_0 = 3 / 3, so that the threshold is .8 itself
    assert weigher(torch.tensor([[0.75, 0.25], [0.8, 0.2]]), torch.tensor([2, 1])).tolist() == [
        0,
        1,
    ]


def test_moving_means_keep_their_share_of_the_past() -> None:
    p = torch.tensor([[0.8, 0.2], [0.6, 0.4]])
    free, soft = FreeWeigher(2, 0.9), SoftWeigher(2, 0.9)
    for weigher in (free, soft):
        weigher(p, torch.arange(2))
    assert float(free.sureness) == pytest.approx(0.9 * 0.5 + 0.1 * 0.7)
    assert free.mass.tolist() == pytest.approx([0.9 * 0.5 + 0.1 * 0.7, 0.9 * 0.5 + 0.1 * 0.3])
    assert float(soft.mean) == pytest.approx(0.9 * 0.5 + 0.1 * 0.7)
    assert float(soft.variance) == pytest.approx(0.9 * 1.0 + 0.1 * 0.02)
    assert torch.isfinite(SoftWeigher(2, 0.9)(p[:1], torch.arange(1))).all()


def test_formulas() -> None:
    found = free_thresholds(torch.tensor(0.6), torch.tensor([2.0, 1.0]))
    assert found.tolist() == pytest.approx([0.6, 0.3])
    weight = soft_weights(torch.tensor([0.4, 0.7]), torch.tensor(0.6), torch.tensor(0.02))
    assert weight.tolist() == pytest.approx([math.exp(-1.0), 1.0])
