"""A query-conditioned encoder for entities never seen: all that it learns is about relations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from relgnn.errors import InputError
from relgnn.gnn.backends import weighted_product_spmm, weighted_spmm
from relgnn.gnn.conditioned import RelationTable, RelationText, unit_mean_square
from relgnn.gnn.frontier import Budget, Visited, choose, expand
from relgnn.gnn.graph import MessageGraph
from relgnn.gnn.precision import widen

MATCH_WIDTH = 128

States = Callable[[Tensor, Tensor], Tensor]
"""From queries and nodes, in shapes that broadcast to [...], to their states [..., d]."""


class BellmanFordLayer(nn.Module):
    """h' = h + norm(relu(W_h h + W_m m)). There is no bias, so a node that hears nothing stays 0.

    Args:
        dim: d.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.own = nn.Linear(dim, dim, bias=False)
        self.heard = nn.Linear(dim, dim, bias=False)
        self.norm = nn.LayerNorm(dim, bias=False)

    def forward(self, h: Tensor, heard: Tensor) -> Tensor:
        """States h [..., d] and summed messages m [..., d] to states [..., d]."""
        return h + self.norm(functional.relu(self.own(h) + self.heard(heard)))


class Scorer(nn.Module):
    """How well a node answers a query: w · relu(W_h h + W_q q + W_o relu(norm(o)) + W_x x + b) + c.

    Args:
        dim: d, the width of states h, queries q and roles o.
        node_text_dim: width of texts x, which are scaled to mean square 1; 0 leaves them out.
    """

    def __init__(self, dim: int, node_text_dim: int) -> None:
        super().__init__()
        self.state = nn.Linear(dim, dim, bias=False)
        self.query = nn.Linear(dim, dim)
        self.role_norm = nn.LayerNorm(dim, bias=False)
        self.role = nn.Linear(dim, dim, bias=False)
        self.text = nn.Linear(node_text_dim, dim, bias=False) if node_text_dim else None
        self.out = nn.Linear(dim, 1)

    def forward(self, h: Tensor, given: Tensor) -> Tensor:
        """Scores [...] of states h [..., d]; given [..., d] is the sum of the other terms."""
        return self.out(functional.relu(self.state(h) + given)).squeeze(-1)

    def by_role(self, role: Tensor) -> Tensor:
        """The term of roles o [..., d]."""
        return self.role(functional.relu(self.role_norm(role)))

    def by_text(self, node_text: Tensor | None, num_nodes: int) -> Tensor | None:
        """The term of all nodes' texts x [N, node_text_dim], [N, d]; None without texts."""
        width = 0 if self.text is None else self.text.in_features
        shape = None if node_text is None else tuple(node_text.shape)
        expected = (num_nodes, width) if width else None
        if shape != expected:
            raise InputError(
                f"node text of shape {shape}: expected {expected}; encode the graph's entities "
                "with the encoder that the model was built for"
            )
        if self.text is None or node_text is None:
            return None
        return self.text(unit_mean_square(node_text.to(self.text.weight.dtype)))


