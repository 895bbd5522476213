"""Training of the bi-encoder: a query near to its answer and far from what else is at hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from relgnn.config.biencoder import BiEncoderSettings
from relgnn.data import KnowledgeGraph
from relgnn.linkpred.biencoder import BiEncoder, BiEncoderScorer, Neighbourhood
from relgnn.linkpred.candidates import ask_both_ways
from relgnn.linkpred.evaluate import DenseScores
from relgnn.ranking.metrics import both_sides
from relgnn.ranking.ranks import FilterIndex, evaluate_ranks
from relgnn.runtime import Runtime
from relgnn.text.fitting import rate_groups
from relgnn.text.objectives.running_mean import move, running_mean
from relgnn.training.task import NumberedTask

TEMPERATURE_RATE = 10.0
"""How much faster than the language model the one number τ is learned."""


class Queue(nn.Module):
    """Vectors of entities of former batches, the newest in the place of the oldest.

    Args:
        size: vectors that are kept.
        width: of each.
        tower: that reads entities; with a momentum, a running mean of it fills the queue (He et
            al., Momentum Contrast, CVPR 2020).
        momentum: what the mean keeps at a step; 0: the trained tower's own vectors are kept.
    """

    vectors: Tensor
    nodes: Tensor
    place: Tensor

    def __init__(self, size: int, width: int, tower: nn.Module, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.mean = running_mean(tower) if momentum else None
        self.register_buffer("vectors", torch.zeros(size, width))
        self.register_buffer("nodes", torch.full((size,), -1, dtype=torch.long))
        self.register_buffer("place", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def put(self, nodes: Tensor, vectors: Tensor) -> None:
        """Keep vectors [B, d] of entities [B]."""
        size = len(self.nodes)
        nodes, vectors = nodes[-size:], vectors[-size:].detach()
        at = (self.place + torch.arange(len(nodes), device=self.place.device)) % size
        self.vectors[at], self.nodes[at] = vectors, nodes.to(self.nodes.device)
        self.place += len(nodes)


class BiEncoderTask(NumberedTask):
    """Contrast of queries and answers; a batch holds the numbers of training triples.

        loss = CE((cos(q_i, v_j) − γ [j is the answer]) / τ over candidates j)
             + CE(the same over queries i, for each answer)

    Every triple is asked for both ways, so that all ends of a batch's triples are candidates of
    every query in it; among them is the query's own head (SimKGC's self negatives). The queue's
    vectors are candidates too (its pre-batch negatives; with a momentum, those of MoCo). A known
    answer other than the one asked for is no candidate.

    With a teacher, weight · KL(teacher ‖ student) over the batch's candidates, known answers among
    them, is added: what the graph finds nearly as likely as the answer (Hinton et al., 2015).

    Args:
        model: what is trained.
        graph: its given triples train, its valid triples select.
        settings: section `biencoder`.
        runtime: precision of reading at valid.
        teacher: scores of all entities by another predictor.
    """

    name = "bi-encoder"
    rate_keys = ("biencoder.lr", "biencoder.clip")

    def __init__(
        self,
        model: BiEncoder,
        graph: KnowledgeGraph,
        settings: BiEncoderSettings,
        runtime: Runtime,
        teacher: DenseScores | None = None,
    ) -> None:
        self.encoder, self.settings, self.runtime = model, settings, runtime
        self.batch_size = settings.batch_size
        self.teacher = teacher
        self.triples = torch.tensor(graph.train)
        self.num_relations = graph.num_relations
        self.answers = FilterIndex.build(graph.train, graph.num_relations)
        self.valid = graph.valid
        self.filter = FilterIndex.build(graph.filter_triples("valid"), graph.num_relations)
        self.near = Neighbourhood(graph, settings.hops) if settings.neighbourhood else None
        self.queue: Queue | None = None
        trained: dict[str, nn.Module] = {"encoder": model}
        if settings.queue:
            with torch.no_grad():
                width = model.eval().entities(torch.tensor([0])).shape[1]
            self.queue = Queue(settings.queue, width, model.entity, settings.momentum)
            trained["queue"] = self.queue
        self._trained = nn.ModuleDict(trained)

    @property
    def model(self) -> nn.Module:
        return self._trained

    @property
    def count(self) -> int:
        return len(self.triples)

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        heads, relations, answers = ask_both_ways(self.triples[batch], self.num_relations)
        nodes, place = torch.cat([answers, heads]).unique(return_inverse=True)
        target, own = place.split(len(heads))
        queries = self.encoder.queries(heads, relations, answers)
        vectors = self.encoder.entities(nodes)
        known = self._known(heads, relations)
        device = queries.device
        with torch.autocast(device.type, enabled=False):  # a cosine is to be told from the next
            cosine = queries.float() @ vectors.float().T
            rows = torch.arange(len(heads))
            true = known[:, nodes]
            counted = ~true
            if not self.settings.self_negatives:
                counted[rows, own] = False
            counted[rows, target] = True
            counted, target = counted.to(device), target.to(device)
            answer = torch.zeros_like(cosine).scatter_(1, target[:, None], self.settings.margin)
            scores = (cosine - answer) * self.encoder.scale
            among = scores.masked_fill(~counted, float("-inf"))
            if self.queue is not None:
                among = torch.cat([among, self._queued(queries, known)], 1)
            loss = cross_entropy(among, target)
            # the other way: which of the batch's queries has this answer
            others = true.T.to(device)[target] & ~torch.eye(len(rows), dtype=torch.bool).to(device)
            back = scores.T[target].masked_fill(others, float("-inf"))
            loss = loss + cross_entropy(back, rows.to(device))
            if self.teacher is not None and self.settings.distil is not None:
                loss = loss + self._distilled(cosine, heads, relations, nodes)
        if self.queue is not None:
            self._fill(self.queue, nodes, vectors)
        return loss

    def _known(self, heads: Tensor, relations: Tensor) -> Tensor:
        """Which entities answer each query in the given triples, bool [B, N] on the CPU."""
        known = torch.zeros(len(heads), self.encoder.texts.num_entities, dtype=torch.bool)
        known[self.answers.known(heads, relations)] = True
        return known

    def _queued(self, queries: Tensor, known: Tensor) -> Tensor:
        """Scores of the queue's vectors, -inf where one is a known answer or not there yet."""
        assert self.queue is not None
        nodes = self.queue.nodes.cpu()
        out = known[:, nodes.clamp(min=0)] | (nodes < 0)
        # a copy: the queue changes before the gradient is taken
        scores = queries.float() @ self.queue.vectors.clone().T * self.encoder.scale
        return scores.masked_fill(out.to(scores.device), float("-inf"))

    def _fill(self, queue: Queue, nodes: Tensor, vectors: Tensor) -> None:
        if queue.mean is not None:
            with torch.no_grad():
                vectors = queue.mean(self.encoder.texts.entities(nodes))
        queue.put(nodes, vectors.float())

    def _distilled(self, cosine: Tensor, heads: Tensor, relations: Tensor, nodes: Tensor) -> Tensor:
        distil = self.settings.distil
        assert self.teacher is not None and distil is not None
        taught = self.teacher(heads, relations)[:, nodes].to(cosine.device)
        taught = (taught / distil.temperature).log_softmax(1)
        own = (cosine * self.encoder.scale).log_softmax(1)
        return distil.weight * kl_div(own, taught, reduction="batchmean", log_target=True)

    def stepped(self) -> None:
        self.encoder.keep_scale()
        if self.queue is not None and self.queue.mean is not None:
            move(self.queue.mean, self.encoder.entity, self.queue.momentum)

    def parameter_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        return rate_groups(
            self.encoder.named_parameters(),
            lambda name, _: lr * TEMPERATURE_RATE if name == "log_scale" else lr,
            weight_decay,
        )

    def scorer(self) -> BiEncoderScorer:
        """Scores of all entities as the model is now."""
        model = self.encoder.eval()
        return BiEncoderScorer(model, self.runtime, self.near, self.settings.neighbourhood)

    def evaluate(self) -> dict[str, float]:
        ranks = evaluate_ranks(self.scorer(), self.valid, self.filter, self.num_relations)
        return both_sides(ranks)
