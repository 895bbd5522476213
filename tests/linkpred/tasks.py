"""Tasks of link prediction on the toy graph."""

from __future__ import annotations

from dataclasses import replace

import torch

from relgnn.data import KnowledgeGraph
from relgnn.gnn.graph import MessageGraph
from relgnn.linkpred.features import TextFeatures
from relgnn.linkpred.fit import new_predictor
from relgnn.linkpred.supervision import Supervision
from relgnn.linkpred.task import LinkPredictionTask
from tests.linkpred.toy import RUNTIME, toy_config

CALM = ("gnn.edge_dropout=0", "text.feature_dropout=0")


def make_task(
    graph: KnowledgeGraph,
    features: TextFeatures,
    *overrides: str,
    supervision: Supervision | None = None,
) -> LinkPredictionTask:
    config = toy_config(*overrides)
    model = new_predictor(config, RUNTIME, graph, features)
    supervision = supervision or with_evidence(graph)
    return LinkPredictionTask(
        model, supervision, graph.valid, graph.filter_triples("valid"), config
    )


def with_evidence(graph: KnowledgeGraph) -> Supervision:
    gold = Supervision.gold(graph.train)
    return replace(gold, evidence=torch.ones(len(graph.train), 16))


def training_graph(task: LinkPredictionTask, batch: list[int]) -> MessageGraph:
    graph = task._training_graph(torch.tensor(batch), torch.Generator().manual_seed(0))
    assert graph is not None
    return graph
