"""The contract of an objective, and what a training step shows it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from relgnn.text.classifier import RelationClassifier
from relgnn.text.rows import RowBatch


class Supervised(Protocol):
    """The supervised loss of a batch."""

    def __call__(self, logits: Tensor, labels: Tensor, members: Tensor | None = None) -> Tensor:
        """Of logits [M, outputs] under labels [M]; M is B, or as many as there are members."""


@dataclass(frozen=True)
class Step:
    """One batch, as the classifier saw it.

    Args:
        model: the classifier, in training mode.
        rows: the batch's rows.
        index: int64 [B], which training rows they are.
        labels: int64 [B].
        embeddings: [B, L, d], the tokens' embeddings that gave the vectors.
        vectors: [B, width], see `RelationClassifier.represent`.
        logits: [B, outputs].
        loss: scalar, the supervised loss of these logits.
        supervised: mean supervised loss of logits under labels, each times its row's weight: of all
            rows, or of `members` (bool [B], or int64 [M], whose weights count in that order) alone.
        generator: of an objective's draws, on the trainer's device.
    """

    model: RelationClassifier
    rows: RowBatch
    index: Tensor
    labels: Tensor
    embeddings: Tensor
    vectors: Tensor
    logits: Tensor
    loss: Tensor
    supervised: Supervised
    generator: torch.Generator


class Objective(nn.Module, ABC):
    """A term of the loss.

    What it learns are its parameters, and what it remembers its buffers (frozen parameters are not
    kept): they are saved and resumed with the classifier, and thrown away when the training has
    ended.
    """

    moves_embeddings: bool = False
    """Whether it needs the gradient of the step's loss by `Step.embeddings`, frozen ones too."""

    @abstractmethod
    def forward(self, step: Step) -> Tensor:
        """A scalar with gradient, which is added to the supervised loss."""

    def stepped(self, model: RelationClassifier) -> None:
        """Called after every optimiser step, such as to move an average of the weights."""
