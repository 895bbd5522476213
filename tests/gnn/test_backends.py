"""The contract of backends: the same sums and gradients, whichever library makes them."""

from __future__ import annotations

import gc
import importlib.util
import runpy
import sys
import weakref
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from relgnn.errors import InputError
from relgnn.gnn import backends, interop, layers, sparse
from relgnn.gnn.backends import (
    BACKENDS,
    DGLBackend,
    LibraryBackend,
    PyGBackend,
    set_backend,
    use_backend,
    weighted_product_spmm,
    weighted_spmm,
)
from relgnn.gnn.encoders import GRAPH_ENCODERS, make_encoder
from relgnn.gnn.graph import MessageGraph
from relgnn.gnn.sparse import SparsePattern
from tests.gnn.references import normal, random_triples, randomise

PACKAGES = {"pyg": "torch_geometric", "dgl": "dgl"}
LIBRARIES: dict[str, Callable[[], backends.Backend]] = {"pyg": PyGBackend, "dgl": DGLBackend}
ROWS, COLUMNS, OTHERS, WIDTH = 5, 4, 3, 6


def require(name: str) -> None:
    # An installed package that cannot be imported is a failure, so this does not import it.
    if name in PACKAGES and importlib.util.find_spec(PACKAGES[name]) is None:
        pytest.skip(f"{PACKAGES[name]} is not installed")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    require(request.param)
    with use_backend(request.param):
        yield request.param


def random_index(size: int, edges: int, seed: int) -> Tensor:
    return torch.randint(size, (edges,), generator=torch.Generator().manual_seed(seed))


def random_pattern(edges: int, seed: int = 1) -> SparsePattern:
    row, column = random_index(ROWS, edges, seed), random_index(COLUMNS, edges, seed + 1)
    return SparsePattern.build(row, column, (ROWS, COLUMNS))


PATTERNS = {
    "more entries than places": random_pattern(31),
    "few entries": random_pattern(3),
    "no entries": random_pattern(0),
    "the diagonal, twice": SparsePattern.build(
        torch.arange(4).repeat(2), torch.arange(4).repeat(2), (ROWS, COLUMNS)
    ),
}


def reference_spmm(pattern: SparsePattern, coefficient: Tensor, features: Tensor) -> Tensor:
    messages = coefficient.unsqueeze(-1) * features[pattern.column]
    shape = (*coefficient.shape[:-1], pattern.shape[0], features.shape[1])
    return features.new_zeros(shape).index_add(-2, pattern.row, messages)


def reference_product(
    pattern: SparsePattern, other: Tensor, coefficient: Tensor, left: Tensor, right: Tensor
) -> Tensor:
    messages = coefficient[:, None] * left[pattern.column] * right[other]
    return left.new_zeros(pattern.shape[0], left.shape[1]).index_add(0, pattern.row, messages)


