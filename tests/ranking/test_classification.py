"""Classification metrics on cases done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from relgnn.errors import InputError
from relgnn.ranking.classification import average_precision, f1_scores, macro_f1, micro_f1

TRUTH, PREDICTED = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 0])


def test_f1_over_all_classes():
    assert micro_f1(TRUTH, PREDICTED) == pytest.approx(3 / 5)
    assert macro_f1(TRUTH, PREDICTED) == pytest.approx((1 / 2 + 4 / 5 + 0) / 3)


def test_f1_without_the_class_for_no_relation():
    # class 1: precision 2/3, recall 1; class 2: never predicted
    assert micro_f1(TRUTH, PREDICTED, labels=[1, 2]) == pytest.approx(4 / 6)
    assert macro_f1(TRUTH, PREDICTED, labels=[1, 2]) == pytest.approx(2 / 5)


def test_curves():
    labels, scores = np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1])
    assert average_precision(labels, scores) == pytest.approx((1 + 2 / 3) / 2)


def test_one_class_is_an_error():
    with pytest.raises(InputError, match="all of one class"):
        average_precision(np.ones(3), np.arange(3.0))


def test_several_labels_a_row_are_counted_one_by_one():
    draws = np.random.default_rng(0)
    truth, predicted = draws.random((2, 30, 4)) < 0.4
    truth[:, 3] = predicted[:, 3] = False
    for labels in (range(4), [0, 2]):
        found = f1_scores(truth, predicted, labels)
        for average in ("macro", "micro"):
            expected = f1_score(truth, predicted, labels=labels, average=average, zero_division=0)
            assert found[f"{average}_f1"] == pytest.approx(expected)
    # a single label is no class of two
    one = truth[:, :1]
    assert f1_scores(one, one, [0]) == {"macro_f1": 1.0, "micro_f1": 1.0}
    assert f1_scores(one, ~one, [0]) == {"macro_f1": 0.0, "micro_f1": 0.0}
