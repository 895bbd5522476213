"""Classification metrics over classes or over scores; calibration errors live in posterior."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from relgnn.errors import InputError


def micro_f1(
    truth: np.ndarray, predicted: np.ndarray, labels: Sequence[int] | None = None
) -> float:
    """Return the F1 of all decisions pooled.

    Args:
        truth: int [N], true classes.
        predicted: int [N], predicted classes.
        labels: classes that count; leave out "no relation" as relation extraction does.
    """
    return _f1(truth, predicted, labels, "micro")


def macro_f1(
    truth: np.ndarray, predicted: np.ndarray, labels: Sequence[int] | None = None
) -> float:
    """Return the mean over classes of F1; arguments as in `micro_f1`."""
    return _f1(truth, predicted, labels, "macro")


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the area under the precision-recall steps of 0/1 `labels` [N] by `scores` [N].

    Raises:
        InputError: `labels` holds one class only.
    """
    _need_both_classes(labels)
    return float(average_precision_score(labels, scores))


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return P(a positive scores above a negative), ties counted half; arguments as above.

    Raises:
        InputError: `labels` holds one class only.
    """
    _need_both_classes(labels)
    return float(roc_auc_score(labels, scores))


def _f1(
    truth: np.ndarray, predicted: np.ndarray, labels: Sequence[int] | None, average: str
) -> float:
    return float(f1_score(truth, predicted, labels=labels, average=average, zero_division=0.0))


def _need_both_classes(labels: np.ndarray) -> None:
    if len(np.unique(labels)) != 2:
        raise InputError(
            f"{len(labels)} labels are all of one class; a curve needs positives and negatives"
        )
