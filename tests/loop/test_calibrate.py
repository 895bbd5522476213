"""A probability for any triple, from the score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from relgnn.data import KnowledgeGraph, is_in
from relgnn.linkpred.features import encode_features
from relgnn.linkpred.fit import Fitted, fit_predictor
from relgnn.linkpred.supervision import Supervision
from relgnn.loop.calibrate import (
    FOLDS,
    NEGATIVES,
    _corrupted,
    _out_of_fold,
    corruptions,
    raw_scores,
    score_calibration,
)
from relgnn.loop.candidates import graph_log_probabilities
from relgnn.posterior.calibration import (
    PlattCalibrator,
    calibration_report,
    calibrator_from_json,
)
from relgnn.runtime import rng
from tests.linkpred.toy import RUNTIME, HashEncoder, toy_config, toy_facts, toy_graph


@pytest.fixture(scope="module")
def graph() -> KnowledgeGraph:
    """All facts are given, valid among them, so that there is something to be sure of."""
    return toy_graph(train=toy_facts()[0])


@pytest.fixture(scope="module")
def fitted(graph: KnowledgeGraph) -> Fitted:
    return fit_predictor(
        toy_config("train.epochs=30", "train.patience=null"), RUNTIME, graph,
        encode_features(graph, HashEncoder()), Supervision.gold(graph.train), name="toy",
    )  # fmt: skip


def test_a_score_is_the_log_probability_of_both_ends(fitted: Fitted, graph: KnowledgeGraph) -> None:
    both = graph_log_probabilities(fitted.model, fitted.graph, graph.valid)
    assert (raw_scores(fitted, graph.valid) == both.sum(1)).all()


def test_valid_is_told_from_corruptions(fitted: Fitted, graph: KnowledgeGraph) -> None:
    made = score_calibration(fitted, graph)
    assert made is not None
    probability = calibrator_from_json(made["calibrator"])
    true = probability(raw_scores(fitted, graph.valid))
    assert true.mean() > 0.6
    everything = np.array([(p, 0, t) for p in range(20) for t in range(20, 26)])
    known = {tuple(t) for t in graph.train.tolist()}
    false = np.array([t for t in everything.tolist() if tuple(t) not in known])
    assert probability(raw_scores(fitted, false)).mean() < true.mean() - 0.2
    scores = np.linspace(-15, 0, 30)
    assert (np.diff(probability(scores)) >= 0).all()


def test_the_report_is_at_even_odds(fitted: Fitted, graph: KnowledgeGraph) -> None:
    made = score_calibration(fitted, graph)
    assert made is not None
    bins = made["report"]["bins"]
    count = sum(b["count"] for b in bins)
    assert sum(b["true"] * b["count"] for b in bins) / count == pytest.approx(0.5, abs=0.05)
    assert made["report"]["ece"] < 0.3


def test_corruptions_are_ends_seen_in_that_place_of_the_relation(graph: KnowledgeGraph) -> None:
    untaught = replace(graph, train=graph.train[graph.train[:, 1] != 1], strata=None)
    found = corruptions(untaught, "valid", np.random.default_rng(0), count=3)
    known = {tuple(t) for t in untaught.filter_triples("valid").tolist()}
    generator, expected = np.random.default_rng(0), []
    for column in (0, 2):
        for triple in untaught.valid:
            seen = untaught.train[untaught.train[:, 1] == triple[1], column]
            for end in generator.choice(seen if len(seen) else untaught.num_entities, 3):
                other = triple.copy()
                other[column] = end
                if tuple(other) not in known:
                    expected.append(other)
    np.testing.assert_array_equal(found, expected)
    assert set(found[:, 1].tolist()) == {0, 1}


def test_a_calibration_repeats(fitted: Fitted, graph: KnowledgeGraph) -> None:
    assert score_calibration(fitted, graph) == score_calibration(fitted, graph)


def test_without_valid_there_is_none(fitted: Fitted, graph: KnowledgeGraph) -> None:
    assert score_calibration(fitted, replace(graph, valid=graph.valid[:0], strata=None)) is None


def test_without_a_false_triple_there_is_none(fitted: Fitted, graph: KnowledgeGraph) -> None:
    """One entity in each place of the relation: every corruption is the triple itself."""
    lone = np.array([[0, 2, 1]])
    assert score_calibration(fitted, replace(graph, train=lone, valid=lone, strata=None)) is None


def test_what_the_model_was_taught_is_left_out(fitted: Fitted, graph: KnowledgeGraph) -> None:
    whole = score_calibration(fitted, graph)
    assert whole is not None and whole["triples"] == len(graph.valid)
    assert score_calibration(fitted, graph, graph.test) == whole
    part = score_calibration(fitted, graph, np.concatenate([graph.test, graph.valid[:2]]))
    assert part is not None and part["triples"] == len(graph.valid) - 2
    assert part["calibrator"] != whole["calibrator"]
    # neither the corruptions of what was learned nor a corruption that was learned is false
    wrong, source = _corrupted(graph, "valid", rng("score calibration", 0), (0, 2), NEGATIVES)
    taught = np.concatenate([graph.valid[:2], wrong[:40]])
    found = score_calibration(fitted, graph, taught)
    wrong = wrong[(source >= 2) & ~is_in(wrong, taught)]
    true = np.repeat([True, False], [len(graph.valid) - 2, len(wrong)])
    scores = raw_scores(fitted, np.concatenate([graph.valid[2:], wrong]))
    weight = np.where(true, 1, true.sum() / (~true).sum())
    assert found is not None
    again = PlattCalibrator().fit(scores, true.astype(float), weight)
    np.testing.assert_allclose(calibrator_from_json(found["calibrator"])(scores), again(scores))
    # of a model that was taught all there is nothing to report
    everything = score_calibration(fitted, graph, graph.valid)
    assert everything == whole | {"report": None, "triples": 0}


def test_the_report_is_out_of_fold() -> None:
    """Labels that scores do not tell: one's own fold would seem to be told."""
    generator = rng("labels by chance", 0)
    scores, true = generator.normal(size=60), np.arange(60) < 20
    source = np.arange(60) % 20
    report = _out_of_fold(scores, true, source)
    p = np.empty(60)
    for k in range(FOLDS):
        own = source % FOLDS == k
        weight = np.where(true[~own], 1, true[~own].sum() / (~true[~own]).sum())
        p[own] = PlattCalibrator().fit(scores[~own], true[~own].astype(float), weight)(scores[own])
    even = np.repeat(np.arange(60), np.where(true, 2, 1))
    assert report == calibration_report(p[even], true[even].astype(float))
    # what is left of two is one class; of one there is nothing
    assert _out_of_fold(scores[:3], true[18:21], np.array([0, 1, 1])) is None
    assert _out_of_fold(scores[:2], true[19:21], np.zeros(2, dtype=int)) is None
