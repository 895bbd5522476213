"""Training and ranking of a link predictor: what the one trainer and the ranking house ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from relgnn.config import Config, TrainConfig
from relgnn.gnn.graph import MessageGraph
from relgnn.gnn.losses import (
    bce_one_vs_all,
    margin_ranking,
    n3,
    one_vs_all_cross_entropy,
    self_adversarial,
)
from relgnn.gnn.negatives import NEGATIVE_SAMPLERS
from relgnn.gnn.sampling import NeighbourSampler, Subgraph
from relgnn.linkpred.model import LinkPredictor
from relgnn.ranking.admissible import Admissible
from relgnn.ranking.metrics import rank_metrics
from relgnn.ranking.ranks import FilterIndex, Ranks, ScoreTails, concatenate, evaluate_ranks
from relgnn.ranking.scores import Blockwise, Candidates, Products
from relgnn.runtime import Precision, native_bf16
from relgnn.training.task import Task

BLOCK_BATCH = 1024  # answers ranked at once where scores are made by blocks
WHOLE_BATCH = 256  # and where a batch is scored against all entities at once


@dataclass(frozen=True)
class Supervision:
    """What a link predictor is trained on and what it passes messages over.

    Args:
        targets: int64 [T, 3], triples to be predicted.
        target_weight: float [T]; gold weighs 1.
        context: int64 [E, 3], triples that carry messages.
        context_weight: float [E] in (0, 1].
        evidence: float [E, d_t], the encoding of each context triple's sentences, zero where it
            has none; None where no triple has any.
    """

    targets: Tensor
    target_weight: Tensor
    context: Tensor
    context_weight: Tensor
    evidence: Tensor | None = None

    @classmethod
    def gold(cls, triples: np.ndarray) -> Supervision:
        """Given triples only, as targets and as context."""
        rows = torch.from_numpy(np.array(triples, dtype=np.int64))
        return cls(rows, torch.ones(len(rows)), rows, torch.ones(len(rows)))

    def message_graph(self, num_entities: int, num_relations: int) -> MessageGraph:
        """The context as a message graph."""
        return MessageGraph.build(
            self.context, num_entities, num_relations, self.context_weight, self.evidence
        )

    def context_rows(self) -> Tensor:
        """int64 [T]: each target's row in `context`, E where it is not there."""
        rows = {tuple(triple): row for row, triple in enumerate(self.context.tolist())}
        none = len(self.context)
        return torch.tensor([rows.get(tuple(t), none) for t in self.targets.tolist()])


