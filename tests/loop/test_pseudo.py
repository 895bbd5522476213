"""Pseudo triples keep what the text says of them, whatever is done with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from relgnn.loop.pseudo import Pseudo, Role

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
    assert other.p_text is TEXT and other.weight is WEIGHT
    assert other.triples[:, 1].tolist() == [7, 8, 9] and TRIPLES[0, 1] == 1
