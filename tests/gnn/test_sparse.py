"""Sparse sums, compiled and not: against dense matrices, gradcheck, chunks, errors."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from relgnn import native
from relgnn.errors import InputError
from relgnn.gnn import kernels
from relgnn.gnn.kernels import sddmm
from relgnn.gnn.sparse import SparsePattern, edge_softmax, weighted_product_spmm, weighted_spmm
from tests.gnn.references import normal

ROWS, COLUMNS, OTHERS, EDGES, WIDTH = 5, 4, 3, 17, 6


@pytest.fixture(params=["compiled", "PyTorch"], autouse=True)
def form(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "compiled":
        if native.library(kernels.SOURCE) is None:
            pytest.skip("no compiler")
        yield
    else:
        with native.disabled():
            yield


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


def test_rows_without_an_entry_can_be_left_out(form: None) -> None:
    row, column = random_index(ROWS, 1).sort().values * 3, random_index(COLUMNS, 2)
    values, features = normal(2, EDGES), normal(COLUMNS, WIDTH)
    assert SparsePattern.build(row // 3, column, (ROWS, COLUMNS)).filled is None
    pattern = SparsePattern.build(row, column, (3 * ROWS, COLUMNS))
    assert pattern.filled is not None
    some, rows = pattern.filled
    whole = weighted_spmm(pattern, values, features)
    assert torch.equal(rows, row.unique())
    torch.testing.assert_close(weighted_spmm(some, values, features), whole[:, rows])
    assert whole.abs().sum((0, 2)).count_nonzero() == len(rows)


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
    monkeypatch.setitem(kernels.CHUNK_ELEMENTS, "cpu", 3 * WIDTH)
    torch.testing.assert_close(run(), whole)


@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
def test_kernels_compile_where_there_is_a_compiler() -> None:
    assert native._load(kernels.SOURCE) is not None


def test_edge_softmax_sums_to_one_at_every_node_and_has_the_right_gradient() -> None:
    row = random_index(ROWS - 1, 1).sort().values
    pattern = SparsePattern.build(row, random_index(COLUMNS, 2), (ROWS, COLUMNS))
    scores = (20 * normal(2, EDGES, dtype=torch.float64)).requires_grad_()
    out = edge_softmax(pattern, scores)
    for node in range(ROWS - 1):
        torch.testing.assert_close(out[:, row == node], scores[:, row == node].softmax(1))
    assert torch.autograd.gradcheck(lambda s: edge_softmax(pattern, s / 20), (scores,))


def test_edge_softmax_leaves_removed_edges_out() -> None:
    pattern = SparsePattern.build(torch.tensor([0, 0, 0]), torch.tensor([0, 1, 2]), (1, 3))
    out = edge_softmax(pattern, torch.tensor([[1.0, -torch.inf, 1.0]]))
    torch.testing.assert_close(out, torch.tensor([[0.5, 0.0, 0.5]]))


def test_features_that_do_not_fit_the_graph_are_an_error(pattern: SparsePattern) -> None:
    with pytest.raises(InputError, match="one row a node"):
        weighted_spmm(pattern, normal(EDGES), normal(COLUMNS - 1, WIDTH))
    with pytest.raises(InputError, match="one coefficient a message"):
        weighted_spmm(pattern, normal(EDGES + 1), normal(COLUMNS, WIDTH))
    with pytest.raises(InputError, match="one row for each relation"):
        other = torch.full((EDGES,), OTHERS)
        weighted_product_spmm(
            pattern, other, normal(EDGES), normal(COLUMNS, WIDTH), normal(OTHERS, WIDTH)
        )


def test_nan_features_reach_only_the_rows_that_read_them(pattern: SparsePattern) -> None:
    features = normal(COLUMNS, WIDTH)
    features[0] = torch.nan
    touched = torch.zeros(ROWS, dtype=torch.bool)
    touched[pattern.row[pattern.column == 0]] = True
    out = weighted_spmm(pattern, normal(EDGES), features)
    assert torch.equal(out.isnan().any(1), touched)


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


@given(
    shape=st.tuples(*(st.integers(1, top) for top in (9, 9, 40, 150, 6))),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    half=st.sampled_from([None, torch.bfloat16, torch.float16]),
    seed=st.integers(0, 99),
)
def test_compiled_equals_pytorch_at_any_width(
    shape: tuple[int, ...], dtype: torch.dtype, half: torch.dtype | None, seed: int
) -> None:
    rows, columns, edges, width, bases = shape
    generator = torch.Generator().manual_seed(seed)
    row, column = (torch.randint(n, (edges,), generator=generator) for n in (rows, columns))
    pattern = SparsePattern.build(row, column, (rows, columns))
    kind = torch.promote_types(dtype, torch.float32)
    values = torch.randn(bases, edges, generator=generator, dtype=kind)
    features = torch.randn(columns, width, generator=generator).to(dtype)
    grad = torch.randn(rows, bases, width, generator=generator, dtype=kind).to(half or kind)

    def run() -> list[Tensor]:
        gradients = kernels.edge_sum_gradients(pattern, values, features, grad)
        return [kernels.edge_sum(pattern, values, features, dtype=half), *gradients]

    compiled = run()
    with native.disabled():
        plain = run()
    assert [one.dtype for one in compiled] == [half or kind, kind, kind]
    # where sums differ in their last bit, half precision may round them to neighbours
    nearby = {"rtol": 1e-2, "atol": 1e-2} if half else {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(compiled[0], plain[0], **nearby)
    torch.testing.assert_close(compiled[1:], plain[1:], rtol=1e-4, atol=1e-4)


def test_sums_are_rounded_as_pytorch_rounds_them() -> None:
    """Ties to the even number, numbers too large to infinity, and what is no number stays none."""
    bits = torch.randint(-(2**31), 2**31, (1 << 16,), dtype=torch.int64).to(torch.int32)
    special = [0x3F808000, 0x3F818000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x00008000]
    numbers = torch.cat([torch.tensor(special, dtype=torch.int32), bits]).view(torch.float32)
    one = torch.zeros(1, dtype=torch.int64)
    pattern = SparsePattern.build(one, one, (1, 1))
    out = kernels.edge_sum(pattern, torch.ones(1, 1), numbers[None], dtype=torch.bfloat16)
    expected = numbers.bfloat16()
    assert torch.equal(out.flatten().isnan(), expected.isnan())
    assert torch.equal(out.flatten().nan_to_num(), expected.nan_to_num())


def test_half_results_have_the_gradients_of_full_ones(pattern: SparsePattern) -> None:
    found = []
    for dtype in (None, torch.bfloat16):
        values, h = normal(2, EDGES).requires_grad_(), normal(COLUMNS, WIDTH).requires_grad_()
        out = weighted_spmm(pattern, values, h, dtype)
        assert out.dtype == (dtype or torch.float32)
        (out * normal(2, ROWS, WIDTH, seed=3).bfloat16()).sum().backward()
        found.append((values.grad, h.grad))
    torch.testing.assert_close(*found)


def test_the_number_of_threads_changes_no_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    row, column, other = (torch.randint(n, (5000,), generator=generator) for n in (90, 80, 7))
    pattern = SparsePattern.build(row, column, (90, 80))
    given_ = [normal(5000), normal(80, 33), normal(7, 33), normal(90, 33)]

    def run(threads: int) -> list[Tensor]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            return [
                *kernels.product_sum_gradients(pattern, other, *given_),
                *kernels.edge_sum_gradients(
                    pattern, given_[0][None], given_[1], given_[3][:, None]
                ),
            ]
        finally:
            torch.set_num_threads(before)

    if native.library(kernels.SOURCE) is None:
        pytest.skip("PyTorch's form makes no such promise")
    for one, two in zip(run(1), run(2), strict=True):
        assert torch.equal(one, two)


def test_constant_coefficients_cost_no_gradient_and_change_none(pattern: SparsePattern) -> None:
    features, seed = normal(COLUMNS, WIDTH), normal(2, ROWS, WIDTH, seed=3)
    found = []
    for learned in (True, False):
        values, h = normal(2, EDGES).requires_grad_(learned), features.clone().requires_grad_()
        (weighted_spmm(pattern, values, h) * seed).sum().backward()
        assert (values.grad is not None) == learned
        found.append(h.grad)
    torch.testing.assert_close(*found)
