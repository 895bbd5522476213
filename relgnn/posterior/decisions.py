"""Triple classification: true or false, by what a model's scores of checked triples say."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from relgnn.errors import InputError
from relgnn.posterior.calibration import (
    PlattCalibrator,
    calibration_error_by_chance,
    expected_calibration_error,
    log_loss,
)
from relgnn.ranking.classification import micro_f1

PRIOR = 10.0
"""Triples of all relations that count beside a relation's own when its threshold is chosen."""


class Checked(NamedTuple):
    """Triples that are known to be true or false, and a model's scores of them.

    Args:
        scores: float [N], of any scale; higher is likelier.
        relations: int64 [N].
        labels: bool [N], whether each is true.
    """

    scores: np.ndarray
    relations: np.ndarray
    labels: np.ndarray


def relation_thresholds(valid: Checked, num_relations: int, prior: float = PRIOR) -> np.ndarray:
    """The score from which on a relation's triples are called true, float [R].

        threshold_r = argmax_c  right_r(c) + prior · right(c) / N

    where right_r(c) counts the triples of r that a cut at c decides rightly, right(c) those of all
    relations. So a relation with few triples stays near the threshold of all of them, one without
    any takes it, and one with many takes its own. Cuts lie half way between neighbouring scores,
    or beyond all of them (-inf, inf); of several best ones the middle counts.

    Args:
        valid: N triples.
        num_relations: R.
        prior: how many triples the whole counts as.

    Raises:
        InputError: the triples are all true or all false, or a score is not finite.
    """
    scores, relations, labels = valid
    if labels.all() or not labels.any():
        raise InputError(
            f"thresholds got {len(labels)} triples of one kind; give both true and false ones"
        )
    if not np.isfinite(scores).all():
        raise InputError("thresholds got a score that is NaN or infinite; drop missing ones first")
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    middles = ordered[:-1] + np.diff(ordered) / 2
    cuts = np.concatenate([[-np.inf], middles, [np.inf]])
    allowed = np.flatnonzero(np.concatenate([[True], np.diff(ordered) > 0, [True]]))
    # A cut that rises past a triple wins a false one and loses a true one.
    change = np.where(labels[order], -1, 1)
    found = np.empty(num_relations)
    whole = _risen(change)[allowed] / len(labels)
    for relation in range(num_relations):
        own = _risen(np.where(relations[order] == relation, change, 0))[allowed]
        value = own + prior * whole
        best = np.flatnonzero(value == value.max())
        found[relation] = cuts[allowed[best[len(best) // 2]]]
    return found


def classify(
    valid: Checked, test: Checked, num_relations: int, generator: np.random.Generator
) -> dict[str, float]:
    """How well triples of test are told true from false by thresholds chosen on valid alone.

    Args:
        valid: chooses thresholds and calibrates.
        test: is decided.
        num_relations: R.
        generator: of the draws behind `ece_chance`.

    Returns:
        accuracy, f1: of `relation_thresholds`, the protocol of Safavi and Koutra, CoDEx, EMNLP 2020
            (who do without the prior). F1 is of the true triples.
        macro_accuracy: the mean of accuracy over the relations that test has.
        accuracy_relation_alone: of `relation_thresholds` for scores that say nothing: what the
            relation gives away. A model is worth what it adds to that.
        accuracy_one_threshold, f1_one_threshold: of p >= .5, with p the Platt-calibrated
            probability, so of one threshold for all relations.
        ece, log_loss: of p; ece_chance: what 97.5 % of perfectly calibrated p stay below.
    """
    calibrator = PlattCalibrator().fit(valid.scores, valid.labels)
    p = calibrator(test.scores)
    own = decide(test, relation_thresholds(valid, num_relations))
    blind_valid, blind_test = (
        one._replace(scores=np.zeros(len(one.labels))) for one in (valid, test)
    )
    alone = decide(blind_test, relation_thresholds(blind_valid, num_relations))
    right = own == test.labels
    truth = test.labels.astype(float)
    return {
        "accuracy": float(right.mean()),
        "f1": micro_f1(test.labels, own, [True]),
        "macro_accuracy": float(
            np.mean([right[test.relations == one].mean() for one in np.unique(test.relations)])
        ),
        "accuracy_relation_alone": float(np.mean(alone == test.labels)),
        "accuracy_one_threshold": float(np.mean((p >= 0.5) == test.labels)),
        "f1_one_threshold": micro_f1(test.labels, p >= 0.5, [True]),
        "ece": expected_calibration_error(p, truth),
        "ece_chance": calibration_error_by_chance(p, generator)[1],
        "log_loss": log_loss(p, truth),
    }


def decide(checked: Checked, thresholds: np.ndarray) -> np.ndarray:
    """Which triples reach the threshold [R] of their relation, bool [N]."""
    return np.asarray(checked.scores >= thresholds[checked.relations])


def _risen(change: np.ndarray) -> np.ndarray:
    """What a cut below 0, 1, …, N triples wins over a cut below all of them, [N + 1]."""
    return np.concatenate([[0], np.cumsum(change)])
