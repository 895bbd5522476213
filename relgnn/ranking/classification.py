"""Classification metrics over classes or over scores; calibration errors live in posterior."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import average_precision_score, f1_score

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
    truth: np.ndarray,
    predicted: np.ndarray,
    labels: Sequence[int] | None = None,
    families: Sequence[str] | None = None,
) -> float:
    """Return the mean of F1 over classes, or over families of classes.

    A family's decisions are pooled: F1 = 2 · TP / (predicted + true), TP counts exact hits, and the
    other two whatever is of the family. So the official score of SemEval-2010 Task 8 (Hendrickx
    et al., 2010: "(9+1)-way evaluation taking directionality into account") is the mean over its
    nine relations, in which a wrong direction counts as a false answer and as a missed one.

    Args:
        truth, predicted, labels: as in `micro_f1`.
        families: the family of every class; each class its own where None.
    """
    if families is None:
        return _f1(truth, predicted, labels, "macro")
    family = np.asarray(families)
    counted = range(len(family)) if labels is None else labels
    found = []
    for one in sorted({families[label] for label in counted}):
        said, true = family[predicted] == one, family[truth] == one
        hits = (truth == predicted) & true
        found.append(2 * hits.sum() / max(1, said.sum() + true.sum()))
    return float(np.mean(found))


def f1_scores(
    truth: np.ndarray,
    predicted: np.ndarray,
    labels: Sequence[int],
    families: Sequence[str] | None = None,
) -> dict[str, float]:
    """Both metrics of relation extraction; arguments as in `macro_f1`.

    With any number of labels a row, truth and predicted are bool [N, classes], what counts are
    pairs of a row and a label, and each class is a family of its own.
    """
    if truth.ndim == 2:
        families = None
    return {
        "macro_f1": macro_f1(truth, predicted, labels, families),
        "micro_f1": micro_f1(truth, predicted, labels),
    }


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the area under the precision-recall steps of 0/1 `labels` [N] by `scores` [N].

    Raises:
        InputError: `labels` holds one class only.
    """
    _need_both_classes(labels)
    return float(average_precision_score(labels, scores))


def _f1(
    truth: np.ndarray, predicted: np.ndarray, labels: Sequence[int] | None, average: str
) -> float:
    if truth.ndim == 1:
        return float(f1_score(truth, predicted, labels=labels, average=average, zero_division=0.0))
    # not f1_score, which takes a single column for two classes
    counted = range(truth.shape[1]) if labels is None else list(labels)
    true, said = (one.astype(bool)[:, counted] for one in (truth, predicted))
    hits, total = (true & said).sum(0), true.sum(0) + said.sum(0)
    if average == "micro":
        hits, total = hits.sum(), total.sum()
    return float(np.mean(2 * hits / np.maximum(1, total)))


def _need_both_classes(labels: np.ndarray) -> None:
    if len(np.unique(labels)) != 2:
        raise InputError(
            f"{len(labels)} labels are all of one class; a curve needs positives and negatives"
        )
