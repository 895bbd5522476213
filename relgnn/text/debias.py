"""Causal de-biasing: what entity names alone say is found out, and taken away from the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from relgnn.data.relations import Example
from relgnn.text.hiding import Hider

if TYPE_CHECKING:
    from relgnn.text.reader import Reader

GRID = tuple(i / 10 for i in range(11))


def debiased(logits: np.ndarray, of_entities: np.ndarray, share: float) -> np.ndarray:
    """logits - share · of_entities, [N, labels] (Wang et al., CoRE, 2022).

    Args:
        logits: of whole sentences.
        of_entities: of the same ones with all words but the entities' hidden: the counterfactual
            answer that names alone would give.
        share: λ.
    """
    return logits - np.float32(share) * of_entities


def best_share(
    logits: np.ndarray, of_entities: np.ndarray, score: Callable[[np.ndarray], float]
) -> float:
    """λ in 0, .1, … 1 with the highest score; the smallest one of equals.

    Args:
        logits, of_entities: of valid, see `debiased`.
        score: of logits, such as F1.
    """
    return max(GRID, key=lambda share: (score(debiased(logits, of_entities, share)), -share))


def bias_report(reader: Reader, examples: Sequence[Example]) -> dict[str, dict[str, float]]:
    """F1 of a classifier that sees the whole, the entities' names alone, and all but them.

    Returns:
        macro_f1 and micro_f1 of "full", "entity_only" and "entity_masked", before anything is
        subtracted; their "gap", full - entity_only; and "debiased", full after the subtraction.
    """
    rows, hider = reader.marker.rows(examples), Hider(reader.marker)
    full, names = reader.read(rows), reader.read(hider.entities(rows))
    seen = {
        "full": full, "entity_only": names, "entity_masked": reader.read(hider.context(rows)),
        "debiased": debiased(full, names, reader.subtract),
    }  # fmt: skip
    report = {name: reader.f1(examples, logits) for name, logits in seen.items()}
    report["gap"] = {
        metric: value - report["entity_only"][metric] for metric, value in report["full"].items()
    }
    return report
