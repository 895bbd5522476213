"""Which labels a row has, and which ones its logits decide on: one, or any number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from relgnn.data.relations import Example


def labelled(
    examples: Sequence[Example], labels: int, multi_label: bool
) -> tuple[list[int], Tensor]:
    """Rows of their own, and what they state.

    Args:
        examples: with a label each.
        labels: number of labels.
        multi_label: examples that differ in the label alone become one row.

    Returns:
        the index of each row's (first) example; and the labels, int64 [M], or with `multi_label`
        float [M, labels], 1 for each that a row has.
    """
    if not multi_label:
        return list(range(len(examples))), torch.tensor([one.relation for one in examples])
    rows: dict[Example, list[int]] = {}
    for i, one in enumerate(examples):
        rows.setdefault(one._replace(relation=0), []).append(i)
    stated = torch.zeros(len(rows), labels)
    for row, members in enumerate(rows.values()):
        stated[row, [examples[i].relation for i in members]] = 1
    return [members[0] for members in rows.values()], stated


def decide(logits: np.ndarray, multi_label: bool, negative: int | None) -> np.ndarray:
    """What rows state: int [N], one label each; with `multi_label` bool [N, labels].

    Args:
        logits: [N, labels].
        multi_label: every positive label above 0, and where there is none the negative label.
        negative: the label that says "no relation".
    """
    if not multi_label:
        return logits.argmax(1)
    stated = logits > 0
    if negative is not None:
        stated[:, negative] = False
        stated[:, negative] = ~stated.any(1)
    return stated
