"""Sparse sums over edges with learned scalar coefficients, and their gradients.

Nothing here makes an [edges, dim] tensor: sums are CSR matrix products, the gradient of the
coefficients is a sampled dense-dense product (SDDMM), and where a message is a product of two
vectors the edges are taken in chunks.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from relgnn.gnn.precision import widen

# PyTorch warns of its beta state once a process, at the first CSR tensor: let that be this one.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch.eye(1).to_sparse_csr()

CHUNK_ELEMENTS = 1 << 18


@dataclass(frozen=True, eq=False)
class SparsePattern:
    """Where a sparse [rows, columns] matrix has its entries, by rows and by columns.

    Args:
        row, column: int64 [E], the position of each entry in the caller's order.
        shape: (rows, columns).
        row_pointer, row_order: CSR pointer [rows + 1] and the entries' numbers in row order [E],
            None where the caller's order is row order.
        column_pointer, column_order: the same for the transposed matrix.
    """

    row: Tensor
    column: Tensor
    shape: tuple[int, int]
    row_pointer: Tensor
    row_order: Tensor | None
    row_indices: Tensor
    column_pointer: Tensor
    column_order: Tensor
    column_indices: Tensor

    @staticmethod
    def build(row: Tensor, column: Tensor, shape: tuple[int, int]) -> SparsePattern:
        """Sort the entries both ways, once, so that products and their gradients need no sort."""
        row_pointer, row_order = _compress(row, shape[0])
        column_pointer, column_order = _compress(column, shape[1])
        in_order = bool((row[1:] >= row[:-1]).all())
        return SparsePattern(
            row=row,
            column=column,
            shape=shape,
            row_pointer=row_pointer,
            row_order=None if in_order else row_order,
            row_indices=column[row_order].int(),
            column_pointer=column_pointer,
            column_order=column_order,
            column_indices=row[column_order].int(),
        )

    @property
    def num_entries(self) -> int:
        """Number of entries, E."""
        return self.row.numel()

    def matrix(self, values: Tensor) -> Tensor:
        """The CSR matrix with `values` [E] (caller's order) as entries."""
        return torch.sparse_csr_tensor(
            self.row_pointer,
            self.row_indices,
            values if self.row_order is None else values[self.row_order],
            self.shape,
            check_invariants=False,
        )

    def transposed(self, values: Tensor) -> Tensor:
        """The transposed CSR matrix with `values` [E] (caller's order) as entries."""
        size = (self.shape[1], self.shape[0])
        return torch.sparse_csr_tensor(
            self.column_pointer,
            self.column_indices,
            values[self.column_order],
            size,
            check_invariants=False,
        )


def _compress(index: Tensor, size: int) -> tuple[Tensor, Tensor]:
    order = torch.argsort(index, stable=True)
    pointer = torch.zeros(size + 1, dtype=torch.int32, device=index.device)
    pointer[1:] = torch.bincount(index, minlength=size).cumsum(0)
    return pointer, order


def weighted_spmm(pattern: SparsePattern, coefficient: Tensor, features: Tensor) -> Tensor:
    """Sum features over edges: out_b = A_b H, with A_b[row_e, column_e] = coefficient_b(e).

    Args:
        pattern: where the entries are, shape (N, M).
        coefficient: [E], or [B, E] for B matrices on the same pattern.
        features: H, [M, d].

    Returns:
        [N, d], or [B, N, d]. Half-precision input is summed, and returned, in float32.
    """
    features = widen(features)
    with torch.autocast(features.device.type, enabled=False):
        values = torch.atleast_2d(coefficient.to(features.dtype))
        out = _WeightedSpMM.apply(pattern, values, features)
    return out.squeeze(0) if coefficient.dim() == 1 else out


def weighted_product_spmm(
    pattern: SparsePattern, other: Tensor, coefficient: Tensor, left: Tensor, right: Tensor
) -> Tensor:
    """Sum products of vectors over edges: out[row_e] += c_e · left[column_e] ∘ right[other_e].

    Args:
        pattern: rows are where messages go, columns index `left`; shape (N, M).
        other: int64 [E], the row of `right` that each entry uses.
        coefficient: c, real [E].
        left: [M, d], real or complex.
        right: [R, d], of left's type.

    Returns:
        [N, d] of left's type.
    """
    with torch.autocast(left.device.type, enabled=False):
        values = coefficient.to(left.real.dtype)
        return _WeightedProduct.apply(pattern, other, values, left, right)


class _WeightedSpMM(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pattern: SparsePattern, coefficient: Tensor, features: Tensor) -> Tensor:
        ctx.pattern = pattern
        ctx.save_for_backward(coefficient, features)
        out = features.new_zeros(coefficient.shape[0], pattern.shape[0], features.shape[1])
        if pattern.num_entries:
            for values, place in zip(coefficient, out, strict=True):
                torch.mm(pattern.matrix(values), features, out=place)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        coefficient, features = ctx.saved_tensors
        pattern: SparsePattern = ctx.pattern
        grad_coefficient = grad_features = None
        if ctx.needs_input_grad[1]:
            grad_coefficient = torch.empty_like(coefficient)
            for b in range(coefficient.shape[0]):
                grad_coefficient[b] = sddmm(pattern, grad[b], features)
        if ctx.needs_input_grad[2]:
            grad_features = torch.zeros_like(features)
            if pattern.num_entries:
                for b, values in enumerate(coefficient):
                    grad_features.addmm_(pattern.transposed(values), grad[b])
        return None, grad_coefficient, grad_features


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


class _WeightedProduct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        pattern: SparsePattern,
        other: Tensor,
        coefficient: Tensor,
        left: Tensor,
        right: Tensor,
    ) -> Tensor:
        ctx.pattern = pattern
        ctx.save_for_backward(other, coefficient, left, right)
        out = left.new_zeros(pattern.shape[0], left.shape[1])
        for row, column, relation, scale in _chunks(pattern, other, coefficient, left.shape[1]):
            message = left.index_select(0, column).mul_(right.index_select(0, relation))
            out.index_add_(0, row, message.mul_(scale[:, None]))
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, grad: Tensor
    ) -> tuple[None, None, Tensor | None, Tensor | None, Tensor | None]:
        other, coefficient, left, right = ctx.saved_tensors
        left, right = left.conj().resolve_conj(), right.conj().resolve_conj()
        grad_left, grad_right = torch.zeros_like(left), torch.zeros_like(right)
        grads = []
        for row, column, relation, scale in _chunks(ctx.pattern, other, coefficient, left.shape[1]):
            # PyTorch's gradients of complex tensors are conjugated: that of l in l ∘ r is g ∘
            # conj(r).
            message, source = grad.index_select(0, row), left.index_select(0, column)
            to_left = right.index_select(0, relation).mul_(message)
            grads.append((to_left * source).sum(1).real)
            grad_left.index_add_(0, column, to_left.mul_(scale[:, None]))
            grad_right.index_add_(0, relation, message.mul_(source).mul_(scale[:, None]))
        grad_coefficient = torch.cat(grads) if grads else torch.zeros_like(coefficient)
        return None, None, grad_coefficient, grad_left, grad_right


def _chunks(
    pattern: SparsePattern, other: Tensor, coefficient: Tensor, width: int
) -> Iterator[tuple[Tensor, ...]]:
    fields = (pattern.row, pattern.column, other, coefficient)
    size = max(1, CHUNK_ELEMENTS // max(width, 1))
    return zip(*(field.split(size) for field in fields), strict=True)
