"""The contract that every negative sampler keeps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from relgnn.errors import InputError
from relgnn.gnn.negatives import (
    NEGATIVE_SAMPLERS,
    BernoulliSampler,
    PairSampler,
    TypeConstrainedSampler,
)
from tests.gnn.references import random_triples

NODES, RELATIONS = 12, 3


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def as_set(triples: Tensor) -> set[tuple[int, ...]]:
    return {tuple(row) for row in triples.reshape(-1, 3).tolist()}


@pytest.mark.parametrize("kind", NEGATIVE_SAMPLERS)
class TestNegativeSampler:
    """A new sampler is covered on the day it is registered."""

    @settings(max_examples=25, deadline=None)
    @given(edges=st.integers(1, 40), seed=st.integers(0, 1000), count=st.integers(1, 5))
    def test_corrupts_one_side(self, kind: str, edges: int, seed: int, count: int) -> None:
        triples = random_triples(NODES, RELATIONS, edges, seed)
        sampler = NEGATIVE_SAMPLERS[kind](triples, NODES, RELATIONS, filtered=True)
        out = sampler.sample(triples, count, generator(seed))
        assert out.shape == (edges, count, 3)
        assert out.min() >= 0 and out[..., [0, 2]].max() < NODES
        assert torch.equal(out[..., 1], triples[:, None, 1].expand(edges, count))
        changed = out != triples[:, None]
        assert (changed.sum(-1) == 1).all()
        assert not as_set(out) & as_set(triples)

    def test_same_generator_same_negatives(self, kind: str) -> None:
        triples = random_triples(NODES, RELATIONS, 20)
        sampler = NEGATIVE_SAMPLERS[kind](triples, NODES, RELATIONS)
        before = torch.random.get_rng_state()
        first, again, other = (sampler.sample(triples, 3, generator(s)) for s in (0, 0, 1))
        assert torch.equal(first, again) and not torch.equal(first, other)
        assert torch.equal(torch.random.get_rng_state(), before)

    def test_dense_graph_gives_the_one_false_triple(self, kind: str) -> None:
        every = torch.cartesian_prod(torch.arange(9), torch.arange(1), torch.arange(9))
        triples = every[(every[:, 0] != 3) | (every[:, 2] != 4)]
        sampler = NEGATIVE_SAMPLERS[kind](triples, 9, 1, filtered=True)
        out = sampler.sample(torch.tensor([[3, 0, 0], [0, 0, 4]]), 4, generator())
        assert as_set(out) == {(3, 0, 4)}

    def test_nothing_left_is_one_line(self, kind: str) -> None:
        triples = torch.cartesian_prod(torch.arange(2), torch.arange(1), torch.arange(2))
        sampler = NEGATIVE_SAMPLERS[kind](triples, 2, 1, filtered=True)
        with pytest.raises(InputError, match="every corruption of it is a known triple"):
            sampler.sample(triples, 1, generator())

    def test_no_triples(self, kind: str) -> None:
        triples = random_triples(NODES, RELATIONS, 20)
        sampler = NEGATIVE_SAMPLERS[kind](triples, NODES, RELATIONS, filtered=True)
        assert sampler.sample(triples[:0], 3, generator()).shape == (0, 3, 3)


def test_bernoulli_replaces_the_side_with_fewer_answers() -> None:
    # Relation 0: one head, nine tails. Relation 1: the reverse. Relation 2: never seen.
    star = torch.tensor([[0, 0, tail] for tail in range(1, 10)])
    triples = torch.cat([star, star[:, [2, 1, 0]] + torch.tensor([0, 1, 0])])
    sampler = BernoulliSampler(triples, NODES, RELATIONS)
    expected = torch.tensor([0.9, 0.1, 0.5])
    torch.testing.assert_close(sampler.head_probability(torch.arange(3)), expected)
    out = sampler.sample(triples[:1], 4000, generator())[0]
    assert abs((out[:, 0] != 0).double().mean() - 0.9 * 11 / 12) < 0.03


@settings(max_examples=25, deadline=None)
@given(edges=st.integers(1, 40), seed=st.integers(0, 1000))
def test_typed_draws_what_was_seen_there(edges: int, seed: int) -> None:
    triples = random_triples(NODES, RELATIONS, edges, seed)
    sampler = TypeConstrainedSampler(triples, NODES, RELATIONS)
    out = sampler.sample(triples, 5, generator(seed))
    for relation in range(RELATIONS):
        for column in (0, 2):
            seen = set(triples[triples[:, 1] == relation, column].tolist())
            drawn = set(out[out[..., 1] == relation][:, column].tolist())
            assert len(seen) < 2 or drawn <= seen


def test_places_that_take_any_entity_hold_one_list_of_all() -> None:
    relations = torch.arange(500)
    triples = torch.stack([relations % NODES, relations, relations % 2], 1)
    sampler = TypeConstrainedSampler(triples, 1000, 500)
    assert sampler.entities.numel() <= 2 * 500 + 1000
    every = torch.arange(1000)
    assert all(torch.equal(sampler.candidates(r, c), every) for r in (0, 499) for c in (0, 2))


class TestPairSampler:
    def test_draws_no_edge_and_no_node_twice(self) -> None:
        pairs = torch.tensor([[0, 1], [2, 1], [3, 4], [4, 0]])
        drawn = PairSampler(pairs, 30).sample(2000, generator())
        assert drawn.shape == (2000, 2) and set(drawn.flatten().tolist()) == set(range(30))
        edges = {frozenset(pair) for pair in pairs.tolist()}
        assert all(len(set(pair)) == 2 and set(pair) not in edges for pair in drawn.tolist())

    def test_same_generator_same_pairs(self) -> None:
        sampler = PairSampler(torch.tensor([[0, 1]]), 50)
        first, again, other = (sampler.sample(9, generator(seed)) for seed in (0, 0, 1))
        assert torch.equal(first, again) and not torch.equal(first, other)

    def test_no_edges_and_all_edges(self) -> None:
        assert PairSampler(torch.empty(0, 2, dtype=torch.int64), 4).sample(9, generator()).ndim == 2
        every = torch.combinations(torch.arange(3))
        assert PairSampler(every, 3).sample(9, generator()).shape == (9, 2)
