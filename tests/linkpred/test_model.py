"""The link predictor: every encoder with every decoder, text gates, permuted entities."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from relgnn.data import KnowledgeGraph
from relgnn.gnn.decoders import DECODERS
from relgnn.linkpred.features import TextFeatures
from relgnn.linkpred.fit import new_predictor
from relgnn.linkpred.model import LinkPredictor, build_predictor
from relgnn.linkpred.supervision import Supervision
from relgnn.linkpred.task import LinkPredictionTask
from tests.linkpred.toy import RUNTIME, toy_config

ENCODERS = ("none", "rgcn", "compgcn")


def build(
    graph: KnowledgeGraph, features: TextFeatures | None, *overrides: str
) -> tuple[LinkPredictor, LinkPredictionTask]:
    config = toy_config("gnn.layers=2", *overrides)
    model = new_predictor(config, RUNTIME, graph, features)
    known = graph.filter_triples("valid")
    gold = Supervision.gold(graph.train)
    evidence = torch.randn(len(graph.train), 16, generator=torch.Generator().manual_seed(0))
    supervision = replace(gold, evidence=evidence if features else None)
    return model, LinkPredictionTask(model, supervision, graph.valid, known, config)


@pytest.mark.parametrize("decoder", sorted(DECODERS))
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_part_gets_a_gradient_and_a_step_lowers_the_loss(
    graph: KnowledgeGraph, features: TextFeatures, encoder: str, decoder: str
) -> None:
    model, task = build(
        graph, features, f"gnn.kind={encoder}", f"decoder.kind={decoder}", "gnn.edge_dropout=0",
        "gnn.target_dropout=0", "text.feature_dropout=0",
    )  # fmt: skip
    batch = torch.arange(len(task.head))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    before = task.loss(batch, torch.Generator())
    before.backward()
    untouched = {name for name, p in model.named_parameters() if p.grad is None}
    assert not untouched
    assert model.entity.grad is not None and model.entity.grad.abs().sum() > 0
    optimizer.step()
    assert task.loss(batch, torch.Generator()) < before


@pytest.mark.parametrize("encoder", ENCODERS)
def test_rotate_has_relations_half_as_wide(
    graph: KnowledgeGraph, features: TextFeatures, encoder: str
) -> None:
    model, task = build(graph, features, f"gnn.kind={encoder}", "decoder.kind=rotate")
    x, z = model.encode(task.graph)
    assert x.shape == (graph.num_entities, 8)
    assert z.shape == (2 * graph.num_relations, 4)


def test_a_closed_gate_leaves_text_out(graph: KnowledgeGraph, features: TextFeatures) -> None:
    model, _ = build(graph, features)
    model.eval()
    assert not torch.allclose(model.node_features(), model.entity)
    with torch.no_grad():
        model.node_gate.zero_()
    assert torch.equal(model.node_features(), model.entity)


def test_encodings_are_not_in_the_checkpoint(graph: KnowledgeGraph, features: TextFeatures) -> None:
    model, _ = build(graph, features)
    assert not {"node_text", "relation_text"} & set(model.state_dict())


@pytest.mark.parametrize("text", ["both", "relations", "nothing"])
def test_text_may_be_missing(graph: KnowledgeGraph, features: TextFeatures, text: str) -> None:
    given = {
        "both": features,
        "relations": replace(features, nodes=None),
        "nothing": None,
    }[text]
    model, task = build(graph, given)
    scores = model.score_tails(model.encode(task.graph), torch.tensor([0]), torch.tensor([4]))
    assert scores.shape == (1, graph.num_entities)
    assert (model.node_projection is None) == (text != "both")


def test_a_relation_that_a_control_adds_has_no_text(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    more = graph.num_relations + 1
    model = build_predictor(toy_config(), graph.num_entities, more, features)
    assert model.relation_text is not None
    assert model.relation_text.shape == (more, 16)
    assert not model.relation_text[-1].any()
    assert model.relation.shape[0] == 2 * more


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("decoder", ["complex", "rotate"])
def test_permuting_entities_permutes_scores(
    graph: KnowledgeGraph, features: TextFeatures, encoder: str, decoder: str
) -> None:
    overrides = (f"gnn.kind={encoder}", f"decoder.kind={decoder}")
    model, _ = build(graph, features, *overrides)
    order = torch.randperm(graph.num_entities, generator=torch.Generator().manual_seed(1))
    place = order.argsort()
    assert features.nodes is not None
    other, _ = build(graph, replace(features, nodes=features.nodes[order]), *overrides)
    other.load_state_dict(model.state_dict() | {"entity": model.entity.detach()[order]})
    renamed = graph.train.copy()
    renamed[:, [0, 2]] = place.numpy()[renamed[:, [0, 2]]]
    messages = Supervision.gold(renamed).message_graph(graph.num_entities, graph.num_relations)
    plain = Supervision.gold(graph.train).message_graph(graph.num_entities, graph.num_relations)
    heads, relations = torch.tensor([0, 7, 22]), torch.tensor([0, 4, 5])
    with torch.no_grad():
        one = model.eval().score_tails(model.encode(plain), heads, relations)
        two = other.eval().score_tails(other.encode(messages), place[heads], relations)
    torch.testing.assert_close(one, two[:, place], rtol=1e-4, atol=1e-5)


def test_the_weight_of_text_scales_its_say(graph: KnowledgeGraph, features: TextFeatures) -> None:
    whole, part = (
        new_predictor(toy_config(f"text.weight={weight}"), RUNTIME, graph, features).eval()
        for weight in (1.0, 0.25)
    )
    text, quarter = (model.node_features() - model.entity for model in (whole, part))
    assert text.abs().sum() > 0
    torch.testing.assert_close(quarter, text / 4)
