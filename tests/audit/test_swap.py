"""Swaps: the model sees another edge or text for a moment, and nothing of it stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from relgnn.audit.groups import Grouping, grouping
from relgnn.audit.swap import GENDERED, NEUTRAL, Edit, Swapper, exchange, swap_groups
from relgnn.linkpred.features import encode_features
from relgnn.linkpred.scorer import Scorer
from relgnn.loop.opened import OpenRun
from relgnn.runtime import rng


def test_words_are_exchanged_whole_and_keep_their_case() -> None:
    text = "She is an Actress; her son, the hero, shed tears."
    other, count = exchange(text, GENDERED)
    assert other == "He is an Actor; his daughter, the heroine, shed tears." and count == 5
    assert exchange(text, GENDERED, 2) == ("He is an Actor; her son, the hero, shed tears.", 2)
    assert exchange("A river in Ulm", GENDERED) == ("A river in Ulm", 0)
    assert exchange("The river in Ulm", NEUTRAL) == ("A river at Ulm", 2)
    assert not GENDERED.keys() & NEUTRAL.keys()
    assert all(partner in GENDERED for partner in GENDERED.values())


@torch.inference_mode()
def test_an_edge_that_is_swapped_is_one_of_another_graph(opened: OpenRun) -> None:
    swapper, graph = Swapper(opened), opened.graph
    row = int(np.flatnonzero(graph.train[:, 1] == 0)[0])
    entity, _, tail = graph.train[row].tolist()
    new = next(t for t in graph.train[graph.train[:, 1] == 0, 2].tolist() if t != tail)
    given = np.array(graph.train)
    given[row, 2] = new
    evidence = opened.learned.edge_text
    if evidence is not None:
        evidence = evidence.clone()
        evidence[row] = 0
    model = opened.fitted.model
    context = opened.supervision(given, evidence).message_graph(30, model.num_relations)
    other = Scorer.of(model, context)
    before = Scorer.of(model, opened.fitted.graph)
    asked = torch.tensor([1, 2])
    old, expected = (
        one.score_tails(torch.full((2,), entity), asked).softmax(1) for one in (before, other)
    )
    moved, first = swapper.moved(Edit(entity, row, new), [1, 2])
    assert moved == pytest.approx((old - expected).abs().sum(1).numpy() / 2, abs=1e-5)
    assert moved.max() > 1e-6
    assert first.tolist() == (old.argmax(1) != expected.argmax(1)).double().tolist()
    assert swapper.moved(Edit(entity, row, tail, None), [1])[1].tolist() == [0.0]


@torch.inference_mode()
def test_a_text_that_is_swapped_is_the_text_of_another_graph(opened: OpenRun) -> None:
    swapper, entity = Swapper(opened), 3
    names = list(opened.graph.entity_descriptions)
    names[entity] = "a queen of Bern"
    graph = replace(opened.graph, entity_descriptions=tuple(names))
    text = graph.node_texts()[entity]
    features = encode_features(graph, opened.world.encoder).nodes
    assert features is not None
    model, asked = opened.fitted.model, torch.tensor([0, 1])
    kept = model.node_text
    assert kept is not None
    before = kept.clone()
    moved, _ = swapper.moved(Edit(entity, text=text), [0, 1])
    assert torch.equal(model.node_text, before) and moved.max() > 1e-6  # type: ignore[arg-type]
    old = Scorer.of(model, opened.fitted.graph)
    heads = torch.full((2,), entity)
    was = old.score_tails(heads, asked).softmax(1)
    scale = before[0].norm() / encode_features(opened.graph, opened.world.encoder).nodes[0].norm()  # type: ignore[index]
    model.node_text = before.clone()
    model.node_text[entity] = features[entity] * scale
    expected = Scorer.of(model, opened.fitted.graph).score_tails(heads, asked).softmax(1)
    model.node_text = kept
    assert moved == pytest.approx((was - expected).abs().sum(1).numpy() / 2, abs=1e-4)
    assert swapper.moved(Edit(entity, text=swapper.texts[entity]), [0])[0][0] < 1e-5


def test_a_swap_of_an_edge_stands_beside_another_edge_of_the_same_person(
    opened: OpenRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relgnn.audit.swap.OFTEN", 1)
    group = grouping(opened.graph, "born")
    train = opened.graph.train
    for swap, control, left_out in Swapper(opened).edits(group):
        assert swap.row is not None and control.row is not None
        assert train[swap.row, 0] == train[control.row, 0] == swap.entity == control.entity
        assert train[swap.row, 1] == 0 != train[control.row, 1]
        assert left_out == {0, int(train[control.row, 1])}
        for edit in (swap, control):
            relation = train[train[:, 1] == train[edit.row, 1]]
            assert edit.tail in relation[:, 2]
            assert edit.tail not in relation[relation[:, 0] == edit.entity, 2]
    found = swap_groups(opened, group, most=4)
    assert found is not None and found.persons == 4 and found.queries == 4
    assert found.moved_gap.mean == pytest.approx(found.moved - found.moved_control)
    assert found.first_gap.low <= found.first_gap.mean <= found.first_gap.high
    assert swap_groups(opened, group, most=1) is None


def test_edits_are_those_that_a_look_through_all_given_triples_finds(opened: OpenRun) -> None:
    train, swapper = opened.graph.train, Swapper(opened)
    draws, expected = rng("counterfactual swaps", 0), []
    for row in np.flatnonzero(train[:, 1] == 1).tolist():
        entity = train[row, 0]
        others = np.flatnonzero((train[:, 0] == entity) & (train[:, 1] != 1))
        if not len(others):
            continue
        pair = []
        for one in (row, int(draws.choice(others))):
            relation = train[train[:, 1] == train[one, 1]]
            own = relation[relation[:, 0] == entity, 2]
            tails = relation[~np.isin(relation[:, 2], [*own, entity]), 2]
            pair.append((one, int(draws.choice(tails))))
        expected.append(pair)
    found = [
        [(one.row, one.tail) for one in (swap, control)]
        for swap, control, _ in swapper.edits(grouping(opened.graph, "lives"))
    ]
    assert found == expected and len(found) > 2


def test_whose_text_tells_no_gender_is_not_swapped(opened: OpenRun) -> None:
    everybody = Grouping("pronoun", "pronoun", None, {"he": np.arange(30)})
    assert list(Swapper(opened).edits(everybody)) == []
    assert swap_groups(opened, everybody) is None