def with_gradients(function: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """The value, and the gradient of a random projection of it."""
    leaves = [value.clone().requires_grad_() for value in inputs]
    out = function(*leaves)
    loss = (out * normal(*out.shape, seed=99, dtype=out.dtype)).sum().real
    return [out, *torch.autograd.grad(loss, leaves)]


def assert_equal(ours: list[Tensor], theirs: list[Tensor]) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bases", [None, 1, 3])
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_sum_of_features(backend: str, pattern: SparsePattern, bases: int | None) -> None:
    shape = (pattern.num_entries,) if bases is None else (bases, pattern.num_entries)
    inputs = [normal(*shape), normal(COLUMNS, WIDTH, seed=1)]
    ours = with_gradients(lambda c, h: weighted_spmm(pattern, c, h), inputs)
    assert_equal(ours, with_gradients(lambda c, h: reference_spmm(pattern, c, h), inputs))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_sum_of_products(backend: str, pattern: SparsePattern, dtype: torch.dtype) -> None:
    other = random_index(OTHERS, pattern.num_entries, 3)
    left, right = (normal(size, WIDTH, seed=size, dtype=dtype) for size in (COLUMNS, OTHERS))
    inputs = [normal(pattern.num_entries, dtype=left.real.dtype), left, right]
    ours = with_gradients(lambda *given: weighted_product_spmm(pattern, other, *given), inputs)
    theirs = with_gradients(lambda *given: reference_product(pattern, other, *given), inputs)
    assert_equal(ours, theirs)


@pytest.mark.parametrize("name", BACKENDS)
@given(
    sizes=st.tuples(*[st.integers(1, 5)] * 5),
    edges=st.integers(0, 20),
    complex_=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=40)
def test_any_sizes(
    name: str, sizes: tuple[int, ...], edges: int, complex_: bool, seed: int
) -> None:
    require(name)
    rows, columns, others, width, bases = sizes
    pattern = SparsePattern.build(
        random_index(rows, edges, seed), random_index(columns, edges, seed + 1), (rows, columns)
    )
    other = random_index(others, edges, seed + 2)
    dtype = torch.complex128 if complex_ else torch.float64
    coefficient, features = normal(bases, edges), normal(columns, width, seed=seed)
    left, right = (normal(size, width, seed=seed, dtype=dtype) for size in (columns, others))
    with use_backend(name):
        total = weighted_spmm(pattern, coefficient, features)
        product = weighted_product_spmm(pattern, other, coefficient[0], left, right)
    assert_equal(
        [total, product],
        [
            reference_spmm(pattern, coefficient, features),
            reference_product(pattern, other, coefficient[0].double(), left, right),
        ],
    )


def test_a_lazy_conjugate_is_conjugated(backend: str) -> None:
    pattern = random_pattern(9)
    other, scale = random_index(OTHERS, 9, 3), normal(9)
    left, right = (normal(size, WIDTH, dtype=torch.complex64) for size in (COLUMNS, OTHERS))
    for pair in [(left.conj(), right), (left, right.conj())]:
        ours = weighted_product_spmm(pattern, other, scale, *pair)
        assert_equal([ours], [reference_product(pattern, other, scale, *pair)])


def test_half_precision_is_summed_in_float32(backend: str) -> None:
    pattern = random_pattern(17)
    values, features = normal(17).bfloat16(), normal(COLUMNS, WIDTH).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = weighted_spmm(pattern, values, features)
    assert out.dtype == torch.float32
    assert_equal([out], [reference_spmm(pattern, values.float(), features.float())])


def test_libraries_never_sum_in_half_precision() -> None:
    class Strict(LibraryBackend):
        def gather_sum(self, pattern: SparsePattern, features: Tensor, edge: Tensor) -> Tensor:
            assert not torch.is_autocast_enabled("cpu")
            return torch.zeros(len(edge), pattern.shape[0], features.shape[1])

    pattern, features = random_pattern(3), normal(COLUMNS, WIDTH)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        Strict().weighted_spmm(pattern, normal(3), features)
        Strict().weighted_product_spmm(
            pattern, torch.zeros(3).long(), normal(3), features, features
        )


ENCODERS: list[tuple[str, dict[str, Any]]] = [
    *((kind, {}) for kind in GRAPH_ENCODERS),
    *(("compgcn", {"composition": name}) for name in layers.COMPOSITIONS),
]


@pytest.mark.parametrize(("kind", "options"), ENCODERS, ids=str)
def test_encoders_are_the_same(kind: str, options: dict[str, Any], backend: str) -> None:
    relations, edges, dim = 3, 24, 8
    encoder = make_encoder(
        kind, dim, 2 * relations, num_layers=2, text_dim=4, evidence_dim=3, **options
    )
    randomise(encoder)
    triples = random_triples(8, relations, edges)
    triples[0, 2] = triples[0, 0]  # a self-loop
    triples[2] = triples[1]
    weight = normal(edges).abs()
    graph = MessageGraph.build(triples, 9, relations, weight, normal(edges, 3, seed=5))
    x, z, text = normal(9, dim), normal(2 * relations, dim, seed=1), normal(relations, 4)
    leaves = [value.requires_grad_() for value in (x, z, text)] + [*encoder.parameters()]

    def run(name: str) -> list[Tensor]:
        with use_backend(name):
            nodes, vectors = encoder(x, z, graph, text)
        # The backward pass runs outside: it must not matter which backend is chosen then.
        loss = (nodes * normal(9, dim, seed=7)).sum() + vectors.square().sum()
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
        return [nodes, vectors, *(torch.tensor(0.0) if g is None else g for g in gradients)]

    assert_equal(run(backend), run("native"))


@pytest.mark.parametrize(("kind", "options"), ENCODERS, ids=str)
def test_encoders_use_the_chosen_backend(
    kind: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Spy:
        """The native sums, counted."""

        calls = 0

        def __getattr__(self, name: str) -> Any:
            self.calls += 1
            return getattr(sparse, name)

    spy = Spy()
    monkeypatch.setitem(BACKENDS, "spy", lambda: spy)
    graph = MessageGraph.build(random_triples(4, 1, 6), 4, 1)
    encoder = make_encoder(kind, 4, 2, **options)
    with use_backend("spy"):
        encoder(normal(4, 4), normal(2, 4), graph)
    assert spy.calls


class Marked:
    """A backend that gives back which one it is."""

    def __init__(self, name: str) -> None:
        self.name = name

    def weighted_spmm(self, *given: Any) -> Any:
        return self.name

    weighted_product_spmm = weighted_spmm


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Any]]:
    """Backends "a" and "b"; calls the chosen one."""
    for name in ("a", "b"):
        monkeypatch.setitem(BACKENDS, name, lambda name=name: Marked(name))
    nothing = torch.empty(0)
    with use_backend("native"):
        yield lambda: weighted_spmm(random_pattern(0), nothing, nothing)


