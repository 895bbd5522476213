"""Reading at test time equals a dense table, and its weight is chosen on valid."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from relgnn.data import KnowledgeGraph
from relgnn.linkpred.features import encode_features
from relgnn.linkpred.fit import Fitted, new_predictor
from relgnn.linkpred.reading import FLOORS, SHRINKAGE, WEIGHTS, Reading, TextReader
from relgnn.linkpred.supervision import Supervision
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


FLOOR = 0.1


def dense(reader: TextReader, reading: Reading) -> torch.Tensor:
    """[N, 2R, N] by hand."""
    table = torch.zeros(N, 2 * R, N)
    for (h, r, t), p in zip(reader.triples.tolist(), reader.p, strict=True):
        if not np.isnan(p):
            odds = float(logit(np.array(p)) - logit(reading.floor[r]))
            value = float(reading.weight[r]) * max(odds, 0.0)
            table[h, r, t] = table[t, r + R, h] = value
    return table


@pytest.mark.parametrize(
    "reading",
    [
        Reading.alike(0.5, FLOOR, R),
        Reading(np.array([2.0, 0.5, 1.0]), np.array([FLOOR, 0.01, 0.3])),
    ],
)
def test_scores_are_the_dense_ones(reader: TextReader, reading: Reading) -> None:
    heads, relations = (
        grid.flatten()
        for grid in torch.meshgrid(torch.arange(N), torch.arange(2 * R), indexing="ij")
    )
    found = reader.scores(reading)(heads, relations)
    torch.testing.assert_close(found, dense(reader, reading)[heads, relations])
    above = np.nan_to_num(reader.p) > reading.floor[reader.triples[:, 1]]
    assert (found > 0).sum() == 2 * above.sum() > 60
    order = torch.randperm(len(heads), generator=torch.Generator().manual_seed(0))[:9]
    torch.testing.assert_close(reader.scores(reading)(heads[order], relations[order]), found[order])


def test_weight_zero_says_nothing(reader: TextReader) -> None:
    heads, relations = torch.arange(N), torch.full((N,), 1)
    assert not reader.scores(Reading.alike(0.0, FLOOR, R))(heads, relations).any()


def test_a_text_that_says_nothing_scores_nothing() -> None:
    silent = TextReader(np.zeros((0, 3), dtype=np.int64), np.zeros(0), N, R)
    assert silent.scores(Reading.alike(1.0, FLOOR, R))(
        torch.tensor([0, 3]), torch.tensor([0, 5])
    ).shape == (2, N)


@pytest.fixture(scope="module")
def graph() -> KnowledgeGraph:
    return toy_graph()


@pytest.fixture(scope="module")
def fitted(graph: KnowledgeGraph) -> Fitted:
    model = new_predictor(toy_config(), RUNTIME, graph, encode_features(graph, HashEncoder()))
    context = Supervision.gold(graph.train)
    return Fitted(model, context.message_graph(graph.num_entities, graph.num_relations))


def read_valid(
    graph: KnowledgeGraph, fitted: Fitted, triples: np.ndarray, p: np.ndarray
) -> Reading:
    reader = TextReader(triples, p, graph.num_entities, graph.num_relations)
    return reader.choose(fitted, graph.valid, graph.filter_triples("valid"))


def test_a_text_that_states_valid_gets_weight(graph: KnowledgeGraph, fitted: Fitted) -> None:
    assert (read_valid(graph, fitted, graph.valid, np.full(len(graph.valid), 0.9)).weight > 0).all()


def lies_about(graph: KnowledgeGraph, relation: int | None = None) -> np.ndarray:
    known = {tuple(t) for t in graph.filter_triples("valid").tolist()}
    lies = {
        triple
        for h, r, t in graph.valid.tolist()
        for e in range(graph.num_entities)
        for triple in ((h, r, e), (e, r, t))
        if relation in (None, r)
    } - known
    return np.array(sorted(lies))


def test_a_text_that_lies_gets_none(graph: KnowledgeGraph, fitted: Fitted) -> None:
    lies = lies_about(graph)
    assert not read_valid(graph, fitted, lies, np.full(len(lies), 0.9)).weight.any()


def test_a_relation_of_which_the_text_lies_is_read_less(
    graph: KnowledgeGraph, fitted: Fitted
) -> None:
    """Valid many times over, for a toy's few triples are outvoted by those of all relations."""
    many = np.repeat(graph.valid, 20, axis=0)
    bad = int(np.bincount(graph.valid[:, 1]).argmax())
    lies = lies_about(graph, bad)
    truth = graph.valid[graph.valid[:, 1] != bad]
    triples = np.concatenate([truth, lies])
    reader = TextReader(triples, np.full(len(triples), 0.9), 26, 3)
    weight = reader.choose(fitted, many, graph.filter_triples("valid")).weight
    others = np.setdiff1d(truth[:, 1], [bad])
    assert weight[bad] == 0 and len(others) and (weight[others] > 0).all()


def test_what_is_chosen_is_the_best_of_the_grid_on_valid(
    graph: KnowledgeGraph, fitted: Fitted
) -> None:
    generator = rng("noisy text", 0)
    noise = np.column_stack([generator.integers(0, size, 200) for size in (26, 3, 26)])
    triples = np.unique(np.concatenate([graph.valid[:4], noise]), axis=0)
    p = generator.random(len(triples))
    reader = TextReader(triples, p, graph.num_entities, graph.num_relations)
    known = graph.filter_triples("valid")
    chosen = reader.choose(fitted, graph.valid, known)

    def gains(weight: float, floor: float) -> np.ndarray:
        sides = fitted.ranks(graph.valid, known, reader.scores(Reading.alike(weight, floor, 3)))
        one = np.concatenate([1 / side.realistic for side in sides.values()])
        relation = np.tile(graph.valid[:, 1], 2)
        own = np.array([one[relation == r].sum() for r in range(3)])
        return np.asarray(own + SHRINKAGE * one.mean())

    every = np.stack([gains(w, f) for w in WEIGHTS for f in FLOORS])
    taken = [gains(w, f)[r] for r, (w, f) in enumerate(zip(*vars(chosen).values(), strict=True))]
    assert taken == pytest.approx(every.max(0).tolist())


def test_without_valid_nothing_is_read(graph: KnowledgeGraph, fitted: Fitted) -> None:
    reader = TextReader(graph.test, np.full(len(graph.test), 0.9), 26, 3)
    none = np.empty((0, 3), dtype=np.int64)
    assert not reader.choose(fitted, none, graph.train).weight.any()


def test_answers_are_drawn_as_surely_as_they_are_spoken_of(graph: KnowledgeGraph) -> None:
    triples = np.repeat(graph.test[:1], 3000, axis=0)
    p = np.repeat([1.0, np.nan, 0.5], 1000)
    kept = len(TextReader(triples, p, 26, 3).drawn(rng("draw", 0)))
    assert kept > 1000 and abs(kept - 1500) < 5 * np.sqrt(250)
