"""One optimiser step: rates, clipping, and the loss scale of half precision."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from relgnn.training.checkpoint import optimizer_tensors, restore_optimizer
from relgnn.training.schedule import TrainSettings

SCALE = "scale"
"""Where the loss scale and its growth counter are kept beside the optimiser's state."""


class Stepper:
    """The optimiser of a training, with what surrounds its steps.

    In float16 small gradients vanish, so the loss is scaled up before the backward pass, and a step
    whose gradients overflow is left out (Micikevicius et al., Mixed Precision Training, 2018).

    Args:
        groups: parameters with their peak rates and weight decay.
        settings: which optimiser, the greatest gradient norm.
        device: of the parameters.
        half: whether losses are computed in float16.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        settings: TrainSettings,
        device: torch.device,
        half: bool = False,
    ) -> None:
        self.optimizer: torch.optim.Optimizer
        if settings.optimizer == "adafactor":
            self.optimizer = torch.optim.Adafactor(groups, lr=settings.lr)
        else:
            self.optimizer = torch.optim.AdamW(groups, lr=settings.lr, fused=True)
        self.clip = settings.clip
        self.peaks = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.scaler = torch.amp.GradScaler(device.type, enabled=half)

    def begin(self, factor: float) -> float:
        """Forget the last gradients and set every rate to this share of its peak; the first one."""
        for peak, group in zip(self.peaks, self.optimizer.param_groups, strict=True):
            group["lr"] = peak * factor
        self.optimizer.zero_grad(set_to_none=True)
        return self.peaks[0] * factor

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a scalar loss."""
        self.scaler.scale(loss).backward()

    def step(self) -> None:
        """Clip, and move the parameters."""
        if self.clip > 0:
            self.scaler.unscale_(self.optimizer)
            trained = [p for group in self.optimizer.param_groups for p in group["params"]]
            norm = get_total_norm([p.grad for p in trained if p.grad is not None])
            # on a GPU asking would make it wait; elsewhere a pass over all gradients is saved
            if norm.is_cuda or not norm <= self.clip:
                clip_grads_with_norm_(trained, self.clip, norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def tensors(self) -> dict[str, Tensor]:
        """What a resumed training needs of it."""
        tensors = optimizer_tensors(self.optimizer)
        if self.scaler.is_enabled():
            state = self.scaler.state_dict()
            tensors[SCALE] = torch.tensor([state["scale"], state["_growth_tracker"]])
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` gave."""
        kept = dict(tensors)
        scale = kept.pop(SCALE, None)
        restore_optimizer(self.optimizer, kept)
        if scale is not None:
            found = {"scale": float(scale[0]), "_growth_tracker": int(scale[1])}
            self.scaler.load_state_dict(self.scaler.state_dict() | found)
