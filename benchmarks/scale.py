"""Time and memory of R-GCN on power-law multigraphs of 10^4 to 16 million triples.

The largest has ogbl-wikikg2's size: 2.5 million nodes and 535 relations. Density is the same
everywhere (6.4 triples a node), so time near the limit grows in proportion to the triples.
"""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.measure import peak_since, reset_peak
from relgnn.gnn.decoders import DistMult
from relgnn.gnn.graph import MessageGraph
from relgnn.gnn.layers import RGCNLayer
from relgnn.gnn.losses import margin_ranking
from relgnn.gnn.sampling import NeighbourSampler

SIZES = (10_000, 100_000, 1_000_000, 4_000_000, 16_000_000)
RELATIONS, DENSITY = 535, 6.4
WIDTH, BASES, BATCH, FAN_OUT, STEPS = 200, 2, 1024, 15, 100
FIT_FROM = 1_000_000


@dataclass(frozen=True)
class Scale:
    """What was measured at one size.

    Attributes:
        triples, nodes: of the graph.
        build_s: both directions sorted.
        forward_s: one layer over the whole graph.
        step_s: mean of STEPS sampled training steps.
        memory_mb: peak resident set of the whole process.
    """

    triples: int
    nodes: int
    build_s: float
    forward_s: float
    step_s: float
    memory_mb: float


def power_law_triples(
    edges: int, seed: int = 0, nodes: int | None = None, relations: int = RELATIONS
) -> tuple[Tensor, int]:
    """Triples [E, 3] whose nodes and relations follow Zipf-like laws, and the number of nodes.

    Args:
        edges: E.
        seed: of the draws.
        nodes: as many as give the usual density where None.
        relations: R.
    """
    generator = np.random.default_rng(seed)
    nodes = max(2, round(edges / DENSITY)) if nodes is None else nodes

    def draw(size: int, exponent: float) -> np.ndarray:
        # the inverse of the distribution function of a bounded Pareto law over ranks
        uniform = generator.random(edges)
        rank = (1 - uniform * (1 - size ** (1 - exponent))) ** (1 / (1 - exponent))
        return np.minimum(rank.astype(np.int64), size) - 1

    shuffle = generator.permutation(nodes)
    triples = np.empty((edges, 3), dtype=np.int64)
    triples[:, 0] = shuffle[draw(nodes, 1.5)]
    triples[:, 1] = draw(relations, 1.2)
    triples[:, 2] = generator.integers(nodes, size=edges)
    return torch.from_numpy(triples), nodes


class Model(nn.Module):
    """R-GCN on learned node vectors, whose gradients are rows."""

    def __init__(self, nodes: int) -> None:
        super().__init__()
        self.entity = nn.Embedding(nodes, WIDTH, sparse=True)
        nn.init.normal_(self.entity.weight, std=0.1)
        self.relation = nn.Parameter(torch.randn(RELATIONS, WIDTH) * 0.1)
        self.layer = RGCNLayer(WIDTH, WIDTH, 2 * RELATIONS, BASES, activation=torch.tanh)
        self.decoder = DistMult(WIDTH)


def sampled_steps(model: Model, sampler: NeighbourSampler, triples: Tensor, steps: int) -> None:
    """Training steps over the sampled neighbourhoods of a batch and its corrupted triples."""
    generator = torch.Generator().manual_seed(0)
    nodes = model.entity.num_embeddings
    rest = [p for name, p in model.named_parameters() if name != "entity.weight"]
    optimizers = [
        torch.optim.SparseAdam([model.entity.weight], lr=1e-3),
        torch.optim.Adam(rest, lr=1e-3),
    ]
    for _ in range(steps):
        batch = triples[torch.randint(len(triples), (BATCH,), generator=generator)]
        wrong = torch.randint(nodes, (BATCH,), generator=generator)
        seeds, place = torch.unique(
            torch.cat([batch[:, 0], batch[:, 2], wrong]), return_inverse=True
        )
        part = sampler.sample(seeds, generator)
        x = model.layer(model.entity(part.nodes), part.graph)
        head, tail, other = x[place].chunk(3)
        relation = model.relation[batch[:, 1]]
        right = model.decoder.score(head, relation, tail)
        loss = margin_ranking(right, model.decoder.score(head, relation, other)[:, None])
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()


def measure_size(edges: int, steps: int = STEPS) -> Scale:
    """Build, forward over everything, then sampled steps, in this process."""
    reset_peak()
    triples, nodes = power_law_triples(edges)
    started = time.perf_counter()
    graph = MessageGraph.build(triples, nodes, RELATIONS)
    build = time.perf_counter() - started
    gc.collect()
    torch.manual_seed(0)
    model = Model(nodes)
    with torch.inference_mode():
        graph.topology.by_node, graph.norm  # noqa: B018  (part of the graph, built once)
        model.layer(model.entity.weight, graph)
        started = time.perf_counter()
        model.layer(model.entity.weight, graph)
        forward = time.perf_counter() - started
    sampler = NeighbourSampler(graph, [FAN_OUT])
    sampled_steps(model, sampler, triples, 2)
    started = time.perf_counter()
    sampled_steps(model, sampler, triples, steps)
    step = (time.perf_counter() - started) / steps
    return Scale(edges, nodes, build, forward, step, peak_since(0))


def exponent(scales: list[Scale], name: str) -> float:
    """Slope of log(name) over log(triples) from FIT_FROM triples up."""
    large = [one for one in scales if one.triples >= FIT_FROM]
    x = np.log([one.triples for one in large])
    y = np.log([getattr(one, name) for one in large])
    return float(np.polyfit(x, y, 1)[0])
