"""Sparse sums: against dense matrices, gradcheck, chunks, empty and half-precision input."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from relgnn.gnn import sparse
from relgnn.gnn.sparse import SparsePattern, sddmm, weighted_product_spmm, weighted_spmm
from tests.gnn.references import normal

ROWS, COLUMNS, OTHERS, EDGES, WIDTH = 5, 4, 3, 17, 6


def random_index(size: int, seed: int) -> Tensor:
    return torch.randint(size, (EDGES,), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=[False, True], ids=["any order", "row order"])
def pattern(request: pytest.FixtureRequest) -> SparsePattern:
    row = random_index(ROWS, 1)
    if request.param:
        row = row.sort().values
    return SparsePattern.build(row, random_index(COLUMNS, 2), (ROWS, COLUMNS))


def dense(pattern: SparsePattern, values: Tensor) -> Tensor:
    index = (pattern.row, pattern.column)
    return values.new_zeros(pattern.shape).index_put(index, values, accumulate=True)


def test_spmm_is_the_dense_product(pattern: SparsePattern) -> None:
    values, features = normal(2, EDGES), normal(COLUMNS, WIDTH)
    expected = torch.stack([dense(pattern, v) @ features for v in values])
    torch.testing.assert_close(weighted_spmm(pattern, values, features), expected)
    torch.testing.assert_close(weighted_spmm(pattern, values[0], features), expected[0])


def test_both_matrices_hold_the_same_entries(pattern: SparsePattern) -> None:
    values = normal(EDGES)
    expected = dense(pattern, values)
    torch.testing.assert_close(pattern.matrix(values).to_dense(), expected)
    torch.testing.assert_close(pattern.transposed(values).to_dense(), expected.t())


def test_sddmm_is_the_inner_product_of_each_edge(pattern: SparsePattern) -> None:
    left, right = normal(ROWS, WIDTH), normal(COLUMNS, WIDTH, seed=1)
    expected = (left[pattern.row] * right[pattern.column]).sum(1)
    torch.testing.assert_close(sddmm(pattern, left, right), expected)


def test_there_may_be_more_entries_than_places() -> None:
    """As in small graphs with many relations, such as Nations and Kinships."""
    row, column = random_index(2, 1), random_index(3, 2)
    crowded = SparsePattern.build(row, column, (2, 3))
    left = normal(2, WIDTH, dtype=torch.float64).requires_grad_()
    right = normal(3, WIDTH, seed=1, dtype=torch.float64).requires_grad_()
    torch.testing.assert_close(sddmm(crowded, left, right), (left[row] * right[column]).sum(1))
    values = normal(2, EDGES, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda c, h: weighted_spmm(crowded, c, h), (values, right))


def test_gradients_of_spmm(pattern: SparsePattern) -> None:
    values = normal(2, EDGES, dtype=torch.float64).requires_grad_()
    features = normal(COLUMNS, WIDTH, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda c, h: weighted_spmm(pattern, c, h), (values, features))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_product_and_its_gradients(pattern: SparsePattern, dtype: torch.dtype) -> None:
    other = random_index(OTHERS, 3)
    values = normal(EDGES, dtype=torch.float64).requires_grad_()
    left = normal(COLUMNS, WIDTH, dtype=dtype).requires_grad_()
    right = normal(OTHERS, WIDTH, seed=1, dtype=dtype).requires_grad_()

    def product(c: Tensor, h: Tensor, z: Tensor) -> Tensor:
        return weighted_product_spmm(pattern, other, c, h, z)

    sent = left[pattern.column] * right[other] * values[:, None]
    expected = torch.zeros(ROWS, WIDTH, dtype=dtype).index_add(0, pattern.row, sent)
    torch.testing.assert_close(product(values, left, right), expected)
    assert torch.autograd.gradcheck(product, (values, left, right))


def test_chunked_is_whole(pattern: SparsePattern, monkeypatch: pytest.MonkeyPatch) -> None:
    given = [normal(EDGES), normal(COLUMNS, WIDTH), normal(OTHERS, WIDTH)]

    def run() -> list[Tensor]:
        inputs = [tensor.clone().requires_grad_() for tensor in given]
        out = weighted_product_spmm(pattern, random_index(OTHERS, 3), *inputs)
        return [out, *torch.autograd.grad(out.square().sum(), inputs)]

    whole = run()
    monkeypatch.setattr(sparse, "CHUNK_ELEMENTS", 3 * WIDTH)
    torch.testing.assert_close(run(), whole)


def test_no_entries_give_zeros_and_gradients() -> None:
    none = torch.empty(0, dtype=torch.int64)
    pattern = SparsePattern.build(none, none, (ROWS, COLUMNS))
    values = torch.empty(2, 0, requires_grad=True)
    features = normal(COLUMNS, WIDTH).requires_grad_()
    right = normal(OTHERS, WIDTH).requires_grad_()
    out = weighted_spmm(pattern, values, features).sum(0)
    out = out + weighted_product_spmm(pattern, none, values[0], features, right)
    out.sum().backward()
    assert out.shape == (ROWS, WIDTH)
    assert not out.any()
    assert features.grad is not None and not features.grad.any()


def test_half_precision_is_summed_in_float32(pattern: SparsePattern) -> None:
    values, features = normal(EDGES).bfloat16(), normal(COLUMNS, WIDTH).bfloat16()
    out = weighted_spmm(pattern, values, features)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, dense(pattern, values.float()) @ features.float())


def test_only_the_gradients_that_are_asked_for(pattern: SparsePattern) -> None:
    values, features = normal(EDGES), normal(COLUMNS, WIDTH).requires_grad_()
    weighted_spmm(pattern, values, features).sum().backward()
    assert values.grad is None
    assert features.grad is not None
