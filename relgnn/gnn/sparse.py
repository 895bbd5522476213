"""The pattern of a sparse matrix and differentiable sums over its entries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from relgnn.errors import InputError
from relgnn.gnn import kernels
from relgnn.gnn.precision import widen


@dataclass(frozen=True, eq=False)
class SparsePattern:
    """Where a sparse [rows, columns] matrix has its entries, by rows and by columns.

    Args:
        row, column: int64 [E], the position of each entry in the caller's order.
        shape: (rows, columns).
        row_pointer, row_order: CSR pointer [rows + 1] and the entries' numbers in row order [E],
            None where the caller's order is row order.
        row_indices: int32 [E], columns in row order.

    The same for the transposed matrix (column_pointer, column_order, column_indices) is sorted when
    it is first asked for, which is by a gradient.
    """

    row: Tensor
    column: Tensor
    shape: tuple[int, int]
    row_pointer: Tensor
    row_order: Tensor | None
    row_indices: Tensor

    @staticmethod
    def build(row: Tensor, column: Tensor, shape: tuple[int, int]) -> SparsePattern:
        """Sort the entries, once, so that products need no sort.

        Raises:
            InputError: an index out of range.
        """
        for name, index, size in (("row", row, shape[0]), ("column", column, shape[1])):
            low, high = kernels.index_range(index)
            if low < 0 or high >= size:
                raise InputError(
                    f"{name}s from {low} to {high} of a sparse matrix "
                    f"with {size}: expected numbers from 0 to {size - 1}"
                )
        in_order = bool((row[1:] >= row[:-1]).all())
        pointer, order = _compress(row, shape[0], in_order)
        indices = column if order is None else column[order]
        return SparsePattern(row, column, shape, pointer, order, indices.int())

    @cached_property
    def _by_column(self) -> tuple[Tensor, Tensor, Tensor]:
        pointer, order = _compress(self.column, self.shape[1], in_order=False)
        assert order is not None
        return pointer, order, self.row[order].int()

    @property
    def column_pointer(self) -> Tensor:
        """int32 [columns + 1]."""
        return self._by_column[0]

    @property
    def column_order(self) -> Tensor:
        """int64 [E], the entries' numbers in column order."""
        return self._by_column[1]

    @property
    def column_indices(self) -> Tensor:
        """int32 [E], rows in column order."""
        return self._by_column[2]

    @cached_property
    def transpose(self) -> SparsePattern:
        """The pattern of the transposed matrix; its entries keep their numbers."""
        return SparsePattern(
            self.column, self.row, (self.shape[1], self.shape[0]), *self._by_column
        )

    def rows(self, start: int, stop: int) -> tuple[SparsePattern, slice]:
        """The pattern of some consecutive rows, and which entries are theirs; in row order only."""
        assert self.row_order is None
        first, last = (int(self.row_pointer[i]) for i in (start, stop))
        part = SparsePattern(
            self.row[first:last] - start,
            self.column[first:last],
            (stop - start, self.shape[1]),
            self.row_pointer[start : stop + 1] - first,
            None,
            self.row_indices[first:last],
        )
        return part, slice(first, last)

    @cached_property
    def filled(self) -> tuple[SparsePattern, Tensor] | None:
        """The pattern of the rows that have entries, and their numbers, int64; in row order only.

        None where more than half of all rows have some: leaving out the others would save little.
        """
        assert self.row_order is None
        count = self.row_pointer.diff()
        rows = count.nonzero()[:, 0]
        if 2 * len(rows) > len(count):
            return None
        pattern = SparsePattern(
            torch.repeat_interleave(torch.arange(len(rows), device=rows.device), count[rows]),
            self.column,
            (len(rows), self.shape[1]),
            torch.cat([self.row_pointer[rows], self.row_pointer[-1:]]),
            None,
            self.row_indices,
        )
        return pattern, rows

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


def _compress(index: Tensor, size: int, in_order: bool) -> tuple[Tensor, Tensor | None]:
    order = None if in_order else torch.argsort(index, stable=True)
    pointer = torch.zeros(size + 1, dtype=torch.int32, device=index.device)
    pointer[1:] = torch.bincount(index, minlength=size).cumsum(0)
    return pointer, order


def weighted_spmm(
    pattern: SparsePattern,
    coefficient: Tensor,
    features: Tensor,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Sum features over edges: out_b = A_b H, with A_b[row_e, column_e] = coefficient_b(e).

    Args:
        pattern: where the entries are, shape (N, M).
        coefficient: [E], or [B, E] for B matrices on the same pattern.
        features: H, [M, d]. In half precision it is read as it is, and summed in float32.
        dtype: of the result; where it is half precision, sums are rounded once, and a gradient
            that comes so is read as it is.

    Returns:
        [N, d], or [B, N, d] (a view: a node's B sums lie together), in float32 at least where
        there is no `dtype`.
    """
    kind = torch.promote_types(features.dtype, torch.float32)
    with torch.autocast(features.device.type, enabled=False):
        values = torch.atleast_2d(coefficient.to(kind))
        out = _EdgeSum.apply(pattern, values, features, dtype).transpose(0, 1)
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
        return _ProductSum.apply(pattern, other, values, left, right)


def edge_softmax(pattern: SparsePattern, scores: Tensor) -> Tensor:
    """Softmax over the edges that end in one node: out_e = exp(s_e) / Σ_{row_f = row_e} exp(s_f).

    Args:
        pattern: its entries in row order, such as `Topology.by_node`.
        scores: s, [H, E] for H heads. Edges of score -inf are left out.
    """
    with torch.autocast(scores.device.type, enabled=False):
        return _EdgeSoftmax.apply(pattern, widen(scores))


class _EdgeSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        pattern: SparsePattern,
        coefficient: Tensor,
        features: Tensor,
        dtype: torch.dtype | None,
    ) -> Tensor:
        ctx.pattern = pattern
        ctx.save_for_backward(coefficient, features)
        return kernels.edge_sum(pattern, coefficient, features, dtype=dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        coefficient, features = ctx.saved_tensors
        if not ctx.needs_input_grad[1]:
            back = _sent_back(ctx.pattern.transpose, coefficient, grad)
            return None, None, back.to(features.dtype), None
        to_coefficient, to_features = kernels.edge_sum_gradients(
            ctx.pattern, coefficient, features, grad
        )
        return None, to_coefficient, to_features.to(features.dtype), None


def _sent_back(transpose: SparsePattern, coefficient: Tensor, grad: Tensor) -> Tensor:
    """Σ_b A_bᵀ g_b [M, d] alone, for grad [N, B, d]: cheaper than with the coefficients' own."""
    found = coefficient.new_zeros(transpose.shape[0], 1, grad.shape[2])
    for b, values in enumerate(coefficient):
        found = kernels.edge_sum(transpose, values[None], grad[:, b].contiguous(), found)
    return found.squeeze(1)


class _ProductSum(torch.autograd.Function):
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
        return kernels.product_sum(pattern, other, coefficient, left, right)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        other, coefficient, left, right = ctx.saved_tensors
        found = kernels.product_sum_gradients(ctx.pattern, other, coefficient, left, right, grad)
        return None, None, *found


class _EdgeSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pattern: SparsePattern, scores: Tensor) -> Tensor:
        ctx.pattern = pattern
        out = kernels.row_softmax(pattern, scores)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        (out,) = ctx.saved_tensors
        weighted = grad * out
        row = ctx.pattern.row.expand_as(out)
        total = out.new_zeros(len(out), ctx.pattern.shape[0]).scatter_add_(1, row, weighted)
        return None, weighted - out * total.gather(1, row)
