"""A training step of 1,024 triples on FB15k-237 at width 200, ours and PyKEEN's.

Both take the same triples, one corrupted triple each, the same margin loss and Adam, over the same
layer: from equal weights both give the same loss (`tests/benchmarks/test_epoch.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measure import Bench, Call, Pair
from relgnn.data.registry import load
from relgnn.gnn.decoders import DistMult
from relgnn.gnn.graph import MessageGraph
from relgnn.gnn.layers import CompGCNLayer, RGCNLayer
from relgnn.gnn.losses import margin_ranking

WIDTH, BASES, BATCH = 200, 2, 1024

Loss = Callable[[Tensor, Tensor], Tensor]
"""True and corrupted triples, [B, 3] each, to a loss."""


class RGCN(nn.Module):
    """One R-GCN layer and DistMult.

    PyKEEN has bases for each direction, so as many again are needed here; and it weighs a message
    by 1 / sqrt(d_out(u) d_in(v)), degrees within the relation.
    """

    def __init__(self, triples: Tensor, entities: int, relations: int, width: int) -> None:
        super().__init__()
        self.entity = nn.Parameter(torch.randn(entities, width) * width**-0.5)
        self.relation = nn.Parameter(torch.randn(relations, width) * width**-0.5)
        self.layer = RGCNLayer(width, width, 2 * relations, 2 * BASES)
        self.decoder = DistMult(width)
        graph = MessageGraph.build(triples, entities, relations)
        norm = within_relation_norm(graph)
        self.graph = replace(graph, fixed_norms=torch.stack([norm, norm]))

    def forward(self, right: Tensor, wrong: Tensor) -> Tensor:
        """The loss."""
        x = self.layer(self.entity, self.graph)
        return _loss(self.decoder, x, self.relation, right, wrong)


class CompGCN(nn.Module):
    """One CompGCN layer, batch normalisation as PyKEEN has it, and DistMult."""

    def __init__(self, triples: Tensor, entities: int, relations: int, width: int) -> None:
        super().__init__()
        self.entity = nn.Parameter(torch.randn(entities, width) * width**-0.5)
        self.relation = nn.Parameter(torch.randn(2 * relations, width) * width**-0.5)
        self.layer = CompGCNLayer(width, width, "mult")
        self.norm = nn.BatchNorm1d(width)
        self.decoder = DistMult(width)
        self.graph = MessageGraph.build(triples, entities, relations)

    def forward(self, right: Tensor, wrong: Tensor) -> Tensor:
        """The loss."""
        x, z = self.layer(self.entity, self.relation, self.graph)
        return _loss(self.decoder, self.norm(x), z, right, wrong)


def _loss(decoder: DistMult, x: Tensor, z: Tensor, right: Tensor, wrong: Tensor) -> Tensor:
    scores = [decoder.score(x[h], z[r], x[t]) for h, r, t in (right.unbind(1), wrong.unbind(1))]
    return margin_ranking(scores[0], scores[1][:, None])


def within_relation_norm(graph: MessageGraph) -> Tensor:
    """1 / sqrt(d_out(u) d_in(v)) of every message, degrees counted within its relation."""
    counts = []
    for node in (graph.source, graph.target):
        key = node * (2 * graph.num_relations) + graph.relation
        _, place, count = torch.unique(key, return_inverse=True, return_counts=True)
        counts.append(count[place].float())
    return (counts[0] * counts[1]).rsqrt()


def pykeen_rgcn(triples: Tensor, entities: int, relations: int, width: int) -> Any:
    """PyKEEN's R-GCN without dropout, one layer, 2 bases for each direction."""
    from pykeen.models import RGCN as Peer
    from pykeen.triples import CoreTriplesFactory

    return Peer(
        triples_factory=CoreTriplesFactory(triples, entities, relations),
        embedding_dim=width,
        num_layers=1,
        edge_dropout=0.0,
        self_loop_dropout=0.0,
        edge_weighting="symmetric",
        decomposition="bases",
        decomposition_kwargs={"num_bases": BASES},
        regularizer=None,
    )


