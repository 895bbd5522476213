"""Metrics by hand, by stratum, and the file of ranks."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from relgnn.errors import InputError, MachineError
from relgnn.ranking.metrics import (
    chance_mrr,
    metrics_by_stratum,
    rank_metrics,
    read_ranks,
    write_ranks,
)
from relgnn.ranking.ranks import FilterIndex, Ranks, evaluate_ranks

TRIPLES = np.array([[0, 0, 1], [1, 1, 2], [2, 0, 0]])
ENTITIES, RELATIONS = ("Q1", 'the "second"', "Q3"), ("P1", "P2")


@pytest.fixture
def ranks():
    count = np.full(3, 3)
    return {
        "head": Ranks(np.array([1, 2, 1]), np.array([1, 2, 2]), count),
        "tail": Ranks(np.array([3, 1, 1]), np.array([3, 1, 1]), count),
    }


def test_metrics_by_hand(ranks):
    assert rank_metrics(ranks["head"]) == {
        "mrr": pytest.approx((1 + 1 / 2 + 1 / 1.5) / 3),
        "hits@1": pytest.approx(1 / 3),
        "hits@3": 1.0,
        "hits@10": 1.0,
        "queries": 3,
    }
    assert rank_metrics(ranks["head"], "optimistic")["hits@1"] == pytest.approx(2 / 3)


def test_chance_is_the_mean_over_all_ranks():
    """By hand, and of random scores: their mean rank has no better reason than chance."""
    ones = np.ones(3, dtype=np.int64)
    by_hand = [1, (1 + 1 / 2) / 2, sum(1 / k for k in range(1, 8)) / 7]
    assert chance_mrr(Ranks(ones, ones, np.array([1, 2, 7]))) == pytest.approx(np.mean(by_hand))
    with pytest.raises(InputError, match="no rank to average"):
        chance_mrr(Ranks(*[ones[:0]] * 3))
    generator = torch.Generator().manual_seed(0)
    triples = np.random.default_rng(0).integers(0, [30, 2, 30], (400, 3))

    def score(heads, relations):
        return torch.rand(len(heads), 30, generator=generator)

    index = FilterIndex.build(triples, 2)
    draws = [evaluate_ranks(score, triples, index, 2)["tail"] for _ in range(20)]
    assert draws[0].candidates.min() < 30
    mean = np.mean([rank_metrics(one)["mrr"] for one in draws])
    assert chance_mrr(draws[0]) == pytest.approx(mean, abs=0.01)


def test_strata_follow_the_contract_and_empty_ones_are_left_out(ranks):
    strata = {
        "feature": np.array([True, False, False]),
        "corpus": np.array([False, True, True]),
        "none": np.zeros(3, dtype=bool),
    }
    result = metrics_by_stratum(ranks, strata)
    assert list(result) == ["all", "feature", "corpus"]
    for sides in result.values():
        assert set(sides) == {"both", "head", "tail"}
        for kinds in sides.values():
            assert set(kinds) == {"realistic", "optimistic", "pessimistic"}
            for metrics in kinds.values():
                assert set(metrics) == {"mrr", "hits@1", "hits@3", "hits@10", "queries"}
    assert result["all"]["both"]["realistic"]["queries"] == 6
    assert result["feature"]["both"]["realistic"]["mrr"] == pytest.approx((1 + 1 / 3) / 2)
    assert json.loads(json.dumps(result)) == result


def test_all_is_the_mean_of_its_strata(ranks):
    mask = np.array([True, False, False])
    result = metrics_by_stratum(ranks, {"feature": mask, "none": ~mask})
    both = {name: sides["both"]["realistic"] for name, sides in result.items()}
    parts = (both["feature"], both["none"])
    assert both["all"]["queries"] == sum(m["queries"] for m in parts)
    assert both["all"]["mrr"] == pytest.approx(sum(m["mrr"] * m["queries"] for m in parts) / 6)


def test_a_mask_of_the_wrong_shape_is_an_error(ranks):
    with pytest.raises(InputError, match="'none' is int64"):
        metrics_by_stratum(ranks, {"none": np.zeros(3, dtype=np.int64)})


def test_no_ranks_are_an_error():
    with pytest.raises(InputError, match="no rank to average"):
        rank_metrics(Ranks(np.zeros(0), np.zeros(0), np.zeros(0)))


def test_the_file_of_ranks_goes_round(ranks, tmp_path):
    path = tmp_path / "ranks.tsv"
    write_ranks(path, ranks, TRIPLES, ENTITIES, RELATIONS)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].split("\t") == [
        "head", "relation", "tail", "side", "rank_optimistic", "rank_pessimistic", "candidates",
    ]  # fmt: skip
    assert lines[1].split("\t") == ["Q1", "P1", 'the "second"', "head", "1", "1", "3"]
    assert len(lines) == 7
    for side, (triples, read) in read_ranks(path).items():
        assert triples[1] == ('the "second"', "P2", "Q3")
        assert rank_metrics(read) == rank_metrics(ranks[side])
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_leaves_nothing(ranks, tmp_path):
    taken = tmp_path / "taken"
    taken.mkdir()  # a folder where the file should go: refused to root too
    with pytest.raises(MachineError, match="cannot be written"):
        write_ranks(taken, ranks, TRIPLES, ENTITIES, RELATIONS)
    assert list(tmp_path.iterdir()) == [taken] and not list(taken.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("head\ttail\n", ":1: expected the header"),
        ("{header}\nQ1\tP1\tQ2\thead\t1\t2\n", ":2: .* is no line of ranks"),
        ("{header}\nQ1\tP1\tQ2\tleft\t1\t2\t3\n", ":2: .* is no line of ranks"),
        ("{header}\nQ1\tP1\tQ2\thead\tone\t2\t3\n", ":2: .* is no line of ranks"),
    ],
)
def test_a_malformed_file_of_ranks_is_an_error(content, message, tmp_path):
    path = tmp_path / "ranks.tsv"
    header = "head\trelation\ttail\tside\trank_optimistic\trank_pessimistic\tcandidates"
    if content is not None:
        path.write_text(content.format(header=header), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_ranks(path)
