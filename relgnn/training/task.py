"""What a model says of itself so that the one trainer can train it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

Batch = TypeVar("Batch")


class Task(ABC, Generic[Batch]):
    """A model, its batches, its loss and its valid metrics.

    A task reads train and valid only. All its chance comes from the generators it is handed, and
    what it changes in training is in the model's buffers: so a resumed training equals an
    uninterrupted one.
    """

    name: str = "train"
    """What the progress bar and the log call it."""
    rate_keys: tuple[str, ...] = ()
    """Its keys in a configuration that tame a loss: the learning rate's, then the clip's."""

    @property
    @abstractmethod
    def model(self) -> nn.Module:
        """The module that is trained; the trainer saves it."""

    def place(self, device: torch.device) -> nn.Module:
        """Move the model to the trainer's device, and return it."""
        return self.model.to(device)

    @abstractmethod
    def num_batches(self, epoch: int) -> int:
        """How many batches `batches(epoch, …)` gives; epochs count from 0."""

    @abstractmethod
    def batches(self, epoch: int, generator: torch.Generator) -> Iterable[Batch]:
        """Give the batches of an epoch, in an order drawn from `generator` (on the CPU) alone.

        The same epoch and generator state must give the same batches: resuming inside an epoch
        draws them again and skips those already used.
        """

    @abstractmethod
    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Mean loss over the items of a batch.

        Args:
            batch: one of `batches`.
            generator: on the trainer's device, for negatives and noise.

        Returns:
            A scalar with gradient.
        """

    def evaluate(self) -> dict[str, float]:
        """Metrics on valid; called in evaluation mode, without gradients and without autocast.

        By default none, as where nothing selects.
        """
        return {}

    def stepped(self) -> None:
        """Called after every optimiser step; by default nothing."""

    def items(self, batch: Batch) -> int:
        """How many items the loss of this batch is the mean of; its weight in an accumulated step.

        The default counts every batch alike.
        """
        return 1

    def tensors(self, batch: Batch) -> dict[str, Tensor]:
        """What a person needs of a batch whose loss is not finite; the tensors that it holds."""
        parts = batch if isinstance(batch, tuple) else (batch,)
        return {str(i): part for i, part in enumerate(parts) if isinstance(part, Tensor)}

    def parameter_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """The optimiser's parameter groups; by default one with every trained parameter."""
        trained = [value for value in self.model.parameters() if value.requires_grad]
        return [{"params": trained, "lr": lr, "weight_decay": weight_decay}]


class NumberedTask(Task[Tensor]):
    """A task whose batches are numbers of its items, shuffled anew in every epoch."""

    batch_size: int
    """Items of a step; the last batch of an epoch may be smaller."""

    @property
    @abstractmethod
    def count(self) -> int:
        """How many items there are."""

    def num_batches(self, epoch: int) -> int:
        return -(-self.count // self.batch_size)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterable[Tensor]:
        return iter(torch.randperm(self.count, generator=generator).split(self.batch_size))

    def items(self, batch: Tensor) -> int:
        return len(batch)