def pykeen_compgcn(triples: Tensor, entities: int, relations: int, width: int) -> Any:
    """PyKEEN's CompGCN, one layer, products as composition."""
    from pykeen.models import CompGCN as Peer
    from pykeen.triples import CoreTriplesFactory

    return Peer(
        triples_factory=CoreTriplesFactory(
            triples, entities, relations, create_inverse_triples=True
        ),
        embedding_dim=width,
        encoder_kwargs={"num_layers": 1, "layer_kwargs": {"composition": "multiplication"}},
    )


def peer_loss(model: Any, relation_factor: int) -> Loss:
    """PyKEEN's scores under the same loss; it numbers a relation 2r where it adds inverses."""

    def loss(right: Tensor, wrong: Tensor) -> Tensor:
        factor = torch.tensor([1, relation_factor, 1])
        scores = [model.score_hrt(part * factor) for part in (right, wrong)]
        return margin_ranking(scores[0].squeeze(1), scores[1])

    return loss


def batches(triples: Tensor, entities: int, size: int) -> Callable[[], tuple[Tensor, Tensor]]:
    """True triples and as many with a random entity in place of head or tail."""
    generator = torch.Generator().manual_seed(0)

    def draw() -> tuple[Tensor, Tensor]:
        right = triples[torch.randint(len(triples), (size,), generator=generator)]
        wrong = right.clone()
        side = 2 * torch.randint(2, (size,), generator=generator)
        wrong[torch.arange(size), side] = torch.randint(entities, (size,), generator=generator)
        return right, wrong

    return draw


def stepper(model: nn.Module, loss: Loss, draw: Callable[[], tuple[Tensor, Tensor]]) -> Call:
    """One step of Adam."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model.train()

    def step() -> float:
        optimizer.zero_grad()
        value = loss(*draw())
        value.backward()
        optimizer.step()
        updated = getattr(model, "post_parameter_update", None)
        if updated is not None:
            updated()
        return value.item()

    return step


def _problem() -> tuple[Tensor, int, int]:
    data = load("fb15k237")
    return torch.from_numpy(data.train.copy()), data.num_entities, data.num_relations


def _ours(kind: type[RGCN] | type[CompGCN]) -> Call:
    triples, entities, relations = _problem()
    model = kind(triples, entities, relations, WIDTH)
    return stepper(model, model, batches(triples, entities, BATCH))


def _peer(kind: Callable[..., Any], relation_factor: int) -> Call:
    triples, entities, relations = _problem()
    model = kind(triples, entities, relations, WIDTH)
    draw = batches(triples, entities, BATCH)
    return stepper(model, peer_loss(model, relation_factor), draw)


def ours_rgcn() -> Call:
    """Our R-GCN's step."""
    return _ours(RGCN)


def ours_compgcn() -> Call:
    """Our CompGCN's step."""
    return _ours(CompGCN)


def peer_rgcn() -> Call:
    """PyKEEN's R-GCN's step."""
    return _peer(pykeen_rgcn, 1)


def peer_compgcn() -> Call:
    """PyKEEN's CompGCN's step."""
    return _peer(pykeen_compgcn, 2)


BENCH = Bench(
    module=__name__,
    sides={
        "ours R-GCN": ours_rgcn,
        "ours CompGCN": ours_compgcn,
        "PyKEEN R-GCN": peer_rgcn,
        "PyKEEN CompGCN": peer_compgcn,
    },
    pairs=[
        Pair("step_rgcn_pykeen", "ours R-GCN", "PyKEEN R-GCN"),
        Pair("step_compgcn_pykeen", "ours CompGCN", "PyKEEN CompGCN"),
    ],
    versions={"PyKEEN": f"pykeen {version('pykeen')}"},
    repeats=20,
)
