"""One relational layer, forward and backward, on FB15k-237's graph at width 200."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.metadata import version

import torch
from torch import Tensor, nn

from benchmarks.measure import Bench, Call, Limits, Pair
from relgnn.data.registry import load
from relgnn.gnn.attention import AttentionLayer
from relgnn.gnn.backends import import_dgl
from relgnn.gnn.blocks import BlockRGCNLayer
from relgnn.gnn.graph import MessageGraph
from relgnn.gnn.layers import CompGCNLayer, RGCNLayer

WIDTH, BASES, BLOCKS, NARROW = 200, 2, 5, 32


@functools.cache
def graph() -> MessageGraph:
    """FB15k-237's training triples with inverses: 14,541 nodes, 474 relations, 544,230 messages."""
    data = load("fb15k237")
    return MessageGraph.build(
        torch.from_numpy(data.train.copy()), data.num_entities, data.num_relations
    )


def features(width: int) -> Tensor:
    """x [N, width], with gradient."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(graph().num_nodes, width, generator=generator).requires_grad_()


def edges() -> tuple[Tensor, Tensor]:
    """edge_index [2, M] and edge_type [M]."""
    return torch.stack([graph().source, graph().target]), graph().relation


def step(layer: nn.Module, run: Callable[[Tensor], Tensor], width: int = WIDTH) -> Call:
    """Forward and backward to the features and every parameter."""
    x = features(width)
    given = [x, *layer.parameters()]

    def call() -> object:
        return torch.autograd.grad(run(x).sum(), given)

    return call


def ours_basis(width: int = WIDTH) -> Call:
    """R-GCN, 2 bases."""
    layer = RGCNLayer(width, width, 2 * graph().num_relations, BASES)
    graph().topology.by_node, graph().norm, graph().weight  # noqa: B018  (built once a graph)
    return step(layer, lambda x: layer(x, graph()), width)


def ours_basis_narrow() -> Call:
    """R-GCN, 2 bases, width 32."""
    return ours_basis(NARROW)


def ours_block() -> Call:
    """R-GCN, 5 blocks."""
    layer = BlockRGCNLayer(WIDTH, WIDTH, 2 * graph().num_relations, BLOCKS)
    return step(layer, lambda x: layer(x, graph()))


def ours_compgcn(composition: str) -> Call:
    """CompGCN."""
    layer = CompGCNLayer(WIDTH, WIDTH, composition)
    z = torch.randn(2 * graph().num_relations, WIDTH).requires_grad_()
    return step(layer, lambda x: sum(part.sum() for part in layer(x, z, graph())))


def ours_attention() -> Call:
    """Attention, 4 heads."""
    layer = AttentionLayer(WIDTH, WIDTH)
    z = torch.randn(2 * graph().num_relations, WIDTH)
    return step(layer, lambda x: layer(x, z, graph()))


def pyg(kind: str, width: int = WIDTH, **options: int) -> Call:
    """RGCNConv or FastRGCNConv of PyTorch Geometric."""
    import torch_geometric.nn

    layer = getattr(torch_geometric.nn, kind)(width, width, 2 * graph().num_relations, **options)
    index, relation = edges()
    return step(layer, lambda x: layer(x, index, relation), width)


def dgl_basis() -> Call:
    """DGL's RelGraphConv, 2 bases."""
    dgl = import_dgl()
    layer = dgl.nn.RelGraphConv(
        WIDTH, WIDTH, 2 * graph().num_relations, regularizer="basis", num_bases=BASES
    )
    index, relation = edges()
    structure = dgl.graph((index[0], index[1]), num_nodes=graph().num_nodes)
    norm = graph().norm[:, None]
    return step(layer, lambda x: layer(structure, x, relation, norm))


def loop_sparse() -> Call:
    """What one writes first: for each relation a sparse matrix times H W_r, W_r from the bases."""
    ours = RGCNLayer(WIDTH, WIDTH, 2 * graph().num_relations, BASES)
    assert ours.alpha is not None
    size = (graph().num_nodes, graph().num_nodes)
    matrices = []
    for relation in range(2 * graph().num_relations):
        here = graph().relation == relation
        index = torch.stack([graph().target[here], graph().source[here]])
        matrices.append(torch.sparse_coo_tensor(index, graph().norm[here], size).coalesce())

    def run(x: Tensor) -> Tensor:
        out = ours.self_loop(x)
        weights = torch.einsum("br,bio->rio", ours.alpha, ours.bases)
        for matrix, weight in zip(matrices, weights, strict=True):
            out = out + torch.sparse.mm(matrix, x @ weight)
        return out

    return step(ours, run)


