"""Losses against their definitions, written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from relgnn.gnn.losses import (
    bce_one_vs_all,
    margin_ranking,
    n3,
    one_vs_all_cross_entropy,
    self_adversarial,
)
from tests.gnn.references import normal

BATCH, ENTITIES = 3, 6
# The last query has no target.
ROWS, COLUMNS = torch.tensor([0, 0, 1]), torch.tensor([2, 5, 0])
WEIGHTS = torch.tensor([1.0, 0.3, 0.5])


def scores(seed: int = 0) -> Tensor:
    return normal(BATCH, ENTITIES, seed=seed)


def test_one_target_a_row_is_cross_entropy() -> None:
    given, target = scores(), torch.tensor([1, 4, 4])
    for smoothing in (0.0, 0.2):
        ours = one_vs_all_cross_entropy(given, torch.arange(BATCH), target, None, smoothing)
        theirs = functional.cross_entropy(given, target, label_smoothing=smoothing)
        torch.testing.assert_close(ours, theirs)


def test_weighted_targets() -> None:
    log_p = scores().log_softmax(1)
    expected = -(WEIGHTS * log_p[ROWS, COLUMNS]).sum() / BATCH
    torch.testing.assert_close(one_vs_all_cross_entropy(scores(), ROWS, COLUMNS, WEIGHTS), expected)


def test_normalised_targets_are_a_soft_label() -> None:
    label = torch.zeros(2, ENTITIES)
    label[ROWS, COLUMNS] = WEIGHTS
    label /= label.sum(1, keepdim=True)
    given = scores()[:2]
    torch.testing.assert_close(
        one_vs_all_cross_entropy(given, ROWS, COLUMNS, WEIGHTS, normalise=True),
        functional.cross_entropy(given, label),
    )


@pytest.mark.parametrize("normalise", [False, True])
def test_no_targets_no_loss(normalise: bool) -> None:
    given, none = scores().requires_grad_(), torch.empty(0, dtype=torch.int64)
    loss = one_vs_all_cross_entropy(given, none, none, normalise=normalise)
    loss.backward()
    assert loss == 0 and given.grad is not None and not given.grad.any()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_binary_cross_entropy(smoothing: float) -> None:
    label = torch.full((BATCH, ENTITIES), smoothing / ENTITIES)
    label[ROWS, COLUMNS] = 1 - smoothing + smoothing / ENTITIES
    weight = torch.ones(BATCH, ENTITIES)
    weight[ROWS, COLUMNS] = WEIGHTS
    expected = functional.binary_cross_entropy_with_logits(scores(), label, weight)
    ours = bce_one_vs_all(scores(), ROWS, COLUMNS, WEIGHTS, smoothing)
    torch.testing.assert_close(ours, expected)


def test_binary_cross_entropy_counts_targets_once_by_default() -> None:
    ours = bce_one_vs_all(scores(), ROWS, COLUMNS)
    torch.testing.assert_close(ours, bce_one_vs_all(scores(), ROWS, COLUMNS, torch.ones(3)))


def test_margin_ranking() -> None:
    positive, negative = torch.tensor([2.0, 0.0]), torch.tensor([[0.5, 1.5], [-3.0, 0.0]])
    torch.testing.assert_close(margin_ranking(positive, negative), torch.tensor(0.375))
    weighted = margin_ranking(positive, negative, weights=torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(weighted, torch.tensor(0.125))


def test_self_adversarial() -> None:
    positive, negative = -normal(3).abs(), -normal(3, 4, seed=1).abs()
    share = (0.5 * negative).softmax(1)
    expected = -functional.logsigmoid(6 + positive)
    expected = expected - (share * functional.logsigmoid(-negative - 6)).sum(1)
    torch.testing.assert_close(self_adversarial(positive, negative, 6.0, 0.5), expected.mean())
    weights = torch.tensor([1.0, 0.0, 2.0])
    torch.testing.assert_close(
        self_adversarial(positive, negative, 6.0, 0.5, weights), (expected * weights).mean()
    )


def test_no_gradient_through_the_share_of_a_negative() -> None:
    negative = normal(1, 4).requires_grad_()
    self_adversarial(torch.zeros(1), negative, 1.0).backward()
    share = negative.detach().softmax(1)
    torch.testing.assert_close(negative.grad, share * (negative.detach() + 1).sigmoid())


def test_n3() -> None:
    factors = (torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.0]]))
    torch.testing.assert_close(n3(factors), torch.tensor(36.0))


@pytest.mark.parametrize("chunk", [1, 2])
def test_losses_of_parts_add_up_to_that_of_the_whole(chunk: int) -> None:
    whole = one_vs_all_cross_entropy(scores(), ROWS, COLUMNS, WEIGHTS) * BATCH
    total = torch.zeros(())
    for start in range(0, BATCH, chunk):
        part = scores()[start : start + chunk]
        inside = (start <= ROWS) & (start + chunk > ROWS)
        loss = one_vs_all_cross_entropy(
            part, ROWS[inside] - start, COLUMNS[inside], WEIGHTS[inside]
        )
        total = total + loss * part.shape[0]
    torch.testing.assert_close(total, whole)