class TextMatch(nn.Module):
    """How well a node's text fits that of the head: ⟨P x_h ∘ (1 + C q + c), P' x_v⟩ / √k.

    P' begins at 0, so that paths alone speak before anything is learned.

    Args:
        dim: d, the width of queries q.
        node_text_dim: width of texts x, which are scaled to mean square 1; k is as wide, 128 at
            most.
    """

    def __init__(self, dim: int, node_text_dim: int) -> None:
        super().__init__()
        width = min(node_text_dim, MATCH_WIDTH)
        self.head = nn.Linear(node_text_dim, width, bias=False)
        self.query = nn.Linear(dim, width)
        self.node = nn.Linear(node_text_dim, width, bias=False)
        nn.init.zeros_(self.node.weight)

    def forward(self, node_text: Tensor, heads: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors [B, k] of heads [B] and queries q [B, d], and [N, k] of nodes with texts x
        [N, node_text_dim]; their products are what is added to the scores."""
        x = unit_mean_square(node_text.to(self.head.weight.dtype))
        asked = self.head(x[heads]) * (1 + self.query(q)) * self.head.out_features**-0.5
        return asked, self.node(x)


@dataclass(frozen=True, eq=False)
class _Asked:
    """A batch of queries: q [B, d], relations' vectors [L + 1, 2R, d] and queries' factors
    [L + 1, B, d], the scorer's terms of q [B, d] and of texts [N, d], and the factors [B, k] and
    [N, k] of how texts match."""

    graph: MessageGraph
    heads: Tensor
    q: Tensor
    vectors: Tensor
    factors: Tensor
    by_query: Tensor
    by_text: Tensor | None
    match: tuple[Tensor, Tensor] | None


class QueryEncoder(nn.Module):
    """Scores tails by the paths that lead to them from the head, on any graph over its relations.

    h_v^0 = 1[v = head] · q_r
    h_v^l = h_v^{l-1} + norm(relu(W_h h_v^{l-1} + W_m (h_v^0
            + Σ_{e=(u,r')→v} w_e · σ(s(h_u^{l-1}, q)) · h_u^{l-1} ∘ m_l(r', q))))
    score(h, r, v) = s(h_v^L, q, o_v, x_v) + match(x_h, q, x_v)
    o_v = Σ_{e=(u,r')→v} w_e · m_{L+1}(r', q)

    The scorer s, without role o and text x, is also the priority by which a budget picks the nodes
    that send; weighing their messages by σ(s) gives it a gradient. A node that no message reaches
    has state 0 and is scored by its role (which relations it has) and its text; m_l is that of
    `RelationVectors`, and `match` is `TextMatch`.

    Zhu et al., Neural Bellman-Ford Networks, NeurIPS 2021 (σ = 1, biases in place of the role,
    and m_l a matrix of each relation's own);
    Zhu et al., A*Net, NeurIPS 2023 (with a budget).

    Args:
        dim: d.
        num_relations: 2R, inverses included; not used with relation text, whose graphs may each
            have other relations.
        num_layers: L, the longest path.
        relation_text_dim: width of the relations' encodings; 0 learns each relation by itself.
        node_text_dim: width of the nodes' encodings, which the scorer reads; 0 leaves them out.
    """

    def __init__(
        self,
        dim: int,
        num_relations: int,
        num_layers: int = 4,
        relation_text_dim: int = 0,
        node_text_dim: int = 0,
    ) -> None:
        super().__init__()
        maps = num_layers + 1  # one for each step, and the role's
        self.relations: RelationTable | RelationText
        if relation_text_dim:
            self.relations = RelationText(dim, relation_text_dim, maps)
        else:
            self.relations = RelationTable(dim, num_relations, maps)
        self.layers = nn.ModuleList(BellmanFordLayer(dim) for _ in range(num_layers))
        self.scorer = Scorer(dim, node_text_dim)
        self.match = TextMatch(dim, node_text_dim) if node_text_dim else None

    def forward(
        self,
        graph: MessageGraph,
        heads: Tensor,
        relations: Tensor,
        tails: Tensor | None = None,
        *,
        relation_text: Tensor | None = None,
        node_text: Tensor | None = None,
        without: Tensor | None = None,
        budget: Budget | None = None,
    ) -> Tensor:
        """Score tails of (head, relation, ?).

        Args:
            graph: carries the messages, N nodes.
            heads: int64 [B].
            relations: int64 [B] in [0, 2R).
            tails: int64 [B, K], or None for all nodes.
            relation_text: [R, relation_text_dim], where the encoder was built with it.
            node_text: [N, node_text_dim], where the encoder was built with it.
            without: bool [E], triples that carry no message: those that are training targets.
            budget: what each query may send in a step; None sends from all nodes, which takes
                memory N · B · d.

        Returns:
            float [B, K], or [B, N].

        Raises:
            InputError: an id out of range, or relations or texts that do not fit the encoder.
        """
        self.relations.check(graph.num_relations, relation_text)
        _check_ids("head", heads, graph.num_nodes)
        _check_ids("query relation", relations, 2 * graph.num_relations)
        q = widen(self.relations.queries(relations, relation_text))
        asked = _Asked(
            graph if without is None else graph.drop(~without),
            heads,
            q,
            widen(self.relations.vectors(relation_text)),
            widen(self.relations.factors(q)),
            self.scorer.query(q),
            self.scorer.by_text(node_text, graph.num_nodes),
            None if self.match is None or node_text is None else self.match(node_text, heads, q),
        )
        states = self._all_states(asked) if budget is None else self._search(asked, budget)
        roles = _roles(asked.graph, asked.vectors[-1])
        query = torch.arange(len(heads), device=heads.device)
        if tails is not None:
            _check_ids("tail", tails, graph.num_nodes)
            return self._score(
                asked, states, roles, *torch.broadcast_tensors(query[:, None], tails)
            )
        # One query at a time: what ranking holds besides the states is N · d, whatever B.
        nodes = torch.arange(graph.num_nodes, device=heads.device)
        return torch.stack([self._score(asked, states, roles, b, nodes) for b in query])

    def _score(
        self, asked: _Asked, states: States, roles: Tensor, query: Tensor, node: Tensor
    ) -> Tensor:
        """Scores [...] of pairs in shapes that broadcast; roles [N, d] are as yet of no query."""
        role = self.scorer.by_role(roles[node] * asked.factors[-1][query])
        given = asked.by_query[query] + role
        if asked.by_text is not None:
            given = given + asked.by_text[node]
        scores = self.scorer(states(query, node), given)
        if asked.match is None:
            return scores
        by_query, by_node = asked.match
        return scores + torch.einsum("...k,...k->...", by_query[query], by_node[node])

    def _all_states(self, asked: _Asked) -> States:
        """Send from every node."""
        graph, batch = asked.graph, len(asked.heads)
        at_head = asked.heads * batch + torch.arange(batch, device=asked.heads.device)
        h = asked.q.new_zeros(graph.num_nodes * batch, asked.q.shape[1])
        h = h.index_copy(0, at_head, asked.q).view(graph.num_nodes, batch, -1)
        for number, layer in enumerate(self.layers):
            sent = h * self.scorer(h, asked.by_query).sigmoid()[..., None] * asked.factors[number]
            heard = weighted_product_spmm(
                graph.topology.by_node,
                graph.relation,
                graph.weight,
                widen(sent).flatten(1),
                asked.vectors[number].repeat(1, batch),
            )
            heard = heard.view(-1, h.shape[-1]).index_add(0, at_head, asked.q)
            h = layer(h, heard.view_as(h))
        return lambda query, node: h[node, query]

    def _search(self, asked: _Asked, budget: Budget) -> States:
        """Send from the best nodes; row i of h is the state of the i-th pair visited."""
        visited, h = Visited.start(asked.heads, asked.graph.num_nodes), asked.q
        at_head = torch.arange(len(h), device=h.device)
        for number, layer in enumerate(self.layers):
            priority = self.scorer(h, asked.by_query[visited.query])
            chosen = choose(visited, priority.detach(), asked.graph, budget)
            step = expand(visited, chosen, asked.graph)
            factor = asked.factors[number][visited.query[chosen]]
            heard = weighted_product_spmm(
                step.pattern,
                asked.graph.relation[step.message],
                asked.graph.weight[step.message],
                widen(h[chosen] * priority[chosen].sigmoid()[:, None] * factor),
                asked.vectors[number],
            )
            visited, at_head = step.visited, step.kept[at_head]
            h = torch.zeros_like(heard).index_copy(0, step.kept, h)
            h = layer(h, heard.index_add(0, at_head, asked.q))
        padded = functional.pad(h, (0, 0, 0, 1))
        return lambda query, node: padded[visited.rows(query, node)]


def _roles(graph: MessageGraph, vectors: Tensor) -> Tensor:
    """Σ w_e · v_r' of the messages into each node, [N, d], with vectors v [2R, d]."""
    both = weighted_spmm(graph.topology.by_relation, graph.weight, vectors)
    return both.view(2, graph.num_nodes, -1).sum(0)


def _check_ids(name: str, ids: Tensor, size: int) -> None:
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < size:
        raise InputError(
            f"{name} ids from {int(ids.min())} to {int(ids.max())}: expected ids from 0 to "
            f"{size - 1}; use the ids that the graph was built with"
        )
