from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from relgnn.config import LoopConfig, Pooling
from relgnn.text.pooling import group_logsumexp, pool_rows, range_max

POOLINGS: tuple[Pooling, ...] = get_args(Pooling)


def test_range_max_is_the_maximum_and_has_its_gradient(device: torch.device) -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(37, 5, generator=generator, dtype=torch.double).to(device)
    states.requires_grad_()
    start = torch.randint(0, 38, (200,), generator=generator)
    end = (start + torch.randint(0, 38, (200,), generator=generator)).clamp(max=37)
    start[0], end[0] = 0, 37
    found = range_max(states, start.to(device), end.to(device))
    slow = torch.stack([
        states[a:b].amax(0) if b > a else states.new_zeros(5)
        for a, b in zip(start.tolist(), end.tolist(), strict=True)
    ])  # fmt: skip
    torch.testing.assert_close(found, slow, rtol=0, atol=0)
    grads = [torch.autograd.grad((x**3).sum(), states, retain_graph=True)[0] for x in (found, slow)]
    torch.testing.assert_close(*grads)


def test_range_max_of_no_ranges() -> None:
    none = torch.zeros(0, dtype=torch.long)
    assert range_max(torch.ones(4, 3), none, none).shape == (0, 3)


def test_group_logsumexp_is_torchs(device: torch.device) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = (100 * torch.randn(40, 3, generator=generator, dtype=torch.double)).to(device)
    scores.requires_grad_()
    group = torch.randint(0, 6, (40,), generator=generator).to(device)
    group[group == 4] = 5
    found = group_logsumexp(scores, group, 6)
    assert torch.isinf(found[4]).all()
    kept = [0, 1, 2, 3, 5]
    slow = torch.stack([scores[group == i].logsumexp(0) for i in kept])
    torch.testing.assert_close(found[kept], slow)
    first, second = (
        torch.autograd.grad(x.square().sum(), scores, retain_graph=True)[0]
        for x in (found[kept], slow)
    )
    torch.testing.assert_close(first, second)


def slow_pool(z: list[float], pooling: Pooling) -> float:
    """One pair's rows of one relation, by the formula."""
    p = [1 / (1 + np.exp(-x)) for x in z]
    if pooling == "logsumexp":
        return float(np.log(sum(np.exp(x) for x in z)))
    if pooling == "mean":
        return sum(z) / len(z)
    if pooling == "noisy_or":
        none = np.prod([1 - q for q in p])
        return float(np.log((1 - none) / none))
    weight = [np.exp(x) / sum(np.exp(y) for y in z) for x in z]
    return float(sum(w * x for w, x in zip(weight, z, strict=True)))


@pytest.mark.parametrize("pooling", POOLINGS)
@given(st.lists(st.tuples(st.integers(0, 4), st.floats(-12, 12), st.floats(-12, 12)), min_size=1))
def test_pooled_rows_are_the_formula(
    pooling: Pooling, rows: list[tuple[int, float, float]]
) -> None:
    pair = np.array([row[0] for row in rows])
    logits = np.array([row[1:] for row in rows], dtype=np.float32)
    pooled = pool_rows(logits, pair, 6, pooling)
    assert pooled.dtype == np.float32 and pooled.shape == (6, 2)
    for one in range(6):
        for output in range(2):
            z = logits[pair == one, output].astype(float).tolist()
            if z:
                expected = slow_pool(z, pooling)
                assert pooled[one, output] == pytest.approx(expected, rel=1e-4, abs=1e-4)
            else:
                assert np.isnan(pooled[one, output])


@pytest.mark.parametrize("pooling", POOLINGS)
@given(st.lists(st.floats(-90, 90, width=32), min_size=1, max_size=5), st.randoms())
def test_pooling_is_finite_keeps_one_row_and_ignores_order(
    pooling: Pooling, z: list[float], random: object
) -> None:
    logits, pair = np.array(z, dtype=np.float32)[:, None], np.zeros(len(z), dtype=np.int64)
    pooled = float(pool_rows(logits, pair, 1, pooling)[0, 0])
    assert np.isfinite(pooled)
    random.shuffle(z)  # type: ignore[attr-defined]
    again = pool_rows(np.array(z, dtype=np.float32)[:, None], pair, 1, pooling)[0, 0]
    assert again == pytest.approx(pooled, rel=1e-4, abs=1e-4)
    alone = pool_rows(logits[:1], pair[:1], 1, pooling)[0, 0]
    assert alone == pytest.approx(float(logits[0, 0]), rel=1e-4, abs=1e-6)
    tolerance = 1e-3 + 1e-5 * abs(pooled)
    if pooling in ("mean", "attention"):
        assert logits.min() - tolerance <= pooled <= logits.max() + tolerance
    else:
        # at least one: no row takes anything away
        assert pooled >= logits.max() - tolerance


@pytest.mark.parametrize("pooling", POOLINGS)
def test_no_row_pools_to_nothing(pooling: Pooling) -> None:
    none = pool_rows(np.zeros((0, 2), np.float32), np.zeros(0, int), 1, pooling)
    assert none.shape == (1, 2) and np.isnan(none).all()


def test_the_idle_pooling_is_the_one_that_always_was() -> None:
    logits = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    pair = np.array([3, 0, 3, 1, 1, 1, 0, 3, 4])
    order = np.argsort(pair, kind="stable")
    starts = np.unique(pair[order], return_index=True)[1]
    before = np.logaddexp.reduceat(logits[order], starts, axis=0)
    idle = pool_rows(logits, pair, 5, LoopConfig().pooling)
    assert (idle[[0, 1, 3, 4]] == before).all() and np.isnan(idle[2]).all()
    assert (pool_rows(logits, pair, 5)[[0, 1, 3, 4]] == before).all()
