"""Classification metrics on cases done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from relgnn.errors import InputError
from relgnn.ranking.classification import average_precision, macro_f1, micro_f1, roc_auc

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
    assert roc_auc(labels, scores) == pytest.approx(3 / 4)
    assert average_precision(labels, scores) == pytest.approx((1 + 2 / 3) / 2)
    assert roc_auc(labels, np.zeros(4)) == pytest.approx(1 / 2)


@pytest.mark.parametrize("metric", [average_precision, roc_auc])
def test_one_class_is_an_error(metric):
    with pytest.raises(InputError, match="all of one class"):
        metric(np.ones(3), np.arange(3.0))
