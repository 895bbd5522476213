"""The compiled counts equal PyTorch's, and those equal what the words say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relgnn import native
from relgnn.ranking.count import SOURCE, Asked, Band, Doubt, count, inner_products
from relgnn.runtime import rng, torch_rng

QUERIES, SIZE, FIRST, ENTITIES = 5, 37, 10, 60

compiled = pytest.mark.skipif(native.library(SOURCE) is None, reason="no compiler")


def asked(seed, items=12):
    """Items whose targets and known answers lie in the block (entities 10 to 46) and outside."""
    generator = rng("asked", seed)
    known = [
        np.sort(generator.choice(ENTITIES, generator.integers(0, ENTITIES), replace=False))
        for _ in range(QUERIES)
    ]
    bounds = torch.from_numpy(np.cumsum([0, *map(len, known)]))
    row = torch.from_numpy(np.sort(generator.integers(0, QUERIES, items)))
    target = torch.from_numpy(generator.integers(0, ENTITIES, items))
    return Asked(row, target, bounds[row], bounds[row + 1], torch.from_numpy(np.concatenate(known)))


def by_hand(scores, asked, band, allowed):
    found = []
    for item, (row, target) in enumerate(zip(asked.row, asked.target, strict=True)):
        known = set(asked.known[asked.start[item] : asked.stop[item]].tolist()) - {int(target)}
        candidates = [
            j
            for j in range(SIZE)
            if j + FIRST not in known
            and (allowed is None or allowed[row, j] or j + FIRST == int(target))
        ]
        kept = scores[row, candidates]
        better = int((kept > band.high[item]).sum())
        not_worse = int((kept >= band.low[item]).sum())
        odd = int((~scores[row].isfinite()).sum())
        found.append([better, not_worse, len(candidates), odd])
    return torch.tensor(found).T


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([torch.float32, torch.float64]), st.booleans())
def test_both_forms_count_what_they_say(seed, dtype, masked):
    generator = torch_rng("scores", seed)
    # few distinct scores, so that many lie on an edge
    scores = torch.randint(-3, 4, (QUERIES, SIZE), generator=generator).to(dtype)
    some = asked(seed)
    inside = (some.target - FIRST).clamp(0, SIZE - 1)
    band = Band.around(scores[some.row, inside], 1e-6)
    # a target in the block ties with itself, as it does wherever it is
    allowed = torch.rand(QUERIES, SIZE, generator=generator) < 0.5 if masked else None
    expected = by_hand(scores, some, band, allowed)
    with native.disabled():
        assert torch.equal(count(scores, FIRST, some, band, allowed), expected)
    assert torch.equal(count(scores, FIRST, some, band, allowed), expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.booleans(), st.booleans())
def test_both_forms_settle_doubts_alike(seed, bf16, masked, odd):
    generator = torch_rng("doubts", seed)
    queries = torch.randn(QUERIES, 35, generator=generator)
    candidates = torch.randn(SIZE, 35, generator=generator)
    exact = queries.double() @ candidates.double().T
    scores = exact.to(torch.bfloat16 if bf16 else torch.float32)
    if odd:  # a product that overflowed is made again
        scores[1, 3] = torch.inf
    some = asked(seed)
    own = exact[some.row, (some.target - FIRST).clamp(0, SIZE - 1)]
    band = Band.around(own, 1e-6)
    wide = Band(*(edge.float() + sign * 0.2 for edge, sign in ((band.low, -1), (band.high, 1))))
    factor = torch.rand(len(own), generator=generator) * 0.1
    doubt = Doubt(factor, candidates.norm(dim=1), queries, candidates, band)
    allowed = torch.rand(QUERIES, SIZE, generator=generator) < 0.5 if masked else None
    expected = by_hand(exact, some, band, allowed)
    with native.disabled():
        assert torch.equal(count(scores, FIRST, some, wide, allowed, doubt), expected)
    assert torch.equal(count(scores, FIRST, some, wide, allowed, doubt), expected)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("off", [True, False])
def test_scores_that_are_not_finite_are_counted(bad, off):
    some, scores = asked(0), torch.zeros(QUERIES, SIZE)
    scores[2, 5] = scores[2, 36] = bad
    band = Band.around(torch.zeros(len(some.row)), 1e-6)
    if off:
        with native.disabled():
            odd = count(scores, FIRST, some, band)[3]
    else:
        odd = count(scores, FIRST, some, band)[3]
    assert odd.tolist() == [2 * (row == 2) for row in some.row.tolist()]


@compiled
@pytest.mark.parametrize("width", [1, 7, 32, 45, 200])
def test_inner_products(width):
    generator = torch_rng("inner products", width)
    queries, candidates = (torch.randn(n, width, generator=generator) for n in (4, 9))
    candidates[8] = candidates[0]
    rows, columns = torch.arange(4).repeat_interleave(9), torch.arange(9).repeat(4)
    found = inner_products(queries, candidates, rows, columns).view(4, 9)
    torch.testing.assert_close(found, queries.double() @ candidates.double().T)
    assert torch.equal(found[:, 8], found[:, 0])
    with native.disabled():
        plain = inner_products(queries, candidates, rows, columns).view(4, 9)
    torch.testing.assert_close(found, plain, rtol=1e-14, atol=1e-14)
