"""A running mean of a module's weights, which a training saves and resumes."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def running_mean(module: M) -> M:
    """A copy whose trained weights are buffers, so that a saved state holds them.

    Weights that are frozen stay those of `module`.
    """
    shared = {id(p): p for p in module.parameters() if not p.requires_grad}
    mean = copy.deepcopy(module, shared)
    for part in mean.modules():
        for name, p in list(part.named_parameters(recurse=False)):
            if p.requires_grad:
                delattr(part, name)
                part.register_buffer(name, p.detach())
    return mean


@torch.no_grad()
def move(mean: nn.Module, module: nn.Module, momentum: float) -> None:
    """θ_mean ← momentum · θ_mean + (1 - momentum) · θ, of what is trained."""
    for name, p in module.named_parameters():
        if p.requires_grad:
            mean.get_buffer(name).lerp_(p, 1 - momentum)
