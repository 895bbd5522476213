"""Groups of sentences by the words that they hold, and how well each is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from relgnn.data.relations import Example
from relgnn.ranking.classification import micro_f1

NO_GROUP = -1


def groups_of(examples: Sequence[Example], groups: Mapping[str, Sequence[str]]) -> np.ndarray:
    """The first group that one of an example's words belongs to, int64 [M]; `NO_GROUP` for none.

    Args:
        examples: whose texts are looked through, for whole words, in any case.
        groups: name: words.
    """
    patterns = [
        re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)", re.IGNORECASE)
        for words in groups.values()
    ]
    return np.array(
        [
            next((i for i, one in enumerate(patterns) if one.search(example.text)), NO_GROUP)
            for example in examples
        ],
        dtype=np.int64,
    )


def group_report(
    examples: Sequence[Example],
    truth: np.ndarray,
    predicted: np.ndarray,
    groups: Mapping[str, Sequence[str]],
    labels: Sequence[int],
) -> dict[str, Any]:
    """How well each group is read.

    Args:
        examples, groups: see `groups_of`.
        truth, predicted, labels: of the examples, see `micro_f1`.

    Returns:
        by group: count, error (share of wrong answers) and micro_f1; and "gap", the largest minus
        the smallest of each, over groups that have a sentence.
    """
    own = groups_of(examples, groups)
    report: dict[str, Any] = {}
    for i, name in enumerate(groups):
        rows = own == i
        report[name] = {"count": int(rows.sum())}
        if rows.any():
            wrong = (truth[rows] != predicted[rows]).reshape(int(rows.sum()), -1).any(1)
            f1 = micro_f1(truth[rows], predicted[rows], labels)
            report[name] |= {"error": float(wrong.mean()), "micro_f1": f1}
    held = [found for found in report.values() if found["count"]]
    report["gap"] = {
        metric: max(one[metric] for one in held) - min(one[metric] for one in held)
        for metric in (held[0] if held else ())
        if metric != "count"
    }
    return report
