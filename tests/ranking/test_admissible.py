"""Candidates by type against sets built by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relgnn.errors import InputError
from relgnn.ranking.admissible import Admissible
from relgnn.ranking.ranks import FilterIndex, evaluate_ranks
from relgnn.ranking.scores import Blockwise, Candidates, Products
from relgnn.runtime import rng, torch_rng
from tests.ranking.brute import as_rows, assert_same, brute_force

ENTITIES, RELATIONS = 8, 2
EVERYTHING = slice(0, ENTITIES)

triples = st.lists(
    st.tuples(
        st.integers(0, ENTITIES - 1), st.integers(0, RELATIONS - 1), st.integers(0, ENTITIES - 1)
    ),
    max_size=12,
).map(lambda rows: np.array(rows, dtype=np.int64).reshape(-1, 3))
type_lists = st.lists(
    st.lists(st.sampled_from("abcd"), max_size=2, unique=True),
    min_size=ENTITIES,
    max_size=ENTITIES,
)


def admitted(train, types):
    """Relation in [0, 2R) -> set of entities."""
    result = {}
    for place in range(2 * RELATIONS):
        column = 2 if place < RELATIONS else 0
        seen = {int(row[column]) for row in train if row[1] == place % RELATIONS}
        if types is not None:
            kinds = {kind for e in seen for kind in types[e]}
            seen |= {e for e in range(ENTITIES) if kinds & set(types[e])}
        result[place] = seen or set(range(ENTITIES))
    return result


def rows_of(mask):
    return [set(row.nonzero().flatten().tolist()) for row in mask]


@settings(max_examples=60, deadline=None)
@given(triples, st.none() | type_lists, st.integers(0, ENTITIES), st.integers(0, ENTITIES))
def test_masks_equal_sets_by_hand(train, types, start, stop):
    found = Admissible.build(train, ENTITIES, RELATIONS, types)
    expected = admitted(train, types)
    places = torch.tensor([3, 0, 1, 0, 2])
    assert rows_of(found.mask(places, EVERYTHING)) == [expected[p] for p in places.tolist()]
    block = slice(start, max(start, stop))
    assert torch.equal(found.mask(places, block), found.mask(places, EVERYTHING)[:, block])


@settings(max_examples=50, deadline=None)
@given(triples, triples, triples, st.none() | type_lists, st.integers(0, 99), st.integers(1, 9))
def test_ranks_equal_brute_force(train, test, known, types, seed, block_size):
    generator = torch_rng("typed", seed)
    x, z = (torch.randint(-2, 3, (n, 3), generator=generator).float() for n in (ENTITIES, 4))
    admissible = Admissible.build(train, ENTITIES, RELATIONS, types)
    sets = admitted(train, types)
    expected = brute_force(
        lambda h, r, t: float((x[h] * z[r] * x[t]).sum()),
        test, known, ENTITIES, RELATIONS, lambda relation, e: e in sets[relation],
    )  # fmt: skip
    index, candidates = FilterIndex.build(known, RELATIONS), Candidates(x, "bf16")
    for score in (
        lambda h, r: (x[h] * z[r]) @ x.T,
        lambda h, r: Blockwise(ENTITIES, lambda block: (x[h] * z[r]) @ x[block].T),
        lambda h, r: Products(x[h] * z[r], candidates),
    ):
        ranks = evaluate_ranks(
            score, test, index, RELATIONS, block_size=block_size, admissible=admissible
        )
        assert_same(as_rows(ranks), expected)


def test_admitting_all_changes_nothing():
    generator = rng("admit all", 0)
    table = torch.from_numpy(generator.normal(size=(ENTITIES, 2 * RELATIONS, ENTITIES)))
    test = generator.integers(0, [ENTITIES, RELATIONS, ENTITIES], (9, 3))
    index = FilterIndex.build(test, RELATIONS)
    nothing_seen = Admissible.build(test[:0], ENTITIES, RELATIONS)
    plain, typed = (
        evaluate_ranks(lambda h, r: table[h, r], test, index, RELATIONS, admissible=admissible)
        for admissible in (None, nothing_seen)
    )
    assert_same(as_rows(plain), as_rows(typed))


def test_types_for_other_entities_are_an_error():
    with pytest.raises(InputError, match="for 2 entities; .* each of the 8"):
        Admissible.build(np.zeros((0, 3)), ENTITIES, RELATIONS, [["a"], []])
