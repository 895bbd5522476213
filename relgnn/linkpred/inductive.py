"""Training and ranking of the query-conditioned encoder, which knows relations and no entity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from relgnn.config.inductive import InductiveSettings
from relgnn.data import KnowledgeGraph
from relgnn.gnn.frontier import Budget
from relgnn.gnn.graph import MessageGraph
from relgnn.gnn.inductive import QueryEncoder
from relgnn.gnn.losses import self_adversarial
from relgnn.ranking.metrics import both_sides
from relgnn.ranking.ranks import FilterIndex, evaluate_ranks
from relgnn.runtime import model_device
from relgnn.training.task import NumberedTask

QUERIES = 64  # ranked at once: memory is N · QUERIES · d


@dataclass(frozen=True)
class Texts:
    """Encodings of one graph's texts that the encoder reads, on its device.

    Args:
        relations: [R, d_t], or None where each relation is learned by itself.
        nodes: [N, d_t], or None where they are not read.
    """

    relations: Tensor | None = None
    nodes: Tensor | None = None

    def named(self) -> dict[str, Tensor | None]:
        """As arguments of `QueryEncoder.forward`."""
        return {"relation_text": self.relations, "node_text": self.nodes}


@dataclass(frozen=True)
class QueryRanker:
    """Scores of all nodes of one graph, in the form that `evaluate_ranks` asks for.

    Args:
        model: an encoder for the graph's relations.
        graph: carries the messages.
        budget: what a query may send in a step.
        texts: of the graph.
    """

    model: QueryEncoder
    graph: MessageGraph
    budget: Budget
    texts: Texts = Texts()

    def __call__(self, heads: Tensor, relations: Tensor) -> Tensor:
        """Scores [B, N] of heads [B] and relations [B] in [0, 2R)."""
        device = self.graph.edge_weight.device
        scores: Tensor = self.model(
            self.graph,
            heads.to(device),
            relations.to(device),
            budget=self.budget,
            **self.texts.named(),
        )
        return scores


class QueryTask(NumberedTask):
    """Predict both ends of every training triple; a batch holds the numbers of its queries.

    A step's graph lacks the edges of its own triples, which would give the answers away, and with
    `drop_between` all edges between their ends, whatever relation and direction. Zhu et al., Neural
    Bellman-Ford Networks, NeurIPS 2021, drop those on FB15k-237, where no asked pair is joined by a
    given triple, so that they would teach that an answer is a neighbour. Where triples are drawn at
    random for test, many a pair is joined, and without its edges the encoder learns that a
    neighbour is *no* answer. The loss is theirs too: each answer against some drawn nodes, the
    likelier the heavier; those that are known answers do not count.

    Args:
        model: what is trained, on its device.
        graph: the training graph; its valid triples select, its test triples are not looked at.
        settings: section `inductive`.
        texts: of the graph.
    """

    name = "inductive"
    rate_keys = ("inductive.lr",)

    def __init__(
        self,
        model: QueryEncoder,
        graph: KnowledgeGraph,
        settings: InductiveSettings,
        texts: Texts = Texts(),
    ) -> None:
        self.settings = settings
        self.batch_size = settings.batch_size
        self.texts = texts
        self._model = model
        device = model_device(model)
        triples = torch.tensor(graph.train)
        head, relation, tail = triples.unbind(1)
        self.head = torch.cat([head, tail])
        self.relation = torch.cat([relation, relation + graph.num_relations])
        self.tail = torch.cat([tail, head])
        ends = torch.minimum(head, tail) * graph.num_entities + torch.maximum(head, tail)
        own = torch.arange(len(triples))
        self.group = ends.unique(return_inverse=True)[1] if settings.drop_between else own
        self.graph = message_graph(graph).to(device)
        self.budget = budget_of(settings)
        self.num_relations = graph.num_relations
        self.answers = FilterIndex.build(graph.train, graph.num_relations)
        self.valid = graph.valid
        self.known = FilterIndex.build(graph.filter_triples("valid"), graph.num_relations)

    @property
    def model(self) -> nn.Module:
        return self._model

    @property
    def count(self) -> int:
        return len(self.head)

    def left_out(self, batch: Tensor) -> Tensor:
        """Which training triples carry no message in the batch's step, bool [E]."""
        count = len(self.group)
        asked = torch.zeros(count, dtype=torch.bool)  # there are no more groups than triples
        asked[self.group[batch % count]] = True
        return asked[self.group]

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        device = self.graph.edge_weight.device
        heads, relations, tails = self.head[batch], self.relation[batch], self.tail[batch]
        drawn = torch.randint(
            self.graph.num_nodes, (len(batch), self.settings.negatives), generator=generator,
            device=device,
        )  # fmt: skip
        scores = self._model(
            self.graph,
            heads.to(device),
            relations.to(device),
            torch.cat([tails.to(device)[:, None], drawn], 1),
            without=self.left_out(batch).to(device),
            budget=self.budget,
            **self.texts.named(),
        )
        true = self._is_known(heads, relations, drawn.cpu()).to(device)
        wrong = scores[:, 1:].masked_fill(true, torch.finfo(scores.dtype).min)
        return self_adversarial(scores[:, 0], wrong, margin=0.0)

    def _is_known(self, heads: Tensor, relations: Tensor, tails: Tensor) -> Tensor:
        """Which of the tails [B, K] answer their query in the training graph, bool [B, K]."""
        row, answer = self.answers.known(heads, relations)
        asked = torch.arange(len(heads))[:, None] * self.graph.num_nodes + tails
        return torch.isin(asked, row * self.graph.num_nodes + answer)

    def evaluate(self) -> dict[str, float]:
        ranker = QueryRanker(self._model, self.graph, self.budget, self.texts)
        ranks = evaluate_ranks(ranker, self.valid, self.known, self.num_relations, QUERIES)
        return both_sides(ranks)


def message_graph(graph: KnowledgeGraph) -> MessageGraph:
    """What carries messages: the given triples."""
    triples = torch.tensor(np.asarray(graph.train))
    return MessageGraph.build(triples, graph.num_entities, graph.num_relations)


def budget_of(settings: InductiveSettings) -> Budget:
    """What a query may send in a step."""
    return Budget(settings.nodes, settings.edges)