def compgcn_pyg(composition: str) -> Call:
    """CompGCN as PyTorch Geometric's message passing has it: one vector for each message."""
    from torch_geometric.nn import MessagePassing

    ours = CompGCNLayer(WIDTH, WIDTH, composition)
    z = torch.randn(2 * graph().num_relations, WIDTH).requires_grad_()
    index, relation = edges()
    shifted = torch.stack([index[0], index[1] + graph().direction * graph().num_nodes])
    size = (graph().num_nodes, 2 * graph().num_nodes)

    class Compose(MessagePassing):
        def forward(self, x: Tensor, z: Tensor) -> Tensor:
            return self.propagate(
                shifted, x=(x, None), z=z[relation], norm=graph().symmetric_norm, size=size
            )

        def message(self, x_j: Tensor, z: Tensor, norm: Tensor) -> Tensor:
            return (x_j * z if composition == "mult" else x_j - z) * norm[:, None]

    peer = Compose(aggr="add")

    def run(x: Tensor) -> Tensor:
        gathered = peer(x, z).view(2, graph().num_nodes, -1)
        loop = x * ours.loop_relation if composition == "mult" else x - ours.loop_relation
        messages = torch.bmm(gathered, ours.by_direction).sum(0)
        return (messages + loop @ ours.by_loop) / 3 + ours.bias + (z @ ours.by_relation).sum()

    return step(ours, run)


def basis_limit(limits: Limits) -> float:
    """Gathered bytes / copy bandwidth + dense operations / matrix-product rate, in seconds.

    Gathered are edges × width × 4 bytes for each basis and each of three passes (forward, gradient
    to the features, gradient to the coefficients), as if nothing were ever read twice from cache.
    """
    gathered = 3 * BASES * len(graph().source) * WIDTH * 4
    dense = 3 * (BASES + 1) * 2 * graph().num_nodes * WIDTH**2
    return gathered / limits.copy + dense / limits.matmul


BENCH = Bench(
    module=__name__,
    sides={
        "ours basis-2": ours_basis,
        "ours block-5": ours_block,
        "ours basis-2, width 32": ours_basis_narrow,
        "ours CompGCN mult": functools.partial(ours_compgcn, "mult"),
        "ours CompGCN sub": functools.partial(ours_compgcn, "sub"),
        "ours CompGCN corr": functools.partial(ours_compgcn, "corr"),
        "ours attention": ours_attention,
        "PyG RGCNConv basis-2": functools.partial(pyg, "RGCNConv", num_bases=BASES),
        "PyG RGCNConv block-5": functools.partial(pyg, "RGCNConv", num_blocks=BLOCKS),
        "PyG FastRGCNConv basis-2": functools.partial(pyg, "FastRGCNConv", num_bases=BASES),
        "PyG FastRGCNConv block-5": functools.partial(pyg, "FastRGCNConv", num_blocks=BLOCKS),
        "PyG FastRGCNConv basis-2, width 32": functools.partial(
            pyg, "FastRGCNConv", NARROW, num_bases=BASES
        ),
        "DGL RelGraphConv basis-2": dgl_basis,
        "torch.sparse, a relation at a time": loop_sparse,
        "PyG CompGCN mult": functools.partial(compgcn_pyg, "mult"),
        "PyG CompGCN sub": functools.partial(compgcn_pyg, "sub"),
    },
    pairs=[
        Pair("layer_basis_pyg", "ours basis-2", "PyG RGCNConv basis-2", basis_limit),
        Pair("layer_block_pyg", "ours block-5", "PyG RGCNConv block-5"),
        Pair("layer_basis_dgl", "ours basis-2", "DGL RelGraphConv basis-2", basis_limit),
        Pair("layer_basis_pyg_fast", "ours basis-2", "PyG FastRGCNConv basis-2", basis_limit),
        Pair("layer_block_pyg_fast", "ours block-5", "PyG FastRGCNConv block-5"),
        Pair(
            "layer_basis_pyg_fast_32",
            "ours basis-2, width 32",
            "PyG FastRGCNConv basis-2, width 32",
        ),
        Pair("layer_basis_loop", "ours basis-2", "torch.sparse, a relation at a time", basis_limit),
        Pair("layer_compgcn_mult_pyg", "ours CompGCN mult", "PyG CompGCN mult"),
        Pair("layer_compgcn_sub_pyg", "ours CompGCN sub", "PyG CompGCN sub"),
    ],
    versions={
        "PyG": f"torch-geometric {version('torch-geometric')}",
        "DGL": f"dgl {version('dgl')}",
        "torch.sparse": f"torch {version('torch')}",
    },
    notes=[
        "PyTorch Geometric runs without pyg-lib and torch-sparse, for which there are no wheels."
    ],
)
