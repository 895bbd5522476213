"""Scores made block by block: exact whatever the blocks and the first pass."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relgnn import native
from relgnn.errors import InputError
from relgnn.ranking.count import Asked
from relgnn.ranking.ranks import FilterIndex, evaluate_ranks
from relgnn.ranking.scores import Blockwise, Candidates, Products
from relgnn.runtime import rng, torch_rng
from tests.ranking.brute import as_rows, assert_same, brute_force

ENTITIES, RELATIONS, WIDTH = 24, 2, 12
PASSES = ("fp32", "bf16")

seeds = st.integers(0, 10**6)


def near_ties(seed):
    """Vectors of entities that are copies of few, moved by from nothing to 1 part in 1,000."""
    generator = torch_rng("near ties", seed)
    few = torch.randn(4, WIDTH, generator=generator)
    x = few[torch.randint(4, (ENTITIES,), generator=generator)]
    # float32 rounds by 2^-24, ties reach to about 2^-20, bfloat16 rounds by 2^-8
    exponent = torch.randint(-25, -9, (ENTITIES, 1), generator=generator)
    sign = torch.randint(-1, 2, (ENTITIES, 1), generator=generator)
    scale = 10.0 ** torch.randint(-3, 4, (1,), generator=generator)
    z = torch.randn(2 * RELATIONS, WIDTH, generator=generator)
    return x * (1 + sign * 2.0**exponent) * scale, z


def some_triples(seed, count=10):
    limits = [ENTITIES, RELATIONS, ENTITIES]
    return rng("triples", seed).integers(0, limits, (2, count, 3))


def rank(x, z, test, known, first_pass="fp32", **options):
    candidates = Candidates(x, first_pass)
    index = FilterIndex.build(known, RELATIONS)
    return as_rows(
        evaluate_ranks(
            lambda h, r: Products(x[h] * z[r], candidates), test, index, RELATIONS, **options
        )
    )


def exact(x, z):
    """Score of (entity, relation, entity): the products of float32 numbers summed exactly."""
    return lambda h, r, t: math.fsum(a * b for a, b in zip((x[h] * z[r]).tolist(), x[t].tolist()))  # noqa: B905


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(1, 12), st.integers(1, ENTITIES + 2), st.booleans())
def test_products_rank_as_their_exact_scores(seed, batch_size, block_size, compiled):
    (x, z), (test, known) = near_ties(seed), some_triples(seed)
    expected = brute_force(exact(x, z), test, known, ENTITIES, RELATIONS)
    sizes = {"batch_size": batch_size, "block_size": block_size}
    for first_pass in PASSES:
        if compiled:
            found = rank(x, z, test, known, first_pass, **sizes)
        else:
            with native.disabled():
                found = rank(x, z, test, known, first_pass, **sizes)
        assert_same(found, expected)


@pytest.mark.parametrize("first_pass", PASSES)
def test_copies_tie_without_any_tolerance(first_pass):
    x, z = near_ties(0)
    x = x[:4].repeat(ENTITIES // 4, 1)
    test = some_triples(0)[0]
    found = rank(x, z, test, test[:0], first_pass, tolerance=0.0, block_size=5)
    assert all(((rows[:, 1] - rows[:, 0] + 1) % 6 == 0).all() for rows in found.values())


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from(PASSES), st.integers(1, 300), st.sampled_from("xq_"))
def test_the_first_pass_decides_nothing_wrongly(seed, first_pass, width, exact_in_bf16):
    """And leaves little open, so that the bound is not idle."""
    generator = torch_rng("bound", seed)
    # lengths over six orders of magnitude
    x, q = (
        torch.randn(n, width, generator=generator)
        * 10.0 ** (6 * torch.rand(n, 1, generator=generator) - 3)
        for n in (200, 30)
    )
    # where one of the two is not rounded, the other's share of the bound stands alone
    x = x.bfloat16().float() if exact_in_bf16 == "x" else x
    q = q.bfloat16().float() if exact_in_bf16 == "q" else q
    products = Products(q, Candidates(x, first_pass))
    row = torch.arange(30)
    asked = Asked(row, row, row * 0, row * 0, row[:0])
    wide, doubt = products.compare(asked, 1e-6)
    made = products.columns(slice(0, 200)).float()
    room = doubt.factor[:, None] * doubt.norms
    truth = q.double() @ x.double().T
    above, below = made > wide.high[:, None] + room, made < wide.low[:, None] - room
    assert (truth > doubt.band.high[:, None])[above].all()
    assert (truth < doubt.band.low[:, None])[below].all()
    if width >= 100:
        assert (above | below).float().mean() > (0.9 if first_pass == "bf16" else 0.98)


@pytest.mark.parametrize("first_pass", PASSES)
def test_memory_is_a_batch_by_a_block(first_pass, monkeypatch):
    (x, z), (test, known) = near_ties(1), some_triples(1, 40)
    made, columns = [], Products.columns

    def watched(self, block):
        made.append(columns(self, block))
        return made[-1]

    monkeypatch.setattr(Products, "columns", watched)
    rank(x, z, test, known, first_pass, batch_size=7, block_size=5)
    assert {part.shape[1] for part in made} == {5, 4}
    assert max(part.shape[0] for part in made) <= 7
    assert made[0].dtype == (torch.bfloat16 if first_pass == "bf16" else torch.float32)


@pytest.mark.parametrize("first_pass", PASSES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("compiled", [True, False])
def test_vectors_that_are_not_finite_are_an_error(first_pass, bad, compiled):
    x, z = near_ties(0)
    z[1, 3] = bad
    test = np.array([[0, 0, 1], [0, 1, 2], [1, 1, 3]])
    message = "scores of 2 of 3 queries are not finite"
    if compiled:
        with pytest.raises(InputError, match=message):
            rank(x, z, test, test, first_pass)
    else:
        with native.disabled(), pytest.raises(InputError, match=message):
            rank(x, z, test, test, first_pass)


@pytest.mark.parametrize("first_pass", PASSES)
@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e25, 2e38])
def test_tiny_and_huge_vectors_are_ranked(first_pass, scale):
    """Products that float32 cannot hold are made in float64."""
    generator = torch_rng("huge", 0)
    x = (2 * torch.rand(ENTITIES, WIDTH, generator=generator) - 1) * scale
    x[5] = 0
    z = torch.randn(2 * RELATIONS, WIDTH, generator=generator) / scale**0.5
    test, known = some_triples(0)
    expected = brute_force(exact(x, z), test, known, ENTITIES, RELATIONS, tolerance=0.0)
    assert_same(rank(x, z, test, known, first_pass, tolerance=0.0, block_size=9), expected)


@pytest.mark.parametrize("first_pass", PASSES)
def test_zero_vectors_all_tie(first_pass):
    x, z = torch.zeros(ENTITIES, WIDTH), torch.zeros(2 * RELATIONS, WIDTH)
    assert Candidates(x, first_pass).rounding == 0
    found = rank(x, z, np.array([[0, 0, 1]]), np.zeros((0, 3)), first_pass, block_size=5)
    assert all(rows.tolist() == [[1, ENTITIES, ENTITIES]] for rows in found.values())


@pytest.mark.parametrize("first_pass", PASSES)
def test_ranks_do_not_follow_autocast(first_pass):
    (x, z), (test, known) = near_ties(3), some_triples(3)
    expected = rank(x, z, test, known)
    with torch.autocast("cpu", torch.bfloat16):
        assert_same(rank(x, z, test, known, first_pass), expected)


def test_ranks_do_not_follow_pytorchs_precision(monkeypatch):
    """As on a GPU that may multiply float32 matrices in fewer bits."""
    (x, z), (test, known) = near_ties(3), some_triples(3)
    expected = rank(x, z, test, known)

    def coarse(self, block):
        vectors = self.candidates.vectors[block].bfloat16().float()
        return self.queries.bfloat16().float() @ vectors.t()

    monkeypatch.setattr(Products, "columns", coarse)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert_same(rank(x, z, test, known), expected)
    finally:
        torch.set_float32_matmul_precision(before)


def counted_blocks(test, **sizes):
    """First entity of every block that is made to rank the tails of `test`."""
    made = []

    def score(heads, relations):
        def columns(block):
            if relations.min() < RELATIONS:
                made.append(block.start)
            return torch.zeros(len(heads), block.stop - block.start)

        return Blockwise(ENTITIES, columns)

    evaluate_ranks(score, test, FilterIndex.build(test, RELATIONS), RELATIONS, **sizes)
    return made


def test_blocks_are_made_once_but_for_those_that_hold_targets():
    one, three = np.array([[0, 0, 9]]), np.array([[0, 0, 1], [0, 0, 9], [0, 0, 21]])
    assert sorted(counted_blocks(one, block_size=4)) == [0, 4, 8, 12, 16, 20]
    assert sorted(counted_blocks(three, block_size=4)) == [0, 0, 4, 8, 8, 12, 16, 20]


def test_queries_whose_answers_are_near_share_a_batch():
    """So nearly all target scores come from the block that is counted next."""
    answers = rng("answers", 0).permutation(ENTITIES)
    test = np.stack([np.arange(ENTITIES), np.zeros_like(answers), answers], 1)
    batches = blocks = ENTITIES // 4
    assert len(counted_blocks(test, batch_size=4, block_size=4)) <= batches * blocks + blocks


def test_what_does_not_fit_is_an_error():
    x = torch.zeros(ENTITIES, WIDTH)
    with pytest.raises(InputError, match="float64"):
        Candidates(x.double())
    with pytest.raises(InputError, match=r"shape \(2, 5\); expected \[B, 12\]"):
        Products(torch.zeros(2, 5), Candidates(x))
    test = np.array([[0, 0, 1], [1, 0, 0]])
    index = FilterIndex.build(test, RELATIONS)
    with pytest.raises(InputError, match="1 queries were made of 2"):
        evaluate_ranks(lambda h, r: Products(x[:1], Candidates(x)), test, index, RELATIONS)
