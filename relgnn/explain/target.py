"""What is explained: the log-probability of one answer, as a function of the edges near it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from relgnn.errors import InputError
from relgnn.gnn.graph import MessageGraph
from relgnn.gnn.sampling import NeighbourSampler, Subgraph
from relgnn.linkpred.model import LinkPredictor


class Query(NamedTuple):
    """An open query (node, relation, ?).

    Args:
        node: the known end.
        relation: in [0, 2R); r + R asks for the heads of r.
    """

    node: int
    relation: int


@dataclass(frozen=True, eq=False)
class AnswerScore:
    """log P(answer | query) by the weights of the edges that the vectors of both ends hear of.

        s(w) = φ(x_h(w), z_r, x_t(w)),   log P(w) = s(w) − log( exp s(w) + Σ_{v ≠ t} exp φ(x_h(w),
        z_r, x_v) )

    With L layers, x_h and x_t depend on the messages at most L deep around h and t, and on nothing
    else. So these edges are all that moves the answer's own score s. The other answers v keep the
    vectors that the whole graph gave them.

    Args:
        model: in evaluation mode.
        graph: the whole context.
        query, answer: what is asked, and the answer that is explained.
        near: the neighbourhood of both ends, L messages deep, as the whole graph has it.
        vectors: x [N, d] and z [2R, d_r] by the whole graph.
    """

    model: LinkPredictor
    graph: MessageGraph
    query: Query
    answer: int
    near: Subgraph
    vectors: tuple[Tensor, Tensor]

    @classmethod
    def of(
        cls, model: LinkPredictor, graph: MessageGraph, query: Query, answer: int
    ) -> AnswerScore:
        """Encode the whole graph once, and cut out the neighbourhood.

        Raises:
            InputError: no message is passed in this model.
        """
        if model.encoder is None:
            raise InputError(
                "the model passes no messages (gnn.kind is none): no edge has a say in its "
                "answers; explain a run with a graph encoder"
            )
        model.eval()
        with torch.no_grad():
            vectors = model.encode(graph)
        return cls(model, graph, query, answer, _near(model, graph, query, answer), vectors)

    @property
    def edges(self) -> Tensor:
        """int64 [K], the context's triples of the neighbourhood, ascending."""
        return self.near.edges

    @property
    def weight(self) -> Tensor:
        """float [K], what these edges weigh in the context."""
        return self.near.graph.edge_weight

    def of_weights(self, weight: Tensor) -> Tensor:
        """log P, a scalar, with gradient: edges of weight [K], whose norms stay the whole graph's.

        So a message counts by its weight, and edges that are away do not make others louder.
        """
        return self._of(replace(self.near.graph, edge_weight=weight), self.near.nodes)

    @torch.no_grad()
    def without(self, edges: Tensor) -> float:
        """log P where triples of the context (int64, any of them) are not there at all.

        The norms of what is left are counted anew, as in a context that never had them.
        """
        left = _near(self.model, without(self.graph, edges), self.query, self.answer)
        return float(self._of(left.graph, left.nodes))

    def _of(self, graph: MessageGraph, nodes: Tensor) -> Tensor:
        model, (others, _) = self.model, self.vectors
        x, z = model.encode(graph, nodes)
        # both ends are the first nodes, the answer second where it is another
        own_place = int(self.answer != self.query.node)
        head, relation = x[:1], z[self.query.relation][None]
        scores = model.decoder.score_all(head, relation, others)[0]
        own = model.decoder.score(head, relation, x[own_place][None])
        answer = torch.tensor([self.answer], device=own.device)
        return scores.index_copy(0, answer, own).log_softmax(0)[self.answer]


def _near(model: LinkPredictor, graph: MessageGraph, query: Query, answer: int) -> Subgraph:
    assert model.encoder is not None
    hops: list[int | None] = [None] * max(1, model.encoder.num_layers)
    ends = torch.tensor(list(dict.fromkeys((query.node, answer))), device=graph.target.device)
    # all messages are taken, so nothing is drawn
    return NeighbourSampler(graph, hops).sample(ends, torch.Generator())


def without(graph: MessageGraph, edges: Tensor) -> MessageGraph:
    """A context without some of its triples (int64)."""
    keep = torch.ones(graph.num_edges, dtype=torch.bool, device=graph.target.device)
    keep[edges.to(keep.device)] = False
    return graph.drop(keep)


def triples_of(graph: MessageGraph) -> Tensor:
    """The triples of a whole message graph, int64 [E, 3], in the order they were given in."""
    forward = graph.direction == 0
    rows = torch.stack([graph.source, graph.relation, graph.target], dim=1)[forward]
    found = torch.empty_like(rows)
    found[graph.edge_id[forward]] = rows
    return found


WholeScore = Callable[[Tensor], float]
"""Triples of the context that are taken away (int64) -> log P by the whole graph without them."""


def whole_score(model: LinkPredictor, graph: MessageGraph, query: Query, answer: int) -> WholeScore:
    """log P(answer | query) with every vector encoded anew: what a changed context really gives."""
    model.eval()
    head = torch.tensor([query.node], device=graph.target.device)
    relation = torch.tensor([query.relation], device=graph.target.device)

    @torch.no_grad()
    def score(edges: Tensor) -> float:
        encoded = model.encode(without(graph, edges))
        return float(model.score_tails(encoded, head, relation)[0].log_softmax(0)[answer])

    return score
