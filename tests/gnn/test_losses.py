"""Losses against their definitions, written out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from relgnn.gnn.losses import (
    bce_one_vs_all,
    bootstrapped_cross_entropy,
    generalised_cross_entropy,
    margin_ranking,
    n3,
    one_vs_all_cross_entropy,
    pair_auc,
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


def test_pair_auc_is_least_where_edges_stand_one_above_their_own_pairs() -> None:
    true, false = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 0.0, -3.0, -3.0])
    loss = pair_auc(true, false)
    assert float(loss) == pytest.approx((0.5**2 + 0 + 0 + 0) / 4)
    by_hand = [(1 - true[i // 2] + false[i]) ** 2 for i in range(4)]
    torch.testing.assert_close(loss, torch.stack(by_hand).mean())


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


def plain(smoothing: float) -> Tensor:
    return one_vs_all_cross_entropy(scores(), ROWS, COLUMNS, WEIGHTS, smoothing)


@pytest.mark.parametrize("q", [0.3, 0.7, 1.0])
def test_generalised_cross_entropy(q: float) -> None:
    p = scores().softmax(1)
    expected = sum(
        w * (1 - p[row, column] ** q) / q
        for row, column, w in zip(ROWS, COLUMNS, WEIGHTS, strict=True)
    )
    ours = generalised_cross_entropy(scores(), ROWS, COLUMNS, WEIGHTS, 0.0, q)
    torch.testing.assert_close(ours, expected / BATCH)


@given(st.sampled_from([0.0, 0.1, 0.5]))
def test_generalised_cross_entropy_is_plain_as_q_vanishes(smoothing: float) -> None:
    ours = generalised_cross_entropy(
        scores().double(), ROWS, COLUMNS, WEIGHTS.double(), smoothing, 1e-9
    )
    torch.testing.assert_close(ours.float(), plain(smoothing))


def test_generalised_cross_entropy_of_one_is_one_minus_the_probability() -> None:
    expected = (WEIGHTS * (1 - scores().softmax(1)[ROWS, COLUMNS])).sum() / BATCH
    ours = generalised_cross_entropy(scores(), ROWS, COLUMNS, WEIGHTS, q=1.0)
    torch.testing.assert_close(ours, expected)


@given(st.floats(0.05, 1), st.integers(0, 20))
def test_a_target_pulls_as_much_as_plain_times_a_power_of_its_probability(
    q: float, seed: int
) -> None:
    one, target, weight = torch.tensor([0]), torch.tensor([3]), torch.ones(1)
    found = []
    for loss in (
        lambda s: generalised_cross_entropy(s, one, target, weight, 0.0, q),
        lambda s: one_vs_all_cross_entropy(s, one, target, weight),
    ):
        logits = normal(1, ENTITIES, seed=seed).requires_grad_()
        loss(logits).backward()
        found.append(logits.grad)
    p = normal(1, ENTITIES, seed=seed).softmax(1)[0, 3]
    torch.testing.assert_close(found[0], found[1] * p**q)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_bootstrapped_cross_entropy(beta: float, smoothing: float) -> None:
    log_p = scores().log_softmax(1)
    total = torch.zeros(())
    for row, column, w in zip(ROWS, COLUMNS, WEIGHTS, strict=True):
        label = torch.full((ENTITIES,), smoothing / ENTITIES)
        label[column] += 1 - smoothing
        label = beta * label + (1 - beta) * log_p[row].exp()
        total = total - w * (label * log_p[row]).sum()
    ours = bootstrapped_cross_entropy(scores(), ROWS, COLUMNS, WEIGHTS, smoothing, beta)
    torch.testing.assert_close(ours, total / BATCH)
    if beta == 1:
        torch.testing.assert_close(ours, plain(smoothing))


@pytest.mark.parametrize("loss", [generalised_cross_entropy, bootstrapped_cross_entropy])
def test_robust_losses_of_no_target_and_of_a_hopeless_one(loss: Callable[..., Tensor]) -> None:
    none = torch.empty(0, dtype=torch.int64)
    logits = scores().requires_grad_()
    loss(logits, none, none, torch.empty(0)).backward()
    assert logits.grad is not None and not logits.grad.any()
    extreme = torch.tensor([[1000.0, -1000.0, 0.0]], requires_grad=True)
    value = loss(extreme, torch.tensor([0]), torch.tensor([1]), torch.ones(1), 0.1)
    value.backward()
    assert value.isfinite() and extreme.grad is not None and extreme.grad.isfinite().all()


@pytest.mark.parametrize(
    "loss",
    [
        one_vs_all_cross_entropy,
        generalised_cross_entropy,
        bootstrapped_cross_entropy,
        bce_one_vs_all,
    ],
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_scores_in_half_precision_are_summed_in_float32(
    loss: Callable[..., Tensor], dtype: torch.dtype
) -> None:
    half = (8 * normal(20, 300)).to(dtype).requires_grad_()
    rows, columns, weights = torch.arange(20), torch.arange(20), torch.linspace(0.1, 1, 20)
    found, expected = (loss(given, rows, columns, weights, 0.1) for given in (half, half.float()))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(*(torch.autograd.grad(one, half)[0] for one in (found, expected)))
