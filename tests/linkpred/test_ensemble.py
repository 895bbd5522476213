"""Several predictors added up: what valid chooses, and what it may not see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from relgnn.config.biencoder import EnsembleSettings
from relgnn.data import KnowledgeGraph
from relgnn.errors import InputError
from relgnn.linkpred.ensemble import Mix, fit_mix, simplex
from relgnn.linkpred.evaluate import DenseScores, evaluate_scores
from relgnn.ranking.ranks import FilterIndex
from tests.linkpred.toy import BORN, LIVES, NAMES


def noise(seed: int, size: float = 1.0) -> DenseScores:
    """Scores that say nothing, the same whenever they are asked for."""
    table = torch.randn(
        len(NAMES) * 6, len(NAMES), generator=torch.Generator().manual_seed(seed)
    )  # fmt: skip

    def scores(heads: Tensor, relations: Tensor) -> Tensor:
        return size * table[heads * 6 + relations]

    return scores


def knowing(triples: np.ndarray, relations: tuple[int, ...], noisy: float = 0.1) -> DenseScores:
    """Noise, but right about some relations."""
    index = FilterIndex.build(triples[np.isin(triples[:, 1], relations)], 3)
    base = noise(sum(relations), noisy)

    def scores(heads: Tensor, asked: Tensor) -> Tensor:
        found = base(heads, asked).clone()
        found[index.known(heads, asked)] += 3
        return found

    return scores


def settings(**changes: object) -> EnsembleSettings:
    return EnsembleSettings.model_validate({"of": ["a", "b"], **changes})


def everything(graph: KnowledgeGraph) -> np.ndarray:
    return np.concatenate([graph.train, graph.valid, graph.hidden, graph.test])


def test_who_knows_counts_and_who_does_not_does_not(graph: KnowledgeGraph) -> None:
    members = [noise(1), knowing(everything(graph), (0, 1, 2))]
    mix = fit_mix(members, graph, settings(by_relation=False))
    assert mix.weight.shape == (2, 6)
    assert (mix.weight[1] > 0.5).all()
    torch.testing.assert_close(mix.weight.sum(0), torch.ones(6))
    mrr = evaluate_scores(mix.scores(members), graph, "test")[1]["all"]["both"]["realistic"]["mrr"]
    assert mrr == 1


def test_weights_are_each_relations_own_or_all_the_same(graph: KnowledgeGraph) -> None:
    facts = everything(graph)
    graph = replace(graph, valid=facts, strata=None)
    members = [knowing(facts, (BORN,), 2.0), knowing(facts, (LIVES,), 2.0)]
    of_all = fit_mix(members, graph, settings(by_relation=False))
    assert (of_all.weight == of_all.weight[:, :1]).all()
    own = fit_mix(members, graph, settings())

    def mrr(mix: Mix) -> float:
        found = evaluate_scores(mix.scores(members), graph, "valid")[1]
        return float(found["all"]["both"]["realistic"]["mrr"])

    assert mrr(own) > mrr(of_all)
    assert own.weight[0, BORN] > own.weight[0, LIVES]


def test_the_weights_are_the_best_of_the_grid(graph: KnowledgeGraph) -> None:
    members = [noise(1), noise(2)]
    mix = fit_mix(members, graph, settings(by_relation=False, steps=4))
    tried = {}
    for first in range(5):
        weight = torch.tensor([[first / 4], [1 - first / 4]]).expand(-1, 6)
        other = Mix(weight, mix.scale)
        metrics = evaluate_scores(other.scores(members), graph, "valid")[1]
        tried[first] = metrics["all"]["both"]["realistic"]["mrr"]
    assert tried[round(float(mix.weight[0, 0]) * 4)] == max(tried.values()) > min(tried.values())


def test_the_unit_of_a_members_scores_does_not_matter(graph: KnowledgeGraph) -> None:
    small, large = ([noise(1, size), noise(2)] for size in (0.01, 100.0))
    first, second = (fit_mix(members, graph, settings()) for members in (small, large))
    torch.testing.assert_close(first.weight, second.weight)
    heads, relations = torch.arange(5), torch.arange(5)
    torch.testing.assert_close(
        first.scores(small)(heads, relations), second.scores(large)(heads, relations)
    )


def test_a_member_that_tells_no_answer_from_another_leaves_the_others_be(
    graph: KnowledgeGraph,
) -> None:

    def silent(heads: Tensor, relations: Tensor) -> Tensor:
        return torch.full((len(heads), len(NAMES)), -7.0)

    members = [silent, knowing(everything(graph), (0, 1, 2))]
    mix = fit_mix(members, graph, settings(by_relation=False))
    found = evaluate_scores(mix.scores(members), graph, "test")[1]
    assert found["all"]["both"]["realistic"]["mrr"] == 1


def test_test_triples_are_not_looked_at(graph: KnowledgeGraph) -> None:
    members = [noise(1), noise(2)]
    blind = replace(graph, test=graph.test[:0], hidden=graph.hidden[:0], strata=None)
    torch.testing.assert_close(
        fit_mix(members, blind, settings()).weight, fit_mix(members, graph, settings()).weight
    )


def test_the_simplex_is_whole() -> None:
    found = list(simplex(3, 4))
    assert len(found) == len(set(found)) == 15
    assert all(sum(one) == 4 and min(one) >= 0 for one in found)


def test_without_valid_nothing_can_be_weighed(graph: KnowledgeGraph) -> None:
    with pytest.raises(InputError, match="has no valid triples, which weigh"):
        fit_mix([noise(1), noise(2)], replace(graph, valid=graph.valid[:0], strata=None),
                settings())  # fmt: skip
