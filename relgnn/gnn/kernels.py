"""Sums over the edges of a sparse pattern and their gradients, without an [edges, dim] tensor.

On the CPU they are the C++ kernels of kernels.cpp. Measured on FB15k-237's graph (544,230
messages, width 200, 2 bases, 2 threads) against what PyTorch has (CSR products through MKL and
`sampled_addmm`), those were 4 times as fast in the forward pass, because a neighbour's vector is
read once for all bases, and 3 times in the backward pass, where both gradients share one pass; a
product of two vectors was 20 times as fast as PyTorch's gather and `index_add` in chunks. `python
-m benchmarks.speed layer` measures it again. PyTorch's form serves where there is no compiler and
on CUDA, where it is cuSPARSE.
"""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from relgnn.errors import InputError
from relgnn.gnn.precision import widen
from relgnn.native import library, pointer

if TYPE_CHECKING:
    from relgnn.gnn.sparse import SparsePattern

# PyTorch warns of its beta state once a process, at the first CSR tensor: let that be this one.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch.eye(1).to_sparse_csr()

SOURCE = Path(__file__).with_suffix(".cpp")
CHUNK_ELEMENTS = {"cpu": 1 << 18, "cuda": 1 << 26}
"""Numbers of messages held at once in PyTorch's form: what a cache holds; few orders to a GPU."""


@dataclass(frozen=True, eq=False)
class Spans:
    """Consecutive rows that share a relation.

    Args:
        start: int64 [S + 1], where each span starts; the last is the number of rows.
        relation: int64 [S], different ones.
    """

    start: Tensor
    relation: Tensor

    def pieces(self) -> Iterator[tuple[int, int, int]]:
        """Relation, first row and the row after the last, span by span."""
        start = self.start.tolist()
        return zip(self.relation.tolist(), start[:-1], start[1:], strict=True)


