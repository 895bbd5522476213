"""Reading at test time equals a dense table, and its weight is chosen on valid."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from relgnn.data import KnowledgeGraph
from relgnn.linkpred.features import encode_features
from relgnn.linkpred.fit import Fitted, new_predictor
from relgnn.linkpred.task import Supervision
from relgnn.loop.reading import FLOOR, WEIGHTS, TextReader
from relgnn.posterior.fusion import logit
from relgnn.runtime import rng
from tests.linkpred.toy import RUNTIME, HashEncoder, toy_config, toy_graph

N, R = 12, 3


@pytest.fixture(scope="module")
def reader() -> TextReader:
    generator = rng("reader", 0)
    keys = generator.choice(N * R * N, 60, replace=False)
    triples = np.stack([keys // (R * N), keys // N % R, keys % N], axis=1)
    p = generator.random(60)
    p[:5] = np.nan
    p[5:10] = FLOOR / 3
    p[10] = 1.0
    return TextReader(triples, p, N, R)


def dense(reader: TextReader, weight: float) -> torch.Tensor:
    """[N, 2R, N] by hand."""
    table = torch.zeros(N, 2 * R, N)
    for (h, r, t), p in zip(reader.triples.tolist(), reader.p_text, strict=True):
        if not np.isnan(p):
            value = weight * max(float(logit(np.array(p)) - logit(np.array(FLOOR))), 0.0)
            table[h, r, t] = table[t, r + R, h] = value
    return table


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_scores_are_the_dense_ones(reader: TextReader, weight: float) -> None:
    heads, relations = (
        grid.flatten()
        for grid in torch.meshgrid(torch.arange(N), torch.arange(2 * R), indexing="ij")
    )
    found = reader.scores(weight)(heads, relations)
    expected = dense(reader, weight)[heads, relations]
    torch.testing.assert_close(found, expected)
    above = np.nan_to_num(reader.p_text) > FLOOR
    assert (found > 0).sum() == 2 * above.sum() > 90
    order = torch.randperm(len(heads), generator=torch.Generator().manual_seed(0))[:9]
    torch.testing.assert_close(reader.scores(weight)(heads[order], relations[order]), found[order])


def test_weight_zero_says_nothing(reader: TextReader) -> None:
    heads, relations = torch.arange(N), torch.full((N,), 1)
    assert not reader.scores(0.0)(heads, relations).any()


def test_a_text_that_says_nothing_scores_nothing() -> None:
    silent = TextReader(np.zeros((0, 3), dtype=np.int64), np.zeros(0), N, R)
    assert silent.scores(1.0)(torch.tensor([0, 3]), torch.tensor([0, 5])).shape == (2, N)


@pytest.fixture(scope="module")
def graph() -> KnowledgeGraph:
    return toy_graph()


@pytest.fixture(scope="module")
def fitted(graph: KnowledgeGraph) -> Fitted:
    model = new_predictor(toy_config(), RUNTIME, graph, encode_features(graph, HashEncoder()))
    context = Supervision.gold(graph.train)
    return Fitted(model, context.message_graph(graph.num_entities, graph.num_relations))


def read_valid(graph: KnowledgeGraph, fitted: Fitted, triples: np.ndarray, p: np.ndarray) -> float:
    reader = TextReader(triples, p, graph.num_entities, graph.num_relations)
    return reader.choose_weight(fitted, graph.valid, graph.filter_triples("valid"))


def test_a_text_that_states_valid_gets_weight(graph: KnowledgeGraph, fitted: Fitted) -> None:
    assert read_valid(graph, fitted, graph.valid, np.full(len(graph.valid), 0.9)) > 0


def test_a_text_that_lies_gets_none(graph: KnowledgeGraph, fitted: Fitted) -> None:
    known = {tuple(t) for t in graph.filter_triples("valid").tolist()}
    lies = {
        triple
        for h, r, t in graph.valid.tolist()
        for e in range(graph.num_entities)
        for triple in ((h, r, e), (e, r, t))
    } - known
    assert read_valid(graph, fitted, np.array(sorted(lies)), np.full(len(lies), 0.9)) == 0.0


def test_the_weight_is_the_best_on_valid(graph: KnowledgeGraph, fitted: Fitted) -> None:
    generator = rng("noisy text", 0)
    noise = np.column_stack([generator.integers(0, size, 200) for size in (26, 3, 26)])
    triples = np.unique(np.concatenate([graph.valid[:4], noise]), axis=0)
    p = generator.random(len(triples))
    reader = TextReader(triples, p, graph.num_entities, graph.num_relations)
    known = graph.filter_triples("valid")
    chosen = reader.choose_weight(fitted, graph.valid, known)

    def mrr(weight: float) -> float:
        sides = fitted.ranks(graph.valid, known, reader.scores(weight)).values()
        return float(np.mean([np.mean(1 / side.realistic) for side in sides]))

    assert mrr(chosen) == pytest.approx(max(map(mrr, WEIGHTS)))


def test_without_valid_nothing_is_read(graph: KnowledgeGraph, fitted: Fitted) -> None:
    reader = TextReader(graph.test, np.full(len(graph.test), 0.9), 26, 3)
    none = np.empty((0, 3), dtype=np.int64)
    assert reader.choose_weight(fitted, none, graph.train) == 0.0
