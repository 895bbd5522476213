"""The contract that every graph encoder keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from relgnn.errors import InputError
from relgnn.gnn.encoders import GRAPH_ENCODERS, GraphEncoder, make_encoder
from relgnn.gnn.graph import MessageGraph
from tests.gnn.references import normal, random_triples, randomise

NODES, RELATIONS, EDGES, DIM, TEXT, EVIDENCE = 9, 3, 24, 6, 4, 3


VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "rgcn blocks": ("rgcn", {"decomposition": "block", "num_bases": 2}),
    "compgcn sub": ("compgcn", {"composition": "sub"}),
    "compgcn corr": ("compgcn", {"composition": "corr"}),
    "attention": ("attention", {"num_heads": 2}),
}
CASES = {**{kind: (kind, {}) for kind in GRAPH_ENCODERS}, **VARIANTS}


@pytest.mark.parametrize("kind", CASES)
class TestGraphEncoder:
    """A new encoder is covered on the day it is registered."""

    def encoder(self, kind: str, **options: Any) -> GraphEncoder:
        name, own = CASES[kind]
        given = {"num_layers": 2, "text_dim": TEXT, "evidence_dim": EVIDENCE, **own, **options}
        encoder = make_encoder(name, DIM, 2 * RELATIONS, **given)
        randomise(encoder)
        return encoder

    def triples(self) -> Tensor:
        # The last node is isolated.
        return random_triples(NODES - 1, RELATIONS, EDGES)

    def evidence(self) -> Tensor:
        return normal(EDGES, EVIDENCE, seed=7) * (torch.arange(EDGES) % 2)[:, None]

    def graph(self, triples: Tensor, **given: Tensor) -> MessageGraph:
        return MessageGraph.build(triples, NODES, RELATIONS, **given)

    def features(self) -> tuple[Tensor, Tensor, Tensor]:
        return normal(NODES, DIM), normal(2 * RELATIONS, DIM, seed=1), normal(RELATIONS, TEXT)

    def test_shapes(self, kind: str) -> None:
        x, z, text = self.features()
        nodes, relations = self.encoder(kind)(x, z, self.graph(self.triples()), text)
        assert nodes.shape == (NODES, DIM)
        assert relations.shape == (2 * RELATIONS, DIM)

    def test_works_without_text_in_one_layer(self, kind: str) -> None:
        x, z, _ = self.features()
        encoder = self.encoder(kind, num_layers=1, text_dim=0, evidence_dim=0)
        assert encoder(x, z, self.graph(self.triples()))[0].isfinite().all()

    def test_no_layer_gives_the_features_back(self, kind: str) -> None:
        x, z, text = self.features()
        out = self.encoder(kind, num_layers=0)(x, z, self.graph(self.triples()), text)
        assert torch.equal(out[0], x) and torch.equal(out[1], z)

    def test_gate_zero_gives_the_features_back(self, kind: str) -> None:
        x, z, text = self.features()
        encoder = self.encoder(kind)
        encoder.gates.data.zero_()
        out = encoder(x, z, self.graph(self.triples()), text)
        torch.testing.assert_close(out, (x, z))

    def test_starts_near_the_features(self, kind: str) -> None:
        x, z, text = self.features()
        name, own = CASES[kind]
        encoder = make_encoder(name, DIM, 2 * RELATIONS, num_layers=1, text_dim=TEXT, **own)
        out, _ = encoder(x, z, self.graph(self.triples()), text)
        assert (out - x).norm() < 0.25 * x.norm()

    def test_permuting_entities_permutes_the_output(self, kind: str) -> None:
        x, z, text = self.features()
        encoder, triples, evidence = self.encoder(kind), self.triples(), self.evidence()
        order = torch.randperm(NODES, generator=torch.Generator().manual_seed(2))
        place = order.argsort()
        moved = torch.stack([place[triples[:, 0]], triples[:, 1], place[triples[:, 2]]], 1)
        plain = encoder(x, z, self.graph(triples, evidence=evidence), text)
        other = encoder(x[order], z, self.graph(moved, evidence=evidence), text)
        torch.testing.assert_close(other[0], plain[0][order])
        torch.testing.assert_close(other[1], plain[1])

    def test_permuting_relations_changes_no_node(self, kind: str) -> None:
        x, z, text = self.features()
        encoder, triples = self.encoder(kind), self.triples()
        order = torch.tensor([2, 0, 1])
        both = torch.cat([order, order + RELATIONS])
        plain = encoder(x, z, self.graph(triples), text)[0]
        for layer in encoder.layers:
            if getattr(layer, "alpha", None) is not None:
                layer.alpha.data = layer.alpha.data[:, both]
            if hasattr(layer, "blocks"):
                layer.blocks.data = layer.blocks.data[both]
        triples[:, 1] = order.argsort()[triples[:, 1]]
        other = encoder(x, z[both], self.graph(triples), text[order])[0]
        torch.testing.assert_close(other, plain)

    def test_order_of_triples_does_not_matter(self, kind: str) -> None:
        x, z, text = self.features()
        encoder, triples, evidence = self.encoder(kind), self.triples(), self.evidence()
        order = torch.randperm(EDGES, generator=torch.Generator().manual_seed(3))
        plain = encoder(x, z, self.graph(triples, evidence=evidence), text)
        other = encoder(x, z, self.graph(triples[order], evidence=evidence[order]), text)
        torch.testing.assert_close(other, plain)

    def test_weight_zero_is_removal(self, kind: str) -> None:
        x, z, text = self.features()
        encoder, triples, evidence = self.encoder(kind), self.triples(), self.evidence()
        keep = torch.arange(EDGES) % 3 != 0
        removed = encoder(x, z, self.graph(triples[keep], evidence=evidence[keep]), text)
        weighted = encoder(x, z, self.graph(triples, weight=keep.float(), evidence=evidence), text)
        dropped = encoder(x, z, self.graph(triples, evidence=evidence).drop(keep), text)
        torch.testing.assert_close(weighted, removed)
        torch.testing.assert_close(dropped, removed)

    def test_masked_evidence_is_zero_evidence(self, kind: str) -> None:
        x, z, text = self.features()
        encoder, triples, evidence = self.encoder(kind), self.triples(), self.evidence()
        keep = torch.arange(EDGES) > 10
        masked = self.graph(triples, evidence=evidence).mask_evidence(keep)
        zeroed = self.graph(triples, evidence=evidence * keep[:, None])
        torch.testing.assert_close(encoder(x, z, masked, text), encoder(x, z, zeroed, text))

    def test_isolated_nodes_hear_nobody(self, kind: str) -> None:
        x, z, text = self.features()
        encoder, graph = self.encoder(kind), self.graph(self.triples())
        alone = encoder(x, z, graph, text)[0][-1]
        other = encoder(torch.cat([x[:-1] + 1, x[-1:]]), z, graph, text)[0][-1]
        torch.testing.assert_close(other, alone)

    @pytest.mark.parametrize("nodes", [1, NODES])
    def test_empty_graph(self, kind: str, nodes: int) -> None:
        x, z, text = self.features()
        empty = MessageGraph.build(torch.empty(0, 3, dtype=torch.int64), nodes, RELATIONS)
        x = x[:nodes].requires_grad_()
        out = self.encoder(kind)(x, z, empty, text)[0]
        out.sum().backward()
        assert x.grad is not None and x.grad.isfinite().all()

    def test_one_node_that_sends_to_itself(self, kind: str) -> None:
        x, z, text = self.features()
        graph = MessageGraph.build(torch.tensor([[0, 1, 0], [0, 1, 0]]), 1, RELATIONS)
        assert self.encoder(kind)(x[:1], z, graph, text)[0].isfinite().all()

    def test_gradients_reach_every_parameter_and_input(self, kind: str) -> None:
        x, z, text = (tensor.requires_grad_() for tensor in self.features())
        encoder = self.encoder(kind)
        graph = self.graph(self.triples(), evidence=self.evidence())
        nodes, relations = encoder(x, z, graph, text)
        (nodes.square().sum() + relations.square().sum()).backward()
        given = {"x": x, "z": z, "text": text, **dict(encoder.named_parameters())}
        for name, tensor in given.items():
            assert tensor.grad is not None and tensor.grad.abs().sum() > 0, name

    def test_every_device_gives_the_same(self, kind: str, device: torch.device) -> None:
        encoder = self.encoder(kind).double()
        graph = self.graph(self.triples(), evidence=self.evidence())
        here = [tensor.double().requires_grad_() for tensor in self.features()]
        there = [tensor.detach().to(device).requires_grad_() for tensor in here]
        plain = encoder(*here[:2], graph, here[2])[0]
        expected = torch.autograd.grad(plain.square().sum(), here[:1])
        encoder.to(device)
        moved = encoder(*there[:2], graph.to(device), there[2])[0]
        found = torch.autograd.grad(moved.square().sum(), there[:1])
        torch.testing.assert_close(moved.cpu(), plain)
        torch.testing.assert_close(found[0].cpu(), expected[0])

    def test_mixed_precision_is_near(self, kind: str, device: torch.device) -> None:
        x, z, text = (tensor.to(device) for tensor in self.features())
        encoder = self.encoder(kind).to(device)
        graph = self.graph(self.triples()).to(device)
        exact = encoder(x, z, graph, text)[0]
        with torch.autocast(device.type, dtype=torch.bfloat16):
            rough = encoder(x, z, graph, text)[0]
        torch.testing.assert_close(rough.float(), exact, atol=0.1, rtol=0.1)

    def test_double_precision_stays(self, kind: str) -> None:
        x, z, text = (tensor.double() for tensor in self.features())
        graph = self.graph(self.triples(), evidence=self.evidence())
        encoder = self.encoder(kind)
        exact = encoder.double()(x, z, graph, text)
        single = encoder.float()(x.float(), z.float(), graph, text.float())
        assert exact[0].dtype == torch.float64
        torch.testing.assert_close(exact[0].float(), single[0], atol=1e-4, rtol=1e-4)


def test_unknown_encoder_is_named() -> None:
    with pytest.raises(InputError, match="graph encoder 'gat': expected one of rgcn, compgcn, att"):
        make_encoder("gat", DIM, 2 * RELATIONS)


def test_blocks_need_the_relations_own_coefficients() -> None:
    for options in ({"decomposition": "block", "alpha": False}, {"decomposition": "tucker"}):
        with pytest.raises(InputError, match="expected 'basis' or 'block'"):
            make_encoder("rgcn", DIM, 2 * RELATIONS, text_dim=TEXT, num_bases=2, **options)
