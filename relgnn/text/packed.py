"""A language model run without padding: the texts of one length are one matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn
from torch.utils.checkpoint import checkpoint

from relgnn.runtime import model_device, native_bf16

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
        parts = self.tokens(ids).split([x.numel() for x in ids])
        return [part.unflatten(0, x.shape) for part, x in zip(parts, ids, strict=True)]

    def tokens(self, ids: Sequence[Tensor]) -> Tensor:
        """The same states one after another, [T, d]."""
        if self.layered:
            return _run_layers(self.network, ids, self.checkpointing)
        found = [self.network(input_ids=x).last_hidden_state for x in ids]
        return torch.cat([states.flatten(0, 1) for states in found])

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


def _run_layers(network: Any, ids: Sequence[Tensor], checkpointing: bool = False) -> Tensor:
    shapes = [x.shape for x in ids]
    return run_layers(network.encoder.layer, _embedded(network, ids), shapes, checkpointing)


def _embedded(network: Any, ids: Sequence[Tensor]) -> Tensor:
    """Embeddings [T, d] of all tokens in one look-up, whose gradient is as large as its table."""
    flat = torch.cat([x.flatten() for x in ids])
    padding = network.embeddings.position_embeddings.padding_idx
    # RoBERTa's kind counts positions from the one after the padding's
    first = 0 if padding is None else padding + 1
    place = torch.cat([torch.arange(first, first + x.shape[1]).repeat(len(x)) for x in ids])
    place = send(place, flat.device)
    found: Tensor = network.embeddings(input_ids=flat[None], position_ids=place[None])[0]
    return found


def run_layers(
    layers: Iterable[Any], states: Tensor, shapes: Sequence[Size], checkpointing: bool = False
) -> Tensor:
    """Some layers of BERT's kind over texts of any lengths, without padding.

    On a GPU a launch for each length costs more than padding, so there the texts of several lengths
    are one padded matrix, for attention alone. In half precision a kernel reads them as they lie,
    but its gradients are not the same bit by bit: it serves where that is not asked for.

    Args:
        layers: in order.
        states: [T, d], the tokens of all texts; those of one length are neighbours.
        shapes: texts and tokens of each length.
        checkpointing: keep each layer's input alone for the gradient, and compute the rest again.

    Returns:
        The last layer's states [T, d].
    """
    lay = Layout(shapes, states.device) if states.is_cuda and len(shapes) > 1 else None
    for layer in layers:
        if checkpointing and torch.is_grad_enabled():
            states = checkpoint(_run_layer, layer, states, shapes, lay, use_reentrant=False)
        else:
            states = _run_layer(layer, states, shapes, lay)
    return states


def _run_layer(
    layer: Any, states: Tensor, shapes: Sequence[Size], lay: Layout | None = None
) -> Tensor:
    """One layer of BERT's kind over states [T, d] of the texts of all `shapes`, in order."""
    own = layer.attention.self
    heads = own.num_attention_heads
    projected = [own.query(states), own.key(states), own.value(states)]
    if lay is not None and _reads_as_they_lie(projected[0], heads):
        query, key, value = (part.unflatten(1, (heads, -1)) for part in projected)
        ends = lay.bounds, lay.bounds, lay.shape[1], lay.shape[1]
        lying = varlen_attn(query, key, value, *ends)
        assert isinstance(lying, Tensor)
        mixed = lying.flatten(1)
    elif lay is not None:
        padded = lay.pad(torch.stack(projected, 1).flatten(1))
        query, key, value = padded.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = lay.unpad(_attend(query, key, value, lay.kept).transpose(1, 2).flatten(2))
    else:
        mixed = _attended(projected, shapes, heads)
    attended = layer.attention.output(mixed, states)
    last: Tensor = layer.output(layer.intermediate(attended), attended)
    return last


def _reads_as_they_lie(states: Tensor, heads: int) -> bool:
    """Whether the kernel for texts without padding can be used, and may be."""
    width = states.shape[1] // heads
    return (
        states.is_cuda
        and states.dtype in (torch.bfloat16, torch.float16)
        and width % 8 == 0
        and width <= 256
        and native_bf16(states.device)  # so new a GPU the kernel needs
        and not torch.are_deterministic_algorithms_enabled()
    )


