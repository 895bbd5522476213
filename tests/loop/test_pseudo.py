"""Pseudo triples keep what the text says of them, whatever is done with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from relgnn.loop.pseudo import Pseudo, Role
from relgnn.runtime import rng

TRIPLES = np.array([[0, 1, 2], [3, 3, 4], [5, 0, 6]])
WEIGHT, TEXT = np.array([0.5, 0.6, 0.7]), np.array([0.1, np.nan, 0.3])
HEARD, SILENT = Pseudo(TRIPLES, WEIGHT, TEXT), Pseudo(TRIPLES, WEIGHT)


def test_a_subset_keeps_its_rows() -> None:
    for index in (np.array([2, 0]), np.array([True, False, True])):
        part = HEARD.subset(index)
        assert part.p_text is not None
        np.testing.assert_array_equal(part.p_text, TEXT[index])
        np.testing.assert_array_equal(part.weight, WEIGHT[index])
        assert SILENT.subset(index).p_text is None
    mixed = replace(HEARD, role=np.array([Role.ACCEPTED, Role.TOLD, Role.TOLD], dtype=np.int8))
    told = mixed.of(Role.TOLD)
    assert told.p_text is not None and len(told) == len(told.p_text) == 2
    assert (
        len(mixed.of(Role.ACCEPTED, Role.TOLD))
        == len(mixed.of(Role.TOLD).as_role(Role.ACCEPTED).of(Role.ACCEPTED)) + 1
    )


def test_joined_to_what_it_is_silent_of_the_text_says_nan() -> None:
    assert SILENT.join(SILENT).p_text is None
    for one, other in ((HEARD, SILENT), (SILENT, HEARD), (HEARD, HEARD)):
        joined = one.join(other).p_text
        assert joined is not None
        halves = [np.full(3, np.nan) if p.p_text is None else p.p_text for p in (one, other)]
        np.testing.assert_array_equal(joined, np.concatenate(halves))
    joined = Pseudo.none().join(HEARD).p_text
    assert joined is not None
    np.testing.assert_array_equal(joined, TEXT)


def test_another_column_leaves_the_rest() -> None:
    other = HEARD.with_column(1, np.array([7, 8, 9]))
    assert other.p_text is TEXT and other.weight is WEIGHT and other.p is WEIGHT
    assert other.triples[:, 1].tolist() == [7, 8, 9] and TRIPLES[0, 1] == 1


def test_what_a_triple_counts_is_not_how_probable_it_is() -> None:
    p = np.array([0.0, 1.0, 0.2])
    soft = Pseudo(TRIPLES, np.ones(3), p=p)
    assert HEARD.p is WEIGHT
    np.testing.assert_array_equal(soft.subset(np.array([2, 0])).p, p[[2, 0]])
    np.testing.assert_array_equal(soft.join(HEARD).p, [*p, *WEIGHT])
    assert soft.as_role(Role.TOLD).p is p and soft.with_column(0, p.astype(int)).p is p
    many = soft.subset(np.repeat(np.arange(3), 1000))
    counts = np.bincount(many.drawn(rng("many", 0))[:, 0], minlength=6)[[0, 3, 5]]
    assert counts[:2].tolist() == [0, 1000] and counts[2] == pytest.approx(200, abs=50)
