"""Which library sums over edges: our own kernels, PyTorch Geometric or DGL.

The layers rest on the two sums of `relgnn.gnn.sparse`; a backend is whatever has both. All give the
same numbers: the other libraries are a second opinion on ours, and its peers in benchmarks.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from relgnn.errors import InputError
from relgnn.gnn import sparse
from relgnn.gnn.precision import widen
from relgnn.gnn.sparse import SparsePattern
from relgnn.runtime import optional_import


class Backend(Protocol):
    """The two sums over edges; `relgnn.gnn.sparse` has their equations, shapes and types."""

    def weighted_spmm(
        self,
        pattern: SparsePattern,
        coefficient: Tensor,
        features: Tensor,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Sum features over edges."""

    def weighted_product_spmm(
        self,
        pattern: SparsePattern,
        other: Tensor,
        coefficient: Tensor,
        left: Tensor,
        right: Tensor,
    ) -> Tensor:
        """Sum products of vectors over edges."""


class LibraryBackend(ABC):
    """Both sums from a single one, which is what graph libraries offer."""

    @abstractmethod
    def gather_sum(self, pattern: SparsePattern, features: Tensor, edge: Tensor) -> Tensor:
        """Sum products over edges: out_b[row_e] += features[column_e] ∘ edge_b[e].

        Args:
            pattern: shape (N, M).
            features: [M, d], real or complex.
            edge: [B, E, d] or [B, E, 1], of features' type.

        Returns:
            [B, N, d].
        """

    def weighted_spmm(
        self,
        pattern: SparsePattern,
        coefficient: Tensor,
        features: Tensor,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Sum features over edges; see `relgnn.gnn.sparse.weighted_spmm`."""
        features = widen(features)
        with torch.autocast(features.device.type, enabled=False):
            values = torch.atleast_2d(coefficient.to(features.dtype))
            out = self.gather_sum(pattern, features, values.unsqueeze(-1))
        out = out.to(dtype or features.dtype)
        return out.squeeze(0) if coefficient.dim() == 1 else out

    def weighted_product_spmm(
        self,
        pattern: SparsePattern,
        other: Tensor,
        coefficient: Tensor,
        left: Tensor,
        right: Tensor,
    ) -> Tensor:
        """Sum products over edges; see `relgnn.gnn.sparse.weighted_product_spmm`."""
        with torch.autocast(left.device.type, enabled=False):
            scale = coefficient.to(left.real.dtype)
            edge = right.index_select(0, other) * scale.unsqueeze(-1)
            return self.gather_sum(pattern, left, edge.unsqueeze(0)).squeeze(0)


class PyGBackend(LibraryBackend):
    """PyTorch Geometric's message passing with sum aggregation; makes [B, E, d] tensors."""

    def __init__(self) -> None:
        with optional_import("pyg"):
            from torch_geometric.nn import MessagePassing

        class EdgeProduct(MessagePassing):
            # PyG reads from the call of `propagate` in `forward` what it hands to `message`.
            def forward(
                self, x: Tensor, edge_index: Tensor, edge: Tensor, size: tuple[int, int]
            ) -> Tensor:
                return self.propagate(edge_index, x=x, edge=edge, size=size)

            def message(self, x_j: Tensor, edge: Tensor) -> Tensor:
                return x_j * edge

        self._layer = EdgeProduct(aggr="sum", node_dim=-2)

    def gather_sum(self, pattern: SparsePattern, features: Tensor, edge: Tensor) -> Tensor:
        """See `LibraryBackend.gather_sum`."""
        edge_index = torch.stack([pattern.column, pattern.row])
        size = (pattern.shape[1], pattern.shape[0])
        out: Tensor = self._layer(features, edge_index, edge, size)
        return out


class DGLBackend(LibraryBackend):
    """DGL's g-SpMM, u_mul_e_sum; its gradient of real coefficients is a g-SDDMM."""

    def __init__(self) -> None:
        self._dgl: Any = import_dgl()
        self._graphs: WeakKeyDictionary[SparsePattern, Any] = WeakKeyDictionary()

    def gather_sum(self, pattern: SparsePattern, features: Tensor, edge: Tensor) -> Tensor:
        """See `LibraryBackend.gather_sum`."""
        graph, total = self._graph(pattern), self._dgl.ops.u_mul_e_sum
        if not features.is_complex():
            # A basis at a time: only then does DGL's gradient make no [B, E, d] tensor.
            return torch.stack([total(graph, features, values) for values in edge])
        # DGL has no complex numbers: [d, 2, 1] by [d, 1, 2] gives all four products of the parts.
        u = torch.view_as_real(features.resolve_conj()).unsqueeze(-1)
        e = torch.view_as_real(edge).unsqueeze(-2)
        parts = torch.stack([total(graph, u, values) for values in e])
        real = parts[..., 0, 0] - parts[..., 1, 1]
        return torch.complex(real, parts[..., 0, 1] + parts[..., 1, 0])

    def _graph(self, pattern: SparsePattern) -> Any:
        if pattern not in self._graphs:
            # Two node types, so that rows and columns may differ in number.
            self._graphs[pattern] = self._dgl.heterograph(
                {("column", "entry", "row"): (pattern.column, pattern.row)},
                num_nodes_dict={"row": pattern.shape[0], "column": pattern.shape[1]},
            )
        return self._graphs[pattern]


def import_dgl() -> ModuleType:
    """The module `dgl`.

    Raises:
        InputError: it is not installed, or not for this version of PyTorch.
    """
    # Left unset, DGL writes its choice into a file in the user's home.
    os.environ.setdefault("DGLBACKEND", "pytorch")
    with optional_import("dgl"):
        import dgl
    return dgl


def _native() -> Backend:
    return sparse


# Made once each, when first chosen: what they import takes seconds, and they keep graphs.
BACKENDS: dict[str, Callable[[], Backend]] = {
    "native": _native,
    "pyg": cache(PyGBackend),
    "dgl": cache(DGLBackend),
}

_current: Backend = _native()


def set_backend(name: str) -> None:
    """Choose the backend of the whole process.

    Args:
        name: a key of BACKENDS; "native" where nobody chose.

    Raises:
        InputError: no backend has that name, or its library cannot be imported.
    """
    global _current
    if name not in BACKENDS:
        raise InputError(f"backend '{name}': expected one of {', '.join(BACKENDS)}")
    _current = BACKENDS[name]()


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Choose the backend of the whole process within this context; see `set_backend`.

    A backward pass uses the backend of its forward pass, wherever it runs.
    """
    global _current
    before = _current
    set_backend(name)
    try:
        yield
    finally:
        _current = before


def weighted_spmm(
    pattern: SparsePattern,
    coefficient: Tensor,
    features: Tensor,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Sum features over edges with the chosen backend; see `relgnn.gnn.sparse.weighted_spmm`."""
    return _current.weighted_spmm(pattern, coefficient, features, dtype)


def weighted_product_spmm(
    pattern: SparsePattern, other: Tensor, coefficient: Tensor, left: Tensor, right: Tensor
) -> Tensor:
    """Sum products over edges with the chosen backend.

    See `relgnn.gnn.sparse.weighted_product_spmm`.
    """
    return _current.weighted_product_spmm(pattern, other, coefficient, left, right)