def _attended(projected: Sequence[Tensor], shapes: Sequence[Size], heads: int) -> Tensor:
    """Attention length by length: [T, d] of queries, keys and values [T, d]."""
    parts = (x.split([n * length for n, length in shapes]) for x in projected)
    mixed = []
    for shape, *texts in zip(shapes, *parts, strict=True):
        split = (x.view(*shape, heads, -1).transpose(1, 2) for x in texts)
        mixed.append(_attend(*split).transpose(1, 2).flatten(2).flatten(0, 1))
    return torch.cat(mixed)


def _attend(query: Tensor, key: Tensor, value: Tensor, kept: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt d) v over the keys that are `kept`, a bool that is spread.

    The fused kernel of a CPU is slow on many short texts.
    """
    short = query.shape[2] <= SHORT and (kept is not None or query.device.type == "cpu")
    if not short:
        return functional.scaled_dot_product_attention(query, key, value, kept)
    scores = query * query.shape[-1] ** -0.5 @ key.transpose(-1, -2)
    if kept is not None:
        scores = scores.masked_fill(~kept, float("-inf"))
    return scores.softmax(-1, dtype=torch.float32).to(value.dtype) @ value


class Layout:
    """Where the tokens of texts of several lengths stand, one after another or in a padded matrix.

    Args:
        shapes: texts and tokens of each length.
        device: where the tokens are.

    Attributes:
        shape: texts, and tokens of the longest.
    """

    def __init__(self, shapes: Sequence[Size], device: torch.device | str) -> None:
        self._lengths = torch.cat([torch.full((n,), length) for n, length in shapes])
        self.shape = len(self._lengths), int(self._lengths.max())
        self._device = device

    @cached_property
    def bounds(self) -> Tensor:
        """int32 [B + 1], where each text begins and ends."""
        ends = functional.pad(self._lengths.cumsum(0), (1, 0))
        return send(ends.int(), self._device)

    @cached_property
    def place(self) -> Tensor:
        """int64 [T], where each token stands in the padded matrix."""
        return send(self._kept.flatten().nonzero()[:, 0], self._device)

    @cached_property
    def kept(self) -> Tensor:
        """bool [B, 1, 1, L], which columns of a text are tokens."""
        return send(self._kept[:, None, None], self._device)

    @property
    def _kept(self) -> Tensor:
        return torch.arange(self.shape[1]) < self._lengths[:, None]

    def pad(self, tokens: Tensor) -> Tensor:
        """[B, L, d] of tokens [T, d], zero between them."""
        padded: Tensor = _Moved.apply(tokens, self.place, self.shape[0] * self.shape[1], True)
        return padded.unflatten(0, self.shape)

    def unpad(self, padded: Tensor) -> Tensor:
        """Tokens [T, d] of [B, L, d]."""
        tokens: Tensor = _Moved.apply(padded.flatten(0, 1), self.place, len(self.place), False)
        return tokens


class _Moved(torch.autograd.Function):
    """Rows into places or out of them; as each place has one row, one is the other's gradient.

    Indexing would not know that, and sort the places to add up what shares one.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, place: Tensor, size: int, into: bool) -> Tensor:
        ctx.save_for_backward(place)
        ctx.size, ctx.into = len(rows), into
        return _move(rows, place, size, into)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (place,) = ctx.saved_tensors
        return _move(gradients[0], place, ctx.size, not ctx.into), None, None, None


def _move(rows: Tensor, place: Tensor, size: int, into: bool) -> Tensor:
    if not into:
        return rows[place]
    moved = rows.new_zeros(size, rows.shape[1])
    moved[place] = rows
    return moved


@torch.no_grad()
def _runs_layer_by_layer(network: Any) -> bool:
    """Whether its layers one by one are the network: some models do more between or within."""
    ids = torch.arange(2, 8, device=model_device(network))
    probe = [ids.view(2, 3), ids[None, :4]]
    whole = torch.cat([network(input_ids=x).last_hidden_state.flatten(0, 1) for x in probe])
    try:
        return torch.allclose(_run_layers(network, probe), whole, rtol=1e-3, atol=1e-3)
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
