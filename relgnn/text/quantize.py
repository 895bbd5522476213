"""Weights of one byte: a language model in a quarter of float32's memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from relgnn.text.packed import replace_modules


class Int8Linear(nn.Module):
    """A linear layer over weights of one byte each, symmetric for each output channel o.

        y = x (s W8)^T + b,   W8 = round(W / s),   s_o = max_i |W_oi| / 127

    (Wu et al. 2020, Integer Quantization for Deep Learning Inference). Only storage is in int8:
    a product in int8 would need a scale of the states too, and that costs more precision.

    Args:
        layer: what it stands for.
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight, scale = quantize_rows(layer.weight.detach())
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.bias = layer.bias

    def forward(self, states: Tensor) -> Tensor:
        """Outputs in the number format of `states`."""
        weight = self.weight.to(states.dtype) * self.scale.to(states.dtype)
        return functional.linear(states, weight, self.bias)


class Int8Embedding(nn.Module):
    """An embedding table of one byte for each number, symmetric for each row."""

    weight: Tensor
    scale: Tensor

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        weight, scale = quantize_rows(table.weight.detach())
        self.padding_idx = table.padding_idx
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)

    def forward(self, ids: Tensor) -> Tensor:
        """Rows in the number format that the network was moved to."""
        return self.weight[ids] * self.scale[ids]


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix [n, m] as int8 [n, m] and scales [n, 1] of its rows.

    The scales are numbers that bfloat16 has, so that casting the network changes none of them.
    """
    largest = weight.abs().amax(1, keepdim=True)
    scale = (largest / 127).clamp(min=1e-20).bfloat16().to(weight.dtype)
    return (weight / scale).round().clamp(-127, 127).to(torch.int8), scale


def quantize(network: nn.Module) -> None:
    """Store every linear layer and embedding of `network` in int8, in place."""
    replace_modules(network, nn.Linear, Int8Linear)
    replace_modules(network, nn.Embedding, Int8Embedding)