class LinkPredictionTask(Task[Tensor]):
    """Predict both ends of every target; a batch holds the numbers of its queries.

    While a triple is a target, its own edge is dropped from the context with probability
    `target_dropout` and its own evidence is masked always: either would give the answer away.
    Further edges and evidence are dropped at random, so that their presence alone says little.

    Args:
        model: what is trained.
        supervision: targets and context.
        valid: int64 [V, 3]; selects.
        known: int64 [K, 3], what filters at valid (given and valid).
        config: section train, and gnn.edge_dropout.
        name: shown in progress and log.
    """

    def __init__(
        self,
        model: LinkPredictor,
        supervision: Supervision,
        valid: np.ndarray,
        known: np.ndarray,
        config: Config,
        name: str = "link prediction",
    ) -> None:
        self.name = name
        self._model = model
        self.train: TrainConfig = config.train
        self.edge_dropout = config.gnn.edge_dropout
        self.target_dropout = config.gnn.target_dropout
        device = model.entity.device
        relations = model.num_relations
        head, relation, tail = supervision.targets.to(device).unbind(1)
        self.head = torch.cat([head, tail])
        self.relation = torch.cat([relation, relation + relations])
        self.tail = torch.cat([tail, head])
        self.weight = supervision.target_weight.to(device).repeat(2)
        self.context_row = supervision.context_rows().to(device).repeat(2)
        self.graph = supervision.message_graph(model.entity.shape[0], relations).to(device)
        fan_out = config.gnn.fan_out if model.encoder is not None else None
        self.sampler = None if fan_out is None else NeighbourSampler(self.graph, fan_out)
        self.valid = valid
        self.filter = FilterIndex.build(known, relations)
        self.negatives = NEGATIVE_SAMPLERS[config.train.negative_sampler](
            supervision.targets, model.entity.shape[0], relations
        )

    @property
    def model(self) -> nn.Module:
        return self._model

    def num_batches(self, epoch: int) -> int:
        return -(-len(self.head) // self.train.batch_size)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterable[Tensor]:
        order = torch.randperm(len(self.head), generator=generator)
        return iter(order.split(self.train.batch_size))

    def items(self, batch: Tensor) -> int:
        return len(batch)

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        batch = batch.to(self.head.device)
        heads, relations, tails = self.head[batch], self.relation[batch], self.tail[batch]
        weight, decoder = self.weight[batch], self._model.decoder
        if self.train.loss in ("cross_entropy", "bce"):
            x, z = self._model.encode(self._training_graph(batch, generator))
            h, r, t = x[heads], z[relations], x[tails]
            scores = decoder.score_all(h, r, x)
            rows = torch.arange(len(batch), device=scores.device)
            one_vs_all = (
                one_vs_all_cross_entropy if self.train.loss == "cross_entropy" else bce_one_vs_all
            )
            loss = one_vs_all(scores, rows, tails, weight, self.train.label_smoothing)
        else:
            wrong = self._wrong_tails(relations, generator)
            nodes = torch.cat([heads, tails, wrong.flatten()])
            x, z = self._encode(nodes, batch, generator)
            h, t, false = x.split([len(batch), len(batch), wrong.numel()])
            r = z[relations]
            negative = decoder.score(h[:, None], r[:, None], false.view(*wrong.shape, -1))
            sampled = margin_ranking if self.train.loss == "margin" else self_adversarial
            loss = sampled(decoder.score(h, r, t), negative, weights=weight)
        if self.train.n3:
            loss = loss + self.train.n3 * n3(decoder.factors(h, r, t))
        return loss

    def _encode(
        self, nodes: Tensor, batch: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Vectors of some nodes [n, d], over the whole graph or a drawn part, and of relations."""
        if self.sampler is None:
            x, z = self._model.encode(self._training_graph(batch, generator))
            return x[nodes], z
        seeds, place = nodes.unique(return_inverse=True)
        part = self.sampler.sample(seeds, generator)
        x, z = self._model.encode(self._training_graph(batch, generator, part), part.nodes)
        return x[place], z

    def _wrong_tails(self, relations: Tensor, generator: torch.Generator) -> Tensor:
        """Corrupt tails [B, K]; the tail of an inverse query is the head of its triple."""
        repeated = relations.repeat_interleave(self.train.negatives).cpu()
        plain = repeated % self._model.num_relations
        at_head = repeated >= self._model.num_relations
        drawn = self.negatives.draw(plain, at_head, generator)
        return drawn.view(len(relations), -1).to(relations.device)

    def _training_graph(
        self, batch: Tensor, generator: torch.Generator, part: Subgraph | None = None
    ) -> MessageGraph | None:
        """The context, or a drawn part of it, as this batch may see it."""
        if self._model.encoder is None:
            return None
        device = self.head.device
        if part is None:
            graph = self.graph
            target = torch.zeros(graph.num_edges + 1, dtype=torch.bool, device=device)
            target[self.context_row[batch]] = True
            target = target[:-1]
        else:
            graph = part.graph
            target = torch.isin(part.edges, self.context_row[batch])
        draws = torch.rand(3, graph.num_edges, generator=generator, device=device)
        dropped = (draws[0] < self.edge_dropout) | (target & (draws[1] < self.target_dropout))
        silent = target | (draws[2] < self.edge_dropout)
        return graph.drop(~dropped).mask_evidence(~silent)

    def evaluate(self) -> dict[str, float]:
        return rank_metrics(concatenate(list(self.rank(self.valid, self.filter).values())))

    def rank(self, triples: np.ndarray, known: FilterIndex) -> dict[str, Ranks]:
        """Filtered ranks of both ends of `triples` [M, 3], by side."""
        return rank_triples(self._model, self.graph, triples, known)


def rank_triples(
    model: LinkPredictor,
    graph: MessageGraph,
    triples: np.ndarray,
    known: FilterIndex,
    read: Callable[[Tensor, Tensor], Tensor] | None = None,
    admissible: Admissible | None = None,
) -> dict[str, Ranks]:
    """Filtered ranks of both ends of triples, by side.

    Args:
        model: in evaluation mode or not: it is left as it was.
        graph: the full context.
        triples: int64 [M, 3].
        known: what is filtered.
        read: heads [B], relations [B] in [0, 2R) -> scores [B, N] that are added (the text's say).
        admissible: the candidates of each query; all entities where None.
    """
    was_training = model.training
    model.eval()
    with torch.no_grad():
        encoded = model.encode(graph)
        if read is None:
            score_tails, batch_size = _block_scores(model, encoded), BLOCK_BATCH
        else:
            score_tails, batch_size = _read_scores(model, encoded, read), WHOLE_BATCH
        ranks = evaluate_ranks(
            score_tails, triples, known, model.num_relations, batch_size, admissible=admissible
        )
    model.train(was_training)
    return ranks


def _block_scores(model: LinkPredictor, encoded: tuple[Tensor, Tensor]) -> ScoreTails:
    """Scores of all tails, made block by block."""
    (x, z), decoder = encoded, model.decoder
    bilinear = decoder.bilinear and x.dtype != torch.float64
    # ranks are the same whichever precision comes first
    first_pass: Precision = "bf16" if native_bf16(x.device) else "fp32"
    candidates = Candidates(x, first_pass) if bilinear else None

    def score(heads: Tensor, relations: Tensor) -> Products | Blockwise:
        h, r = x[heads.to(x.device)], z[relations.to(x.device)]
        if candidates is not None:
            return Products(decoder.query(h, r), candidates)
        return Blockwise(len(x), lambda block: decoder.score_all(h, r, x[block]))

    return score


def _read_scores(
    model: LinkPredictor,
    encoded: tuple[Tensor, Tensor],
    read: Callable[[Tensor, Tensor], Tensor],
) -> ScoreTails:
    """Scores [B, N] of all tails with what the text adds."""

    def score(heads: Tensor, relations: Tensor) -> Tensor:
        device = model.entity.device
        scores = model.score_tails(encoded, heads.to(device), relations.to(device))
        return scores + read(heads, relations).to(device)

    return score
