"""Triple classification: thresholds against an exhaustive search, and what is made of them."""

from __future__ import annotations

import numpy as np
import pytest

from relgnn.errors import InputError
from relgnn.posterior.decisions import Checked, classify, decide, relation_thresholds
from relgnn.runtime import rng


def drawn(count: int, seed: int, gap: float = 2.0) -> Checked:
    """Scores of three relations, each on a scale of its own; relation 2 has 3 triples of 100."""
    generator = np.random.default_rng(seed)
    relations = generator.choice(3, count, p=[0.6, 0.37, 0.03])
    labels = generator.random(count) < np.array([0.3, 0.8, 0.5])[relations]
    scores = generator.normal(size=count) + gap * labels + 3 * relations
    return Checked(scores, relations, labels)


def value(valid: Checked, relation: int, cut: float, prior: float) -> float:
    right = (valid.scores >= cut) == valid.labels
    return float(right[valid.relations == relation].sum() + prior * right.mean())


@pytest.mark.parametrize("prior", [0.0, 10.0])
@pytest.mark.parametrize("rounded", [False, True])
def test_thresholds_are_the_best_of_all_cuts(prior: float, rounded: bool) -> None:
    valid = drawn(300, 0)
    if rounded:  # many ties
        valid = valid._replace(scores=np.round(valid.scores))
    found = relation_thresholds(valid, 3, prior)
    some = np.unique(valid.scores)
    cuts = [-np.inf, *(some[:-1] + np.diff(some) / 2), np.inf]
    for relation in range(3):
        best = max(value(valid, relation, cut, prior) for cut in cuts)
        assert value(valid, relation, found[relation], prior) == pytest.approx(best)


def test_a_relation_without_triples_takes_the_threshold_of_all() -> None:
    valid = drawn(200, 1)
    *_, empty = relation_thresholds(valid, 4)
    right = np.mean((valid.scores >= empty) == valid.labels)
    [whole] = relation_thresholds(valid._replace(relations=valid.relations * 0), 1)
    assert right == np.mean((valid.scores >= whole) == valid.labels)


def test_a_few_triples_move_a_threshold_less_than_many() -> None:
    """Two false triples far above the threshold of all do not make their relation false."""
    many = drawn(400, 2)
    many = many._replace(relations=many.relations * 0)
    top = many.scores.max() + 1
    for copies, moved in ((2, False), (40, True)):
        valid = Checked(
            np.concatenate([many.scores, np.full(copies, top)]),
            np.concatenate([many.relations, np.ones(copies, dtype=np.int64)]),
            np.concatenate([many.labels, np.zeros(copies, dtype=bool)]),
        )
        assert (relation_thresholds(valid, 2)[1] > top) == moved


def test_a_monotone_map_of_the_scores_changes_no_decision() -> None:
    valid, test = drawn(300, 3), drawn(300, 4)
    plain = relation_thresholds(valid, 3)
    mapped = relation_thresholds(valid._replace(scores=3 * valid.scores - 7), 3)
    again = decide(test._replace(scores=3 * test.scores - 7), mapped)
    assert (again == decide(test, plain)).all()


def test_relations_on_scales_of_their_own_need_thresholds_of_their_own() -> None:
    found = classify(drawn(2000, 5), drawn(2000, 6), 3, rng("test", 0))
    assert found["accuracy"] > found["accuracy_one_threshold"] + 0.05
    assert found["accuracy"] > found["accuracy_relation_alone"] + 0.05
    # .6 · .7 + .37 · .8 + .03 · .5: the likelier answer of each relation
    assert found["accuracy_relation_alone"] == pytest.approx(0.731, abs=0.03)
    assert 0 < found["macro_accuracy"] < 1 and 0 < found["f1_one_threshold"] < found["f1"]


def test_scores_that_say_nothing_are_worth_what_the_relation_is() -> None:
    found = classify(drawn(4000, 7, gap=0.0), drawn(4000, 8, gap=0.0), 3, rng("test", 0))
    assert found["accuracy"] == pytest.approx(found["accuracy_relation_alone"], abs=0.02)


def test_test_labels_choose_nothing() -> None:
    """Turned labels of test turn every accuracy: thresholds and calibration are valid's alone."""
    valid, test = drawn(500, 9), drawn(500, 10)
    first = classify(valid, test, 3, rng("test", 0))
    turned = classify(valid, test._replace(labels=~test.labels), 3, rng("test", 0))
    several = ("accuracy_one_threshold", "accuracy_relation_alone")
    for name in ("accuracy", "macro_accuracy", *several):
        assert first[name] == pytest.approx(1 - turned[name])


def test_calibrated_probabilities_are_within_chance() -> None:
    """Relation 0 alone: scores of two normal distributions are what Platt scaling is made for."""
    one = [drawn(6000, seed) for seed in (11, 12)]
    valid, test = (Checked(*(part[x.relations == 0] for part in x)) for x in one)
    found = classify(valid, test, 1, rng("test", 0))
    assert found["ece"] < found["ece_chance"] + 0.01
    off = test._replace(scores=test.scores + 2)
    assert classify(valid, off, 1, rng("test", 0))["ece"] > 0.1


def test_what_cannot_choose_is_refused() -> None:
    valid = drawn(20, 13)
    with pytest.raises(InputError, match="20 triples of one kind"):
        relation_thresholds(valid._replace(labels=np.ones(20, dtype=bool)), 3)
    valid.scores[0] = np.nan
    with pytest.raises(InputError, match="NaN or infinite"):
        relation_thresholds(valid, 3)
