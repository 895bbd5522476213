"""Gaps: of whom, of which questions, beside whom; and what is not told of few."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from relgnn.audit.fairness import Statements, compare, statements_of
from relgnn.audit.groups import Grouping
from relgnn.errors import InputError
from relgnn.loop.opened import OpenRun
from relgnn.ranking.ranks import Ranks

PERSONS, QUESTIONS = 40, 3


def world(gap: float, seed: int = 0) -> tuple[Any, Grouping, dict[str, Ranks], Statements]:
    """Forty persons, three questions about each; ranks of the second half are worse by a factor."""
    draws = np.random.default_rng(seed)
    head = np.repeat(np.arange(PERSONS), QUESTIONS)
    triples = np.stack([head, np.tile(np.arange(QUESTIONS), PERSONS), head + 100], 1)
    rank = 1 + draws.integers(0, 3, len(head)) + (head >= 20) * int(gap)
    ranks = {side: Ranks(rank, rank, np.full(len(head), 200)) for side in ("head", "tail")}
    members = {"one": np.arange(20), "two": np.arange(20, PERSONS), "few": np.arange(3)}
    p = np.clip(0.5 + 0.3 * (head >= 20) * (gap > 0) + draws.normal(0, 0.01, len(head)), 0, 1)
    statements = Statements(triples, draws.random(len(head)) < 0.5, p)
    run = SimpleNamespace(graph=SimpleNamespace(test=triples, name="toy"))
    return run, Grouping("r", "r", 0, members), ranks, statements


def test_a_planted_gap_is_found_and_no_gap_is_not() -> None:
    run, grouping, ranks, statements = world(gap=5)
    one, two, few = compare(run, grouping, ranks, statements, least=10)
    assert [g.name for g in (one, two, few)] == ["one", "two", "few"]
    assert one.errors is not None and two.errors is not None and one.calibration is not None
    rank = ranks["tail"].realistic
    first = 1 / rank[:60]
    assert one.errors.mrr == pytest.approx(first.mean()) == one.errors.found
    assert one.errors.gap.mean == pytest.approx(first.mean() - (1 / rank[60:]).mean())
    assert one.errors.gap.low > 0 > two.errors.gap.high
    # every relation is asked as often of both, so that the mix explains nothing
    assert one.errors.like_gap.mean == pytest.approx(one.errors.gap.mean)
    assert (one.errors.entities, one.errors.queries) == (20, 60)
    assert one.errors.hits[10] == 1.0 and one.errors.hits[1] == (rank[:60] == 1).mean()
    assert one.calibration.gap.high < 0 and one.calibration.predicted == pytest.approx(
        0.5, abs=0.02
    )
    assert few.errors is None and few.calibration is None and few.members == 3
    run, grouping, ranks, statements = world(gap=0)
    same = compare(run, grouping, ranks, statements, least=10)[0]
    assert same.errors is not None and same.errors.gap.low < 0 < same.errors.gap.high


def test_a_mix_of_relations_is_no_gap_at_like_relations() -> None:
    run, grouping, ranks, _ = world(gap=0)
    triples = np.array(run.graph.test)
    hard = (triples[:, 0] >= 20) & (np.arange(len(triples)) % 3 < 2)
    hard |= (triples[:, 0] < 20) & (np.arange(len(triples)) % 3 == 0)
    triples[:, 1] = hard  # the same two relations, one of them hard, asked more of the second half
    rank = np.where(hard, 10, 1)
    run.graph.test = triples
    ranks = {side: Ranks(rank, rank, np.full(len(rank), 200)) for side in ("head", "tail")}
    one = compare(run, grouping, ranks, None, least=10)[0]
    assert one.errors is not None and one.calibration is None
    assert one.errors.gap.low > 0 and one.errors.like_gap.mean == pytest.approx(0)


def test_what_cannot_be_compared_is_told() -> None:
    run, grouping, ranks, statements = world(gap=0)
    with pytest.raises(InputError, match="no group has 30 members with questions"):
        compare(run, grouping, ranks, statements, least=30)
    everybody = replace(grouping, members={"all": np.arange(PERSONS)})
    with pytest.raises(InputError, match="or one has everybody"):
        compare(run, everybody, ranks, statements, least=10)


def test_statements_are_test_triples_and_false_ones(opened: OpenRun) -> None:
    found = statements_of(opened)
    assert found is not None
    known = {tuple(t) for t in opened.graph.filter_triples("test").tolist()}
    test = {tuple(t) for t in opened.graph.test.tolist()}
    for triple, true, p in zip(found.triples.tolist(), found.true, found.p, strict=True):
        assert (tuple(triple) in test) if true else (tuple(triple) not in known)
        assert 0 <= p <= 1
    assert 0 < (~found.true).sum() <= len(test) == found.true.sum()
    assert found.p[0] == pytest.approx(opened.score(found.triples[:1])[0][1])
    assert statements_of(replace(opened, calibrate=None)) is None
