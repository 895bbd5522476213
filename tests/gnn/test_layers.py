"""Every layer against naive loops and PyTorch Geometric."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from relgnn import native
from relgnn.errors import InputError
from relgnn.gnn import blocks, layers
from relgnn.gnn.attention import AttentionLayer
from relgnn.gnn.blocks import BlockRGCNLayer
from relgnn.gnn.graph import MessageGraph
from relgnn.gnn.layers import CompGCNLayer, RGCNLayer
from tests.gnn import references
from tests.gnn.references import assert_same, normal, random_triples, randomise

NODES, RELATIONS, EDGES, IN, OUT, BASES, TEXT, EVIDENCE = 6, 3, 15, 5, 4, 2, 3, 2
COMPOSITIONS = ("sub", "mult", "corr")


def inputs(nodes: int = NODES) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Some edges, weights, evidence, text of relations, x [nodes, IN] and z; the last of `NODES`
    nodes and all beyond have no edge."""
    triples = random_triples(NODES - 1, RELATIONS, EDGES)
    evidence = normal(EDGES, EVIDENCE, seed=3)
    evidence[::3] = 0
    weight = torch.rand(EDGES, generator=torch.Generator().manual_seed(4))
    weight[5] = 0
    x, z = normal(nodes, IN, seed=1), normal(2 * RELATIONS, IN, seed=2)
    return triples, weight, evidence, normal(RELATIONS, TEXT, seed=5), x, z


@pytest.mark.parametrize("alpha", [True, False])
@pytest.mark.parametrize("activation", [None, torch.tanh])
@pytest.mark.parametrize("nodes", [NODES, 2 * NODES])
def test_rgcn_is_its_equation(alpha: bool, activation: object, nodes: int) -> None:
    triples, weight, evidence, text, x, _ = inputs(nodes)
    layer = RGCNLayer(
        IN, OUT, 2 * RELATIONS, BASES, TEXT, EVIDENCE, activation=activation, alpha=alpha
    )
    randomise(layer)
    x.requires_grad_()
    graph = MessageGraph.build(triples, nodes, RELATIONS, weight=weight, evidence=evidence)
    assert (graph.topology.by_node.filled is None) == (nodes == NODES)
    assert_same(
        layer(x, graph, text),
        references.rgcn(layer, x, triples, RELATIONS, weight, text, evidence),
        [x, *layer.parameters()],
    )


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_compgcn_is_its_equation(composition: str) -> None:
    triples, weight, evidence, text, x, z = inputs()
    layer = CompGCNLayer(IN, OUT, composition, TEXT, EVIDENCE, activation=torch.tanh)
    randomise(layer)
    x.requires_grad_(), z.requires_grad_()
    graph = MessageGraph.build(triples, NODES, RELATIONS, weight=weight, evidence=evidence)
    ours = layer(x, z, graph, text)
    theirs = references.compgcn(layer, x, z, triples, RELATIONS, weight, text, evidence)
    for mine, other in zip(ours, theirs, strict=True):
        assert_same(mine, other, [x, z, *layer.parameters()])


@pytest.mark.parametrize("elements", [1 << 26, 6, 1])
def test_block_rgcn_is_its_equation_in_chunks_too(
    elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "PAIR_ELEMENTS", elements)
    triples, weight, evidence, text, _, _ = inputs()
    layer = BlockRGCNLayer(6, 4, 2 * RELATIONS, 2, TEXT, EVIDENCE, activation=torch.tanh)
    randomise(layer)
    x = normal(NODES, 6).requires_grad_()
    graph = MessageGraph.build(triples, NODES, RELATIONS, weight=weight, evidence=evidence)
    assert_same(
        layer(x, graph, text),
        references.block_rgcn(layer, x, triples, RELATIONS, weight, text, evidence),
        [x, *layer.parameters()],
    )


def test_blocks_without_a_compiler_give_the_same() -> None:
    layer = BlockRGCNLayer(30, 34, 2 * RELATIONS, 2)
    randomise(layer)
    graph = MessageGraph.build(random_triples(40, RELATIONS, 900), 40, RELATIONS)
    x = normal(40, 30).requires_grad_()
    given = [x, *layer.parameters()]

    def run() -> list[Tensor]:
        out = layer(x, graph)
        return [out, *torch.autograd.grad(out.square().sum(), given)]

    compiled = run()
    with native.disabled():
        torch.testing.assert_close(compiled, run(), rtol=1e-3, atol=1e-3)


def test_attention_is_its_equation() -> None:
    triples, weight, evidence, text, x, z = inputs()
    layer = AttentionLayer(IN, OUT, 2, TEXT, EVIDENCE, activation=torch.tanh)
    randomise(layer)
    x.requires_grad_(), z.requires_grad_()
    graph = MessageGraph.build(triples, NODES, RELATIONS, weight=weight, evidence=evidence)
    assert_same(
        layer(x, z, graph, text),
        references.attention(layer, x, z, triples, RELATIONS, weight, text, evidence),
        [x, z, *layer.parameters()],
    )


