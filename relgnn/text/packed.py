"""A language model run without padding: the texts of one length are one matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

# More tokens at once than this no longer fit the processor's cache, and each takes longer.
CPU_TOKENS = 2048
SHORT = 64

M = TypeVar("M", bound=nn.Module)
Size = Sequence[int]
"""Texts of one length, and that length."""


class PackedNetwork:
    """Last hidden states of texts of any lengths, computed without a padding token.

    Projections, feed-forward layers and norms look at each token by itself, so one product takes
    the tokens of all texts; attention runs length by length and needs no mask. A network whose
    layers are not like BERT's runs as a whole, length by length.

    Args:
        network: a Hugging Face encoder in evaluation mode, in float32 on the CPU; is moved.
        device: where it runs.
        dtype: its number format there.
        checkpointing: see `run_layers`.
    """

    def __init__(
        self,
        network: Any,
        device: torch.device | str,
        dtype: torch.dtype,
        checkpointing: bool = False,
    ) -> None:
        self.network, self.checkpointing = network, checkpointing
        self.layered = _runs_layer_by_layer(network)
        self.device = torch.device(device)
        network.to(device=device, dtype=dtype)
        if self.device.type == "cpu" and dtype == torch.bfloat16:
            _prepack(network)

    def __call__(self, ids: Sequence[Tensor]) -> list[Tensor]:
        """States [n, l, d] of each matrix of token ids [n, l]: n texts of l tokens."""
        if self.layered:
            return _run_layers(self.network, ids, self.checkpointing)
        return [self.network(input_ids=x).last_hidden_state for x in ids]

    @torch.inference_mode()
    def read(
        self, tokens: Sequence[Sequence[int]], batch_tokens: int
    ) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Run all texts, the longest first.

        Args:
            tokens: the token ids of each text.
            batch_tokens: of all texts that run at once; on a CPU at most `CPU_TOKENS`.

        Yields:
            Numbers [n] of texts of one length, and their states [n, l, d].
        """
        if self.device.type == "cpu":
            batch_tokens = min(batch_tokens, CPU_TOKENS)
        batches = list(equal_lengths([len(ids) for ids in tokens], batch_tokens))
        order = [i for batch in batches for group in batch for i in group]
        flat = send(torch.from_numpy(np.concatenate([tokens[i] for i in order])), self.device)
        first = 0
        for batch in batches:
            ids = []
            for group in batch:
                shape = len(group), len(tokens[group[0]])
                ids.append(flat[first : first + shape[0] * shape[1]].view(shape))
                first += ids[-1].numel()
            yield from zip(batch, self(ids), strict=True)


def _run_layers(network: Any, ids: Sequence[Tensor], checkpointing: bool = False) -> list[Tensor]:
    states = torch.cat([network.embeddings(input_ids=x).flatten(0, 1) for x in ids])
    return run_layers(network.encoder.layer, states, [x.shape for x in ids], checkpointing)


def run_layers(
    layers: Iterable[Any], states: Tensor, shapes: Sequence[Size], checkpointing: bool = False
) -> list[Tensor]:
    """Some layers of BERT's kind over texts of any lengths, without padding.

    Args:
        layers: in order.
        states: [T, d], the tokens of all texts; those of one length are neighbours.
        shapes: texts and tokens of each length.
        checkpointing: keep each layer's input alone for the gradient, and compute the rest again.

    Returns:
        The last layer's states [n, l, d] of each shape.
    """
    for layer in layers:
        if checkpointing and torch.is_grad_enabled():
            states = checkpoint(_run_layer, layer, states, shapes, use_reentrant=False)
        else:
            states = _run_layer(layer, states, shapes)
    parts = states.split([n * length for n, length in shapes])
    return [part.unflatten(0, tuple(shape)) for part, shape in zip(parts, shapes, strict=True)]


def _run_layer(layer: Any, states: Tensor, shapes: Sequence[Size]) -> Tensor:
    """One layer of BERT's kind over states [T, d] of the texts of all `shapes`, in order."""
    own = layer.attention.self
    parts = (
        x.split([n * length for n, length in shapes])
        for x in (own.query(states), own.key(states), own.value(states))
    )
    mixed = []
    for shape, *texts in zip(shapes, *parts, strict=True):
        heads = (x.view(*shape, own.num_attention_heads, -1).transpose(1, 2) for x in texts)
        mixed.append(_attend(*heads).transpose(1, 2).flatten(2).flatten(0, 1))
    attended = layer.attention.output(torch.cat(mixed), states)
    last: Tensor = layer.output(layer.intermediate(attended), attended)
    return last


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q k^T / sqrt d) v; the fused kernel of a CPU is slow on many short texts."""
    if query.device.type != "cpu" or query.shape[2] > SHORT:
        return functional.scaled_dot_product_attention(query, key, value)
    scores = query * query.shape[-1] ** -0.5 @ key.transpose(-1, -2)
    return scores.softmax(-1, dtype=torch.float32).to(value.dtype) @ value


@torch.no_grad()
def _runs_layer_by_layer(network: Any) -> bool:
    """Whether its layers one by one are the network: some models do more between or within."""
    ids = torch.arange(2, 8)
    probe = [ids.view(2, 3), ids[None, :4]]
    whole = [network(input_ids=x).last_hidden_state for x in probe]
    try:
        pairs = zip(_run_layers(network, probe), whole, strict=True)
        return all(torch.allclose(a, b, rtol=1e-3, atol=1e-3) for a, b in pairs)
    except (TypeError, RuntimeError, AttributeError):
        return False


def equal_lengths(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[np.ndarray]]:
    """Batches of groups of texts, each group of one length.

    Args:
        lengths: tokens of each text; one without any is in no batch.
        batch_tokens: tokens of a batch at most; a text that is longer has a batch of its own.

    Yields:
        The groups of a batch: numbers of texts. Longest first, so that running out of memory
        shows at the start.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]
    batch: list[np.ndarray] = []
    room = batch_tokens
    for group in np.split(order, np.flatnonzero(np.diff(sizes[order])) + 1):
        while len(group):
            fitting = room // sizes[group[0]]
            if batch and fitting < 1:
                yield batch
                batch, room = [], batch_tokens
                continue
            some, group = np.split(group, [max(1, fitting)])
            batch.append(some)
            room -= sizes[some].sum()
    if batch:
        yield batch


def send(tensor: Tensor, device: torch.device | str) -> Tensor:
    """`tensor` on `device`; while it travels to a GPU, the processor goes on."""
    if torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class PrepackedLinear(nn.Module):
    """A linear layer whose weight is laid out for the processor's matrix units, once.

    torch.nn.Linear lays it out anew in every call, a tenth of the time of a small network.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight = layer.weight.detach()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, CPU_TOKENS)
        self.bias = layer.bias

    def forward(self, states: Tensor) -> Tensor:
        """states W^T + b."""
        linear = torch.ops.mkldnn._linear_pointwise
        result: Tensor = linear(states, self.weight, self.bias, "none", [], "")
        return result


def _prepack(network: nn.Module) -> None:
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        replace_modules(network, nn.Linear, PrepackedLinear)


def replace_modules(network: nn.Module, kind: type[M], make: Callable[[M], nn.Module]) -> None:
    """Put `make(module)` in the place of every module of exactly that kind."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is kind:
                setattr(parent, name, make(child))
