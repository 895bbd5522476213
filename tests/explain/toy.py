"""A small graph, and predictors of every kind over it whose weights are random."""

from __future__ import annotations

import numpy as np
import torch

from relgnn.gnn.graph import MessageGraph
from relgnn.linkpred.features import encode_features
from relgnn.linkpred.fit import Fitted, new_predictor
from tests.linkpred.toy import RUNTIME, HashEncoder, toy_config, toy_graph

KINDS = {
    "rgcn": (), "rgcn of two layers": ("gnn.layers=2",),
    "blocks": ("gnn.decomposition=block",),
    "compgcn": ("gnn.kind=compgcn", "decoder.kind=complex"),
    "compgcn of two layers": ("gnn.kind=compgcn", "gnn.layers=2", "gnn.composition=corr"),
    "attention": ("gnn.kind=attention", "gnn.heads=2"),
}  # fmt: skip
SMOOTH = [kind for kind in KINDS if kind != "attention"]
"""Kinds whose messages shrink with their weights."""


def toy_fitted(kind: str, *overrides: str) -> Fitted:
    """A predictor over given, hidden and test triples, some uncertain, some with a text."""
    graph = toy_graph()
    config = toy_config(*KINDS[kind], *overrides)
    features = encode_features(graph, HashEncoder(), config.text.node_features)
    model = new_predictor(config, RUNTIME, graph, features).eval()
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.7
    if model.encoder is not None:
        model.encoder.gates.data.fill_(1.0)
    triples = torch.from_numpy(np.concatenate([graph.train, graph.hidden, graph.test]))
    weight = torch.ones(len(triples))
    weight[-6:] = torch.linspace(0.4, 0.9, 6)
    text = torch.zeros(len(triples), 16)
    text[-3:] = torch.randn(3, 16, generator=generator)
    context = MessageGraph.build(triples, graph.num_entities, graph.num_relations, weight, text)
    return Fitted(model, context)