def edge_sum(
    pattern: SparsePattern,
    coefficient: Tensor,
    features: Tensor,
    out: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """out[i, b] = Σ_{e: row_e = i} c_b(e) · h[column_e].

    Args:
        pattern: shape (N, M), E entries.
        coefficient: c, [B, E], in float32 where the features are in half precision.
        features: h, [M, d].
        out: [N, B, d], what the sums are added to, in place; zeros where None.
        dtype: of the result where there is no `out`: sums are made in the coefficients' type, and
            rounded once where that is another.

    Returns:
        [N, B, d] of `dtype`, the coefficients' type where None.
    """
    _check(pattern, coefficient, features)
    rows, (bases, entries), width = pattern.shape[0], coefficient.shape, features.shape[1]
    add, dtype = out is not None, dtype or coefficient.dtype
    native = _native(coefficient, features)
    if native is None:
        summed = _edge_sum(pattern, coefficient, widen(features))
        return summed.to(dtype) if out is None else out.add_(summed)
    coefficient, features = coefficient.contiguous(), features.contiguous()
    if out is None:
        written = _written(coefficient, dtype)
        out = coefficient.new_empty(rows, bases, width, dtype=written)
    _function(native, "sum", features, out)(
        *map(ctypes.c_int64, (rows, width, bases)),
        *map(pointer, (pattern.row_pointer, pattern.row_indices, pattern.row_order, coefficient)),
        ctypes.c_int64(entries), pointer(features), ctypes.c_bool(add), pointer(out),
    )  # fmt: skip
    return out if add else out.to(dtype)


def edge_sum_gradients(
    pattern: SparsePattern,
    coefficient: Tensor,
    features: Tensor,
    grad: Tensor,
    to_features: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Gradients of `edge_sum` for grad [N, B, d], in the type of its result: to the coefficients
    [B, E], and to h [M, d] in the coefficients' type.

    `to_features` is what the second is added to, in place; zeros where None.
    """
    rows, (bases, entries), width = pattern.shape[1], coefficient.shape, features.shape[1]
    native = _native(coefficient, features)
    grad = grad.to(_written(coefficient, grad.dtype) if native else coefficient.dtype)
    if native is None:
        found, sent = _edge_sum_gradients(pattern, coefficient, widen(features), grad)
        return found, sent if to_features is None else to_features.add_(sent)
    coefficient, features, grad = (t.contiguous() for t in (coefficient, features, grad))
    to_coefficient = torch.empty_like(coefficient)
    add = to_features is not None
    to_features = coefficient.new_empty(rows, width) if to_features is None else to_features
    _function(native, "sum_back", features, grad)(
        *map(ctypes.c_int64, (rows, width, bases)),
        *map(pointer, (pattern.column_pointer, pattern.column_indices, pattern.column_order)),
        pointer(coefficient), ctypes.c_int64(entries), *map(pointer, (grad, features)),
        ctypes.c_bool(add), *map(pointer, (to_features, to_coefficient)),
    )  # fmt: skip
    return to_coefficient, to_features


def product_sum(
    pattern: SparsePattern, other: Tensor, coefficient: Tensor, left: Tensor, right: Tensor
) -> Tensor:
    """out[i] = Σ_{e: row_e = i} c(e) · left[column_e] ∘ right[other_e].

    Args:
        pattern: shape (N, M), E entries.
        other: int64 [E], rows of `right`.
        coefficient: c, real [E].
        left: [M, d], real or complex.
        right: [R, d], of left's type.

    Returns:
        [N, d] of left's type.
    """
    _check(pattern, coefficient, left)
    low, high = index_range(other)
    if low < 0 or high >= len(right):
        raise InputError(
            f"rows from {low} to {high} of the second factor are asked "
            f"for, which has {len(right)}; give one row for each relation and each inverse"
        )
    rows, width = pattern.shape[0], left.shape[1]
    native = _native(coefficient, left)
    if native is None:
        return _product_sum(pattern, other, coefficient, left, right)
    given = (other.contiguous(), coefficient.contiguous(), _planes(left), _planes(right))
    out = left.real.new_empty(rows, given[2].shape[1])
    _function(native, "product", left)(
        *map(ctypes.c_int64, (rows, width)),
        *map(pointer, (pattern.row_pointer, pattern.row_indices, pattern.row_order)),
        *map(pointer, (*given, out)),
    )  # fmt: skip
    return _complex(out) if left.is_complex() else out


def product_sum_gradients(
    pattern: SparsePattern,
    other: Tensor,
    coefficient: Tensor,
    left: Tensor,
    right: Tensor,
    grad: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `product_sum` for grad [N, d]: to c [E], to left [M, d], to right [R, d]."""
    rows, width = left.shape
    native = _native(coefficient, left)
    if native is None:
        return _product_sum_gradients(pattern, other, coefficient, left, right, grad)
    given = (
        other.contiguous(), coefficient.contiguous(), _planes(grad), _planes(left), _planes(right),
    )  # fmt: skip
    found = (torch.empty_like(given[3]), torch.empty_like(given[4]), torch.empty_like(given[1]))
    _function(native, "product_back", left)(
        *map(ctypes.c_int64, (rows, width, right.shape[0])),
        *map(pointer, (pattern.column_pointer, pattern.column_indices, pattern.column_order)),
        *map(pointer, (*given, *found)),
    )  # fmt: skip
    to_left, to_right, to_coefficient = found
    if left.is_complex():
        to_left, to_right = _complex(to_left), _complex(to_right)
    return to_coefficient, to_left, to_right


def block_product(rows: Tensor, spans: Spans, blocks: Tensor) -> Tensor:
    """Rows times the block-diagonal matrix of their span: out_g = rows_g · diag(Q_r1 … Q_rB).

    Args:
        rows: [G, B · k].
        spans: consecutive rows and the matrix of each span.
        blocks: Q, [2R, B, k, l].

    Returns:
        [G, B · l].
    """
    _, count, k, width = blocks.shape
    out = rows.new_empty(len(rows), count * width)
    native = _native(rows, rows)
    if native is None:
        for relation, start, stop in spans.pieces():
            part = torch.bmm(_by_block(rows[start:stop], count), blocks[relation])
            _by_block(out[start:stop], count).copy_(part)
        return out
    given = (spans.start, spans.relation, rows.contiguous(), blocks.contiguous(), out)
    _function(native, "block_product", rows)(
        *map(ctypes.c_int64, (len(spans.relation), count, k, width)), *map(pointer, given)
    )
    return out


def block_gradient(rows: Tensor, spans: Spans, grad: Tensor, to_blocks: Tensor) -> None:
    """Add the gradient of `block_product` for grad [G, B · l] to that of the blocks, in place."""
    _, count, k, width = to_blocks.shape
    native = _native(rows, rows)
    if native is None:
        for relation, start, stop in spans.pieces():
            left, right = (_by_block(x[start:stop], count) for x in (rows, grad))
            to_blocks[relation].baddbmm_(left.transpose(1, 2), right)
        return
    given = (spans.start, spans.relation, rows.contiguous(), grad.contiguous(), to_blocks)
    _function(native, "block_gradient", rows)(
        *map(ctypes.c_int64, (len(spans.relation), count, k, width)), *map(pointer, given)
    )


def _by_block(rows: Tensor, blocks: int) -> Tensor:
    return rows.view(len(rows), blocks, -1).transpose(0, 1)


def row_softmax(pattern: SparsePattern, scores: Tensor) -> Tensor:
    """Softmax of scores [H, E] over the entries of each row; zeros where all of them are -inf.

    Args:
        pattern: its entries must be in row order.
        scores: float32 or float64.
    """
    heads, entries = scores.shape
    native = _native(scores, scores)
    if native is None:
        return _row_softmax(pattern, scores)
    scores = scores.contiguous()
    out = torch.empty_like(scores)
    _function(native, "softmax", scores)(
        *map(ctypes.c_int64, (pattern.shape[0], heads, entries)),
        *map(pointer, (pattern.row_pointer, scores, out)),
    )
    return out


def index_range(index: Tensor) -> tuple[int, int]:
    """The smallest and the largest of some indices; 0 and -1, which fit everywhere, of none."""
    if not index.numel():
        return 0, -1
    low, high = index.aminmax()
    return int(low), int(high)


def _check(pattern: SparsePattern, coefficient: Tensor, features: Tensor) -> None:
    """The kernels read memory by index, so what they are given must fit."""
    if coefficient.shape[-1] != pattern.num_entries or features.shape[0] != pattern.shape[1]:
        raise InputError(
            f"{coefficient.shape[-1]} coefficients and features of {features.shape[0]} nodes for a "
            f"graph of {pattern.num_entries} messages and {pattern.shape[1]} nodes; give one "
            "coefficient a message and one row a node"
        )


def _written(coefficient: Tensor, dtype: torch.dtype) -> torch.dtype:
    """What the compiled sums write where `dtype` is asked for: it, or the coefficients' type."""
    half = (coefficient.dtype, dtype) == (torch.float32, torch.bfloat16)
    return dtype if half else coefficient.dtype


def _native(coefficient: Tensor, features: Tensor) -> ctypes.CDLL | None:
    """The compiled kernels where they can serve these tensors."""
    kinds = {torch.float32: torch.float32, torch.bfloat16: torch.float32,
             torch.float64: torch.float64, torch.complex64: torch.float32,
             torch.complex128: torch.float64}  # fmt: skip
    if features.device.type != "cpu" or kinds.get(features.dtype) != coefficient.dtype:
        return None
    return library(SOURCE)


def _function(native: ctypes.CDLL, name: str, *values: Tensor) -> Any:
    """The kernel for values of these types."""
    types = (str(value.dtype).removeprefix("torch.") for value in values)
    function = native["_".join([name, *types])]
    function.restype = None
    return function


def _planes(value: Tensor) -> Tensor:
    """Rows of real numbers: a complex row's real parts, then its imaginary ones."""
    return torch.cat([value.real, value.imag], 1) if value.is_complex() else value.contiguous()


def _complex(planes: Tensor) -> Tensor:
    return torch.complex(*planes.chunk(2, 1))


def _edge_sum(pattern: SparsePattern, coefficient: Tensor, features: Tensor) -> Tensor:
    out = features.new_zeros(len(coefficient), pattern.shape[0], features.shape[1])
    if pattern.num_entries:
        for values, place in zip(coefficient, out, strict=True):
            torch.mm(pattern.matrix(values), features, out=place)
    return out.transpose(0, 1)


def _edge_sum_gradients(
    pattern: SparsePattern, coefficient: Tensor, features: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor]:
    to_features = torch.zeros_like(features)
    to_coefficient = torch.empty_like(coefficient)
    for b, values in enumerate(coefficient):
        part = grad[:, b].contiguous()
        to_coefficient[b] = sddmm(pattern, part, features)
        if pattern.num_entries:
            to_features.addmm_(pattern.transposed(values), part)
    return to_coefficient, to_features


def sddmm(pattern: SparsePattern, left: Tensor, right: Tensor) -> Tensor:
    """Inner products at the entries of a pattern: out_e = ⟨left[row_e], right[column_e]⟩.

    Args:
        pattern: shape (N, M).
        left: [N, d].
        right: [M, d].

    Returns:
        [E], in the caller's order.
    """
    zeros = left.new_zeros(pattern.num_entries)
    if pattern.num_entries == 0:
        return zeros
    if pattern.num_entries > pattern.shape[0] * pattern.shape[1]:
        # PyTorch refuses more entries than places: many relations between few nodes.
        return (left @ right.t())[pattern.row, pattern.column]
    sampled = torch.sparse.sampled_addmm(pattern.matrix(zeros), left, right.t(), beta=0.0).values()
    if pattern.row_order is None:
        return sampled
    return torch.empty_like(sampled).index_copy_(0, pattern.row_order, sampled)


def _product_sum(
    pattern: SparsePattern, other: Tensor, coefficient: Tensor, left: Tensor, right: Tensor
) -> Tensor:
    out = left.new_zeros(pattern.shape[0], left.shape[1])
    for row, column, relation, scale in _chunks(pattern, other, coefficient, left.shape[1]):
        message = left.index_select(0, column).mul_(right.index_select(0, relation))
        out.index_add_(0, row, message.mul_(scale[:, None]))
    return out


def _product_sum_gradients(
    pattern: SparsePattern,
    other: Tensor,
    coefficient: Tensor,
    left: Tensor,
    right: Tensor,
    grad: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    left, right = left.conj().resolve_conj(), right.conj().resolve_conj()
    to_left, to_right = torch.zeros_like(left), torch.zeros_like(right)
    to_coefficient = [torch.zeros_like(coefficient[:0])]
    for row, column, relation, scale in _chunks(pattern, other, coefficient, left.shape[1]):
        # PyTorch's gradients of complex tensors are conjugated: that of l in l ∘ r is g ∘ conj(r).
        message, source = grad.index_select(0, row), left.index_select(0, column)
        moved = right.index_select(0, relation).mul_(message)
        to_coefficient.append((moved * source).sum(1).real)
        to_left.index_add_(0, column, moved.mul_(scale[:, None]))
        to_right.index_add_(0, relation, message.mul_(source).mul_(scale[:, None]))
    return torch.cat(to_coefficient), to_left, to_right


def _chunks(
    pattern: SparsePattern, other: Tensor, coefficient: Tensor, width: int
) -> Iterator[tuple[Tensor, ...]]:
    fields = (pattern.row, pattern.column, other, coefficient)
    most = CHUNK_ELEMENTS.get(coefficient.device.type, CHUNK_ELEMENTS["cuda"])
    size = max(1, most // max(width, 1))
    return zip(*(field.split(size) for field in fields), strict=True)


def _row_softmax(pattern: SparsePattern, scores: Tensor) -> Tensor:
    row = pattern.row.expand_as(scores)
    most = scores.new_full((len(scores), pattern.shape[0]), -torch.inf)
    most.scatter_reduce_(1, row, scores, "amax")
    weight = (scores - most.nan_to_num(neginf=0.0).gather(1, row)).exp()
    total = torch.zeros_like(most).scatter_add_(1, row, weight)
    total = torch.where(total > 0, total, 1.0)
    return weight / total.gather(1, row)
