"""Where an answer would stand: by hand against ranks of contexts that are built anew."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from relgnn.explain import counterfactual
from relgnn.explain.counterfactual import Counterfactual, SmallestSet
from relgnn.explain.edges import EdgeImportance, Occlusion
from relgnn.explain.reading import Triple
from relgnn.explain.target import Query, triples_of
from relgnn.gnn.graph import MessageGraph
from relgnn.linkpred.fit import Fitted
from relgnn.loop.opened import OpenRun
from relgnn.loop.world import World
from relgnn.posterior.calibration import PlattCalibrator
from tests.explain.toy import toy_fitted
from tests.linkpred.toy import RUNTIME, HashEncoder, toy_config, toy_graph


@pytest.fixture(scope="module")
def toy() -> OpenRun:
    world = World(toy_config(), RUNTIME, toy_graph(), HashEncoder())
    return opened(world, toy_fitted("rgcn"))


def opened(world: World, fitted: Fitted, calibrate: PlattCalibrator | None = None) -> OpenRun:
    """A run with this model, in place of a checkpoint's."""
    run = OpenRun(world, calibrate)
    run.__dict__["fitted"] = fitted
    return run


def firsts(run: OpenRun) -> list[Triple]:
    """Triples whose tail is the model's first answer that is not given."""
    found, known = [], {tuple(t) for t in run.graph.filter_triples("valid").tolist()}
    model = run.fitted.model
    with torch.no_grad():
        encoded = model.encode(run.fitted.graph)
        for head in range(0, 16, 3):
            for relation in range(3):
                asked = torch.tensor([head]), torch.tensor([relation])
                scores = model.score_tails(encoded, *asked)[0]
                for tail in scores.argsort(descending=True).tolist():
                    if (head, relation, tail) not in known:
                        found.append((head, relation, tail))
                        break
    return found


def explained(run: OpenRun, triple: Triple) -> EdgeImportance:
    head, relation, tail = triple
    fitted = run.fitted
    return Occlusion().explain(fitted.model, fitted.graph, Query(head, relation), tail)


def rebuilt(run: OpenRun, gone: np.ndarray) -> OpenRun:
    """The run with a context that never had some edges."""
    graph = run.fitted.graph
    kept = np.setdiff1d(np.arange(graph.num_edges), gone)
    assert graph.evidence is not None and graph.evidence_index is not None
    text = torch.cat([graph.evidence, graph.evidence.new_zeros(1, graph.evidence.shape[1])])
    context = MessageGraph.build(
        triples_of(graph)[kept], graph.num_nodes, graph.num_relations, graph.edge_weight[kept],
        text[graph.evidence_index[kept]],
    )  # fmt: skip
    return opened(run.world, Fitted(run.fitted.model, context))


def test_without_edges_it_stands_where_a_context_without_them_has_it(toy: OpenRun) -> None:
    moved = 0
    for triple in firsts(toy)[:12]:
        would = Counterfactual(toy, triple)
        edges = explained(toy, triple).edges[::2]
        found = would.without_edges(edges)
        assert found == Counterfactual(rebuilt(toy, edges), triple).standing()
        moved += found.rank != would.standing().rank
        assert would.without_edges(edges[:0]) == would.standing()
    assert moved


def test_a_given_answer_does_not_stand_in_the_way(toy: OpenRun) -> None:
    for triple in firsts(toy):
        assert Counterfactual(toy, triple).standing().rank == 1


def test_a_probability_where_there_is_a_calibrator(toy: OpenRun) -> None:
    assert Counterfactual(toy, (0, 0, 21)).standing().probability is None
    run = opened(toy.world, toy.fitted, PlattCalibrator(10.0, 2.0))
    found = Counterfactual(run, (0, 0, 21)).standing().probability
    [(_, expected)] = run.score(np.array([[0, 0, 21]]))
    assert found == pytest.approx(expected) and 0 < expected < 1


def test_the_smallest_set_drops_the_answer_and_no_part_of_it_does(toy: OpenRun) -> None:
    sets = 0
    for triple in firsts(toy):
        would = Counterfactual(toy, triple)
        found = would.smallest_set(explained(toy, triple))
        assert found is not None
        assert found.standing == would.without_edges(found.edges)
        np.testing.assert_array_equal(
            found.triples, triples_of(toy.fitted.graph)[found.edges].numpy()
        )
        if not found.fell:
            assert found.standing.rank == 1
            continue
        sets += len(found.edges) > 1
        assert found.standing.rank > 1
        for left_out in range(len(found.edges)):
            assert would.without_edges(np.delete(found.edges, left_out)).rank == 1
    assert sets, "no set of several edges was put to the test"


def test_an_edge_that_another_made_needless_is_put_back(
    toy: OpenRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three make the tail fall, the last two do, and then the second does without the last."""
    fall = ({1, 2, 3}, {2, 3}, {2})
    monkeypatch.setattr(Counterfactual, "_falls", lambda self, edges: set(edges) in fall)
    assert Counterfactual(toy, firsts(toy)[0])._needed([1, 2, 3]) == [2]


def test_one_edge_that_is_enough_is_found(toy: OpenRun) -> None:
    enough = 0
    for triple in firsts(toy):
        would, importance = Counterfactual(toy, triple), explained(toy, triple)
        alone = [would.without_edges(importance.edges[i : i + 1]).rank > 1
                 for i in range(len(importance))]  # fmt: skip
        if any(alone):
            enough += 1
            found = would.smallest_set(importance)
            assert found is not None and found.fell and len(found.edges) == 1
    assert enough


def test_edges_that_are_tried_have_a_limit(toy: OpenRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counterfactual, "LIMIT", 1)
    sets: list[SmallestSet] = []
    for triple in firsts(toy):
        found = Counterfactual(toy, triple).smallest_set(explained(toy, triple))
        assert found is not None and len(found.edges) <= 1
        sets.append(found)
    assert not all(one.fell for one in sets) and any(one.fell for one in sets)


def test_an_answer_that_is_not_first_has_no_set(toy: OpenRun) -> None:
    head, relation, tail = firsts(toy)[0]
    other = (tail + 1) % toy.graph.num_entities
    would = Counterfactual(toy, (head, relation, other))
    assert would.standing().rank > 1
    assert would.smallest_set(explained(toy, (head, relation, other))) is None