def test_attention_of_a_node_whose_edges_are_all_removed_is_zero() -> None:
    graph = MessageGraph.build(torch.tensor([[0, 0, 1]]), 2, 1)
    layer = AttentionLayer(IN, OUT, 2)
    x, z = normal(2, IN).requires_grad_(), normal(2, IN)
    out = layer(x, z, graph.drop(torch.tensor([False])))
    torch.testing.assert_close(out, layer.self_loop(x))
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert gradient.isfinite().all()


def test_block_rgcn_is_that_of_pyg() -> None:
    pyg = pytest.importorskip("torch_geometric.nn")
    triples = inputs()[0]
    layer = BlockRGCNLayer(6, 4, 2 * RELATIONS, 2)
    randomise(layer)
    peer = pyg.RGCNConv(6, 4, 2 * RELATIONS, num_blocks=2, aggr="mean")
    with torch.no_grad():
        peer.weight.copy_(layer.blocks)
        peer.root.copy_(layer.self_loop.weight.t())
        peer.bias.copy_(layer.self_loop.bias)
    graph = MessageGraph.build(triples, NODES, RELATIONS)
    x = normal(NODES, 6).requires_grad_()
    edges = torch.stack([graph.source, graph.target])
    assert_same(layer(x, graph), peer(x, edges, graph.relation), [x])
    (a,) = torch.autograd.grad(layer(x, graph).square().sum(), [layer.blocks])
    (b,) = torch.autograd.grad(peer(x, edges, graph.relation).square().sum(), [peer.weight])
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("elements", [1, 30])
def test_without_gradients_rows_are_taken_in_pieces(
    elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    triples, weight, evidence, text, x, _ = inputs()
    layer = RGCNLayer(IN, OUT, 2 * RELATIONS, BASES, TEXT, EVIDENCE, activation=torch.tanh)
    randomise(layer)
    graph = MessageGraph.build(triples, NODES, RELATIONS, weight=weight, evidence=evidence)
    whole = layer(x, graph, text)
    monkeypatch.setattr(layers, "ROW_ELEMENTS", elements)
    with torch.no_grad():
        torch.testing.assert_close(layer(x, graph, text), whole)


def test_rgcn_is_that_of_pyg() -> None:
    pyg = pytest.importorskip("torch_geometric.nn")
    triples, _, _, _, x, _ = inputs()
    # PyG's mean takes parallel edges as we do: each counts.
    layer = RGCNLayer(IN, OUT, 2 * RELATIONS, BASES)
    randomise(layer)
    peer = pyg.RGCNConv(IN, OUT, 2 * RELATIONS, num_bases=BASES, aggr="mean")
    assert layer.alpha is not None
    with torch.no_grad():
        peer.weight.copy_(layer.bases)
        peer.comp.copy_(layer.alpha.t())
        peer.root.copy_(layer.self_loop.weight.t())
        peer.bias.copy_(layer.self_loop.bias)
    graph = MessageGraph.build(triples, NODES, RELATIONS)
    x.requires_grad_()
    ours = layer(x, graph)
    theirs = peer(x, torch.stack([graph.source, graph.target]), graph.relation)
    assert_same(ours, theirs, [x])
    a, b = torch.autograd.grad(layer(x, graph).square().sum(), [layer.alpha, layer.bases])
    c, d = torch.autograd.grad(
        peer(x, torch.stack([graph.source, graph.target]), graph.relation).square().sum(),
        [peer.comp, peer.weight],
    )
    torch.testing.assert_close(a, c.t(), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(b, d, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_compgcn_is_that_of_message_passing(composition: str) -> None:
    pyg = pytest.importorskip("torch_geometric.nn")

    class Peer(pyg.MessagePassing):
        def forward(self, edges: Tensor, x: Tensor, z: Tensor, norm: Tensor) -> Tensor:
            return self.propagate(edges, x=x, z=z, norm=norm)

        def message(self, x_j: Tensor, z: Tensor, norm: Tensor) -> Tensor:
            return references.compose(composition, x_j, z) * norm[:, None]

    triples, _, _, _, x, z = inputs()
    layer = CompGCNLayer(IN, OUT, composition)
    randomise(layer)
    x.requires_grad_(), z.requires_grad_()
    peer = Peer(aggr="add")
    theirs = references.compose(composition, x, layer.loop_relation) @ layer.by_loop
    head, relation, tail = triples.unbind(1)
    for direction, (source, target, kind) in enumerate(
        [(head, tail, relation), (tail, head, relation + RELATIONS)]
    ):
        degree_out = torch.bincount(source, minlength=NODES)[source]
        degree_in = torch.bincount(target, minlength=NODES)[target]
        norm = (degree_out * degree_in) ** -0.5
        summed = peer(torch.stack([source, target]), x, z[kind], norm)
        theirs = theirs + summed @ layer.by_direction[direction]
    ours, _ = layer(x, z, MessageGraph.build(triples, NODES, RELATIONS))
    assert_same(ours, theirs / 3 + layer.bias, [x, z, *layer.parameters()])


def test_masked_evidence_is_no_evidence() -> None:
    triples, weight, evidence, text, x, _ = inputs()
    layer = RGCNLayer(IN, OUT, 2 * RELATIONS, BASES, TEXT, EVIDENCE)
    randomise(layer)
    keep = torch.arange(EDGES) % 2 == 0
    given = MessageGraph.build(triples, NODES, RELATIONS, weight, evidence)
    cut = MessageGraph.build(triples, NODES, RELATIONS, weight, evidence * keep[:, None])
    bare = MessageGraph.build(triples, NODES, RELATIONS, weight)
    torch.testing.assert_close(layer(x, given.mask_evidence(keep), text), layer(x, cut, text))
    none = given.mask_evidence(torch.zeros(EDGES, dtype=torch.bool))
    torch.testing.assert_close(layer(x, none, text), layer(x, bare, text))
    zero = MessageGraph.build(triples, NODES, RELATIONS, weight, torch.zeros_like(evidence))
    torch.testing.assert_close(layer(x, zero, text), layer(x, bare, text))
    assert not torch.allclose(layer(x, given, text), layer(x, bare, text))


def test_text_and_evidence_change_nothing_before_training() -> None:
    triples, _, evidence, text, x, _ = inputs()
    layer = RGCNLayer(IN, OUT, 2 * RELATIONS, BASES, TEXT, EVIDENCE)
    with_text = layer(x, MessageGraph.build(triples, NODES, RELATIONS, evidence=evidence), text)
    without = layer(x, MessageGraph.build(triples, NODES, RELATIONS), torch.zeros_like(text))
    torch.testing.assert_close(with_text, without)


def test_without_alpha_unseen_relations_get_a_coefficient() -> None:
    layer = RGCNLayer(IN, OUT, 2 * RELATIONS, BASES, TEXT, alpha=False)
    triples = random_triples(NODES, 2 * RELATIONS, EDGES)
    graph = MessageGraph.build(triples, NODES, 2 * RELATIONS)
    text = normal(2 * RELATIONS, TEXT)
    assert layer(normal(NODES, IN), graph, text).shape == (NODES, OUT)
    assert layer.coefficients(graph, text).abs().sum() > 0


def test_dropout_only_while_training() -> None:
    triples, _, _, _, x, z = inputs()
    graph = MessageGraph.build(triples, NODES, RELATIONS)
    rgcn = RGCNLayer(IN, OUT, 2 * RELATIONS, BASES, dropout=0.5)
    assert (rgcn(x, graph) == 0).any()
    assert not (rgcn.eval()(x, graph) == 0).any()
    compgcn = CompGCNLayer(IN, OUT, dropout=0.5)
    assert (compgcn(x, z, graph)[0] == compgcn.bias).any()


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_mixed_precision_agrees_roughly(composition: str) -> None:
    triples, _, _, _, x, z = inputs()
    graph = MessageGraph.build(triples, NODES, RELATIONS)
    layer = CompGCNLayer(IN, OUT, composition)
    exact = layer(x, z, graph)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = layer(x, z, graph)[0]
        rough.sum().backward()
    torch.testing.assert_close(rough.float(), exact, atol=0.05, rtol=0.05)


def test_errors_say_what_to_do() -> None:
    triples, _, evidence, text, x, z = inputs()
    graph = MessageGraph.build(triples, NODES, RELATIONS, evidence=evidence)
    with pytest.raises(InputError, match="give relation text or set alpha true"):
        RGCNLayer(IN, OUT, 2 * RELATIONS, BASES, alpha=False)
    with pytest.raises(InputError, match="expected one of sub, mult, corr"):
        CompGCNLayer(IN, OUT, "add")
    with pytest.raises(InputError, match="pass the encodings"):
        RGCNLayer(IN, OUT, 2 * RELATIONS, BASES, TEXT)(x, graph)
    with pytest.raises(InputError, match="evidence of width 2"):
        CompGCNLayer(IN, OUT, evidence_dim=9)(x, z, graph)
    with pytest.raises(InputError, match="3 relation vectors for a graph of 3 relations"):
        CompGCNLayer(IN, OUT)(x, z[:3], graph)
    with pytest.raises(InputError, match="expected 6"):
        RGCNLayer(IN, OUT, RELATIONS, BASES)(x, graph)
    with pytest.raises(InputError, match="multiples of the number of blocks"):
        BlockRGCNLayer(IN, OUT, 2 * RELATIONS, 2)
    with pytest.raises(InputError, match="multiple of the number of heads"):
        AttentionLayer(IN, OUT, 3)
