"""Whether losses are finite, without making a GPU wait."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Watched:
    """A loss on its way to the processor, its batch, and its epoch and step from 0."""

    loss: Tensor
    batch: Any
    epoch: int
    step: int
    ready: torch.cuda.Event | None


class LossWatch:
    """Reports the first loss that is not finite, with the batch and step it is from.

    Reading a loss makes the processor wait until the GPU has computed it. So on CUDA a loss is
    copied in the background and read when the next one is there: the GPU then has the backward pass
    in hand. Elsewhere it is read at once.

    Args:
        report: called with the loss that is not finite; has to raise.
    """

    def __init__(self, report: Callable[[Watched, float], None]) -> None:
        self.report = report
        self.last: Watched | None = None

    def see(self, loss: Tensor, batch: Any, epoch: int, step: int) -> None:
        """Take up a scalar loss, before its gradients are used."""
        self.check()
        ready, value = None, loss.detach()
        if value.is_cuda:
            value = value.to("cpu", non_blocking=True)
            ready = torch.cuda.Event()
            ready.record()
        self.last = Watched(value, batch, epoch, step, ready)
        if ready is None:
            self.check()

    def check(self) -> None:
        """Read the loss that is still on its way; before anything computed from it is kept."""
        watched, self.last = self.last, None
        if watched is None:
            return
        if watched.ready is not None:
            watched.ready.synchronize()
        value = float(watched.loss)
        if not math.isfinite(value):
            self.report(watched, value)
