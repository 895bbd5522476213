"""Classifiers of different initialisation and dropout that vote by their probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from relgnn.config import TuningConfig
from relgnn.runtime import torch_rng
from relgnn.text.classifier import RelationClassifier
from relgnn.text.rows import RowBatch


class Ensemble(nn.Module):
    """A deep ensemble (Lakshminarayanan et al., 2017): p = 1/K · Σ_k softmax(z_k).

    Where rows have several labels, each label's p is the mean of sigmoids.

    Args:
        members: K classifiers over the same labels.
    """

    def __init__(self, members: Sequence[RelationClassifier]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    @property
    def settings(self) -> TuningConfig:
        """How each was tuned."""
        return self._first.settings

    @property
    def outputs(self) -> int:
        """Number of labels."""
        return self._first.outputs

    @property
    def device(self) -> torch.device:
        """Where its rows have to be."""
        return self._first.device

    @property
    def _first(self) -> RelationClassifier:
        first = self.members[0]
        assert isinstance(first, RelationClassifier)
        return first

    def forward(self, batch: RowBatch) -> Tensor:
        """Logits [B, outputs] of p: log p, or with several labels log p / (1 - p)."""
        logits = torch.stack([member(batch) for member in self.members])
        if self.settings.multi_label:
            yes, no = (functional.logsigmoid(x).logsumexp(0) for x in (logits, -logits))
            return yes - no
        return logits.log_softmax(2).logsumexp(0) - math.log(len(self.members))


def member_seed(seed: int, member: int) -> int:
    """The seed of a member's initialisation, order and dropout; the first one has the run's."""
    if member == 0:
        return seed
    return int(torch_rng(f"ensemble/{member}", seed).initial_seed())
