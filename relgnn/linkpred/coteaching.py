"""Two predictors that choose each other's accepted targets."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from relgnn.config.signals import CoteachingConfig
from relgnn.linkpred.model import LinkPredictor
from relgnn.linkpred.task import LinkPredictionTask
from relgnn.training.task import Task

Chosen = tuple[Tensor, float]
"""The numbers of a batch's queries, and the share of its accepted ones that is trained on."""


class CoteachingTask(Task[Chosen]):
    """Co-teaching: each student is trained on what the other finds likely.

    In epoch n a step keeps R(n) = 1 − forget · min(1, n / ramp) of its accepted targets: for either
    student those whose cross-entropy under the other is least, whatever loss trains. Networks learn
    what is regular first and memorise wrong labels later, and two that started apart err apart.
    Gold is always kept. Han et al., Co-teaching: Robust Training of Deep Neural Networks with
    Extremely Noisy Labels, NeurIPS 2018.

    The loss is the sum of both students'. The first one is the result, and is what valid ranks.

    Args:
        first: the student that is the result, with its supervision.
        second: a student of another initialisation.
        settings: forget and ramp.
    """

    def __init__(
        self, first: LinkPredictionTask, second: LinkPredictor, settings: CoteachingConfig
    ) -> None:
        self.name, self.rate_keys = first.name, first.rate_keys
        self.students = (first, first.twin(second))
        self.settings = settings
        self._both = nn.ModuleList([student.model for student in self.students])

    @property
    def model(self) -> nn.Module:
        return self._both

    def num_batches(self, epoch: int) -> int:
        return self.students[0].num_batches(epoch)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterable[Chosen]:
        kept = 1 - self.settings.forget * min(1.0, epoch / self.settings.ramp)
        return ((batch, kept) for batch in self.students[0].batches(epoch, generator))

    def items(self, batch: Chosen) -> int:
        return len(batch[0])

    def loss(self, batch: Chosen, generator: torch.Generator) -> Tensor:
        queries, share = batch
        seen = [student.see(queries, generator) for student in self.students]
        pseudo = self.students[0].pseudo[seen[0].batch]
        kept = [least(-one.scored.log_odds().detach(), pseudo, share) for one in seen]
        first, second = self.students
        return first.loss_of(seen[0], generator, kept[1]) + second.loss_of(
            seen[1], generator, kept[0]
        )

    def evaluate(self) -> dict[str, float]:
        return self.students[0].evaluate()


def least(losses: Tensor, pseudo: Tensor, share: float) -> Tensor:
    """Which targets a student keeps, bool [B]: all gold, and a share of the others, rounded up.

    Args:
        losses: [B]; of equal ones the first are kept.
        pseudo: bool [B].
        share: in (0, 1].
    """
    rows = pseudo.nonzero().squeeze(1)
    # The margin keeps 0.7 · 10 from being 8 where it is 7.000000000000001.
    count = math.ceil(share * len(rows) - 1e-9)
    kept = ~pseudo
    kept[rows[losses[rows].argsort(stable=True)[:count]]] = True
    return kept
