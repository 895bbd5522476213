"""A task small enough to train in milliseconds, with all that can go wrong in a resume: dropout,
negatives from the generator, batch norm's buffers, and a frozen parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from relgnn.training import Task


class ToyTask(Task[Tensor]):
    """Regression on 11 points; the metric is read off `valid`, or else the negative loss."""

    name = "toy"

    def __init__(
        self,
        batch_size: int = 3,
        valid: list[float] | None = None,
        on_loss: Callable[[int], None] | None = None,
        plain: bool = False,
    ) -> None:
        data = torch.Generator().manual_seed(7)
        self.x = torch.randn(11, 4, generator=data)
        self.y = self.x @ torch.randn(4, 1, generator=data)
        weights = torch.Generator().manual_seed(8)
        self._model = (
            nn.Sequential(nn.Linear(4, 1))
            if plain
            else nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
        )
        for parameter in self._model.parameters():
            parameter.data = torch.randn(parameter.shape, generator=weights)
        self.batch_size = batch_size
        self.valid = list(valid) if valid is not None else None
        self.on_loss = on_loss
        self.noise = 0.0 if plain else 0.1
        self.losses = 0

    @property
    def model(self) -> nn.Module:
        return self._model

    def num_batches(self, epoch: int) -> int:
        return -(-len(self.x) // self.batch_size)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterable[Tensor]:
        return torch.randperm(len(self.x), generator=generator).split(self.batch_size)

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        self.losses += 1
        if self.on_loss is not None:
            self.on_loss(self.losses)
        x = self.x[batch].to(generator.device)
        noise = torch.randn(x.shape, generator=generator, device=generator.device)
        error = self._model(x + self.noise * noise) - self.y[batch].to(x.device)
        return error.float().square().mean()

    def evaluate(self) -> dict[str, float]:
        if self.valid is not None:
            return {"score": self.valid.pop(0)}
        device = next(self._model.parameters()).device
        return {"score": -float((self._model(self.x.to(device)).cpu() - self.y).square().mean())}

    def items(self, batch: Tensor) -> int:
        return len(batch)
