"""Relation vectors under a query: their equations, relations never seen, bad input."""

from __future__ import annotations

import pytest
import torch

from relgnn.errors import InputError
from relgnn.gnn.conditioned import RelationTable, RelationText, unit_mean_square
from tests.gnn.references import normal, randomise

RELATIONS, DIM, TEXT, MAPS = 3, 5, 4, 2


@pytest.fixture
def table() -> RelationTable:
    table = RelationTable(DIM, 2 * RELATIONS, MAPS)
    randomise(table)
    return table


@pytest.fixture
def reader() -> RelationText:
    reader = RelationText(DIM, TEXT, MAPS)
    randomise(reader)
    return reader


def test_the_table_has_a_vector_of_each_relation(table: RelationTable) -> None:
    assert table.vectors(None).shape == (MAPS, 2 * RELATIONS, DIM)
    assert torch.equal(table.queries(torch.tensor([5, 0]), None), table.query[[5, 0]])


def test_a_query_weighs_the_coordinates(table: RelationTable) -> None:
    q = normal(4, DIM)
    factors = table.factors(q)
    assert factors.shape == (MAPS, 4, DIM)
    torch.testing.assert_close(factors[1, 2], 1 + table.condition[1](q[2]))


def test_text_is_read_in_both_directions(reader: RelationText) -> None:
    text = normal(RELATIONS, TEXT)
    unit = text / text.square().mean(1, keepdim=True).sqrt()
    queries = reader.queries(torch.tensor([1, 1 + RELATIONS]), text)
    torch.testing.assert_close(queries, torch.stack([unit[1] @ p for p in reader.query]))
    out = reader.vectors(text)[1]
    assert out.shape == (2 * RELATIONS, DIM)
    torch.testing.assert_close(out[2], unit[2] @ reader.message[1, 0])
    torch.testing.assert_close(out[2 + RELATIONS], unit[2] @ reader.message[1, 1])


def test_relations_never_seen_are_read(reader: RelationText) -> None:
    text = normal(7, TEXT)
    reader.check(7, text)
    some = reader.vectors(text[[6, 2]])
    torch.testing.assert_close(some, reader.vectors(text)[:, [6, 2, 13, 9]])


def test_the_length_of_a_text_vector_does_not_matter() -> None:
    text = normal(RELATIONS, TEXT)
    torch.testing.assert_close(unit_mean_square(text * 1e-2), unit_mean_square(text * 30))
    assert not unit_mean_square(torch.zeros(1, TEXT)).any()


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (None, r"relation text \(none\) for 3 relations: expected \[3, 4\]"),
        ((RELATIONS, 7), r"shape \(3, 7\)"),
        ((2 * RELATIONS, TEXT), r"shape \(6, 4\)"),
    ],
)
def test_text_of_another_shape_is_refused(
    reader: RelationText, shape: tuple[int, int] | None, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        reader.check(RELATIONS, None if shape is None else torch.ones(shape))


def test_the_table_knows_its_relations_only(table: RelationTable) -> None:
    table.check(RELATIONS, None)
    with pytest.raises(InputError, match="graph of 4 relations without text for an encoder of 3"):
        table.check(4, None)
    with pytest.raises(InputError, match="graph of 3 relations with text for an encoder of 3"):
        table.check(RELATIONS, torch.ones(RELATIONS, TEXT))
