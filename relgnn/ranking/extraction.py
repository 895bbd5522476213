"""Scores of extracted items, which are right as a whole or wrong: sets against sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from collections.abc import Set as AbstractSet

Item = tuple[Hashable, ...]
"""What was extracted; its last part is its label."""


def set_scores(
    truth: Sequence[AbstractSet[Item]],
    said: Sequence[AbstractSet[Item]],
    labels: Sequence[Hashable],
) -> dict[str, float]:
    """Precision, recall and F1 of extracted items.

    An item counts only where all of its parts are right. With spans and kinds of both entities in
    it, this is the strict relation score of CoNLL04 (Bekoulis et al., 2018; Taillé et al., "Let's
    stop incorrect comparisons in end-to-end relation extraction!", 2020).

    Args:
        truth, said: sets of items, sentence by sentence or document by document.
        labels: that count; an item of another one is left out.

    Returns:
        precision, recall and micro_f1 of all items pooled; macro_f1, the mean of F1 over labels.
    """
    counted = set(labels)
    hits: Counter[Hashable] = Counter()
    of_truth: Counter[Hashable] = Counter()
    of_said: Counter[Hashable] = Counter()
    for right, own in zip(truth, said, strict=True):
        for counter, items in ((hits, right & own), (of_truth, right), (of_said, own)):
            counter.update(item[-1] for item in items if item[-1] in counted)
    each = [f1_of_counts(hits[x], of_said[x], of_truth[x]) for x in labels]
    return {
        "precision": hits.total() / max(1, of_said.total()),
        "recall": hits.total() / max(1, of_truth.total()),
        "micro_f1": f1_of_counts(hits.total(), of_said.total(), of_truth.total()),
        "macro_f1": sum(each) / max(1, len(each)),
    }


def f1_of_counts(hits: int, said: int, true: int) -> float:
    """2 · hits / (said + true); 0 where nothing was said and nothing was true."""
    return 2 * hits / max(1, said + true)
