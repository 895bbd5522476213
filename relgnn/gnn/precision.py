"""Which precision sums are made in."""

from __future__ import annotations

import torch
from torch import Tensor


def widen(value: Tensor) -> Tensor:
    """A real tensor in float32 at least: half-precision input is widened, float64 stays."""
    return value if value.dtype == torch.float64 else value.float()


def product_dtype(value: Tensor) -> torch.dtype:
    """The type in which matrices are multiplied with `value`: its own, or autocast's inside it."""
    device = value.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else value.dtype