def test_the_choice_ends_with_its_context(marked: Callable[[], Any]) -> None:
    set_backend("a")
    with use_backend("b"):
        assert marked() == "b"
        with use_backend("a"):
            assert marked() == "a"
        assert marked() == "b"
    assert marked() == "a"
    with pytest.raises(KeyError), use_backend("b"):
        raise KeyError
    assert marked() == "a"


def test_an_unknown_name_changes_nothing(marked: Callable[[], Any]) -> None:
    set_backend("a")
    with pytest.raises(InputError, match=r"^backend 'numpy': expected one of native, pyg, dgl"):
        set_backend("numpy")
    assert marked() == "a"


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_missing_package_says_how_to_install_it(
    name: str, marked: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (PACKAGES[name], f"{PACKAGES[name]}.nn"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(BACKENDS, name, LIBRARIES[name])
    set_backend("a")
    with pytest.raises(InputError, match=rf'pip install "relgnn\[{name}\]"$'):
        set_backend(name)
    assert marked() == "a"


def test_a_build_for_another_pytorch_is_told_in_one_line() -> None:
    with (
        pytest.raises(InputError, match=r"\(no libdgl\.so\)") as caught,
        backends.optional_import("dgl"),
    ):
        raise FileNotFoundError("no libdgl.so\nStack trace:\n...")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("module", [backends, interop], ids=lambda module: module.__name__)
def test_libraries_are_imported_only_when_chosen(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in PACKAGES.values():
        monkeypatch.setitem(sys.modules, package, None)  # importing it now fails
    runpy.run_path(str(module.__file__))


def test_dgl_graph_is_built_once_and_goes_with_its_pattern(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require("dgl")
    dgl: Any = backends.import_dgl()
    built: list[weakref.ref[Any]] = []

    def heterograph(*given: Any, make: Any = dgl.heterograph, **named: Any) -> Any:
        graph = make(*given, **named)
        built.append(weakref.ref(graph))
        return graph

    monkeypatch.setattr(dgl, "heterograph", heterograph)
    pattern, features = random_pattern(7), normal(COLUMNS, WIDTH).requires_grad_()
    with use_backend("dgl"):
        for _ in range(2):
            weighted_spmm(pattern, normal(7), features).sum().backward()
    assert len(built) == 1 and built[0]() is not None
    del pattern
    gc.collect()
    assert built[0]() is None
