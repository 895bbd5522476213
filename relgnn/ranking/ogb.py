"""OGB's own evaluators, the only judges of its data sets."""

from __future__ import annotations

from typing import Any

import numpy as np

from relgnn.data.ogb_package import ogb_module


class OgbEvaluator:
    """What ogb's Evaluator of a data set says, as one number.

    Args:
        name: OGB's, such as "ogbl-ddi".

    Raises:
        InputError: ogb is not installed.
    """

    def __init__(self, name: str) -> None:
        module = "ogb.nodeproppred" if name.startswith("ogbn") else "ogb.linkproppred"
        self._evaluator: Any = ogb_module(module).Evaluator(name)
        self.metric = str(self._evaluator.eval_metric)
        """Its name: "hits@20", "mrr", "acc"."""

    def links(self, positive: Any, negative: Any) -> float:
        """Hits@K or MRR of true links.

        Args:
            positive: float tensor [E], scores of true links.
            negative: float tensor, scores: [M] of the false links that all are ranked among, or
                [E, K] of those that each is.
        """
        found = self._evaluator.eval({"y_pred_pos": positive, "y_pred_neg": negative})
        if self.metric in found:
            return float(found[self.metric])
        return float(found[f"{self.metric}_list"].double().mean())

    def nodes(self, labels: np.ndarray, predicted: np.ndarray) -> float:
        """Accuracy of predicted classes, int64 [n] both."""
        found = self._evaluator.eval({"y_true": labels[:, None], "y_pred": predicted[:, None]})
        return float(found[self.metric])
