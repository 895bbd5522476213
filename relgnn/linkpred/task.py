"""Training and ranking of a link predictor: what the one trainer and the ranking house ask for."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from relgnn.config import Config, LoopConfig, TrainConfig
from relgnn.gnn.graph import MessageGraph
from relgnn.gnn.losses import (
    bce_one_vs_all,
    bootstrapped_cross_entropy,
    generalised_cross_entropy,
    margin_ranking,
    n3,
    one_vs_all_cross_entropy,
    self_adversarial,
)
from relgnn.gnn.negatives import NEGATIVE_SAMPLERS
from relgnn.gnn.one_vs_all import product_cross_entropy
from relgnn.gnn.precision import product_dtype
from relgnn.gnn.sampling import NeighbourSampler, Subgraph
from relgnn.linkpred.model import LinkPredictor
from relgnn.linkpred.signals import Scored, Seen, Step, make_signals
from relgnn.linkpred.supervision import SameNumber, Supervision
from relgnn.ranking.admissible import Admissible
from relgnn.ranking.metrics import both_sides
from relgnn.ranking.ranks import FilterIndex, Ranks, ScoreTails, evaluate_ranks
from relgnn.ranking.scores import Blockwise, Candidates, Products
from relgnn.runtime import Precision, native_bf16
from relgnn.training.task import NumberedTask

BLOCK_BATCH = 1024  # answers ranked at once where scores are made by blocks
WHOLE_BATCH = 256  # and where a batch is scored against all entities at once


class LinkPredictionTask(NumberedTask):
    """Predict both ends of every target; a batch holds the numbers of its queries.

    While a triple is a target, its own edge is dropped from the context with probability
    `target_dropout` and its own evidence is masked always: either would give the answer away.
    Further edges and evidence are dropped at random, so that their presence alone says little.

    Args:
        model: what is trained.
        supervision: targets and context.
        valid: int64 [V, 3]; selects.
        known: int64 [K, 3], what filters at valid (given and valid).
        config: section train, gnn.edge_dropout, and what section loop says of the loss of accepted
            targets.
        name: shown in progress and log.
    """

    rate_keys = ("train.lr", "train.clip")

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
        self.config = config
        self.train: TrainConfig = config.train
        self.batch_size = config.train.batch_size
        self.edge_dropout = config.gnn.edge_dropout
        self.target_dropout = config.gnn.target_dropout
        device = model.entity.device
        relations = model.num_relations
        head, relation, tail = supervision.targets.to(device).unbind(1)
        self.head = torch.cat([head, tail])
        self.relation = torch.cat([relation, relation + relations])
        self.tail = torch.cat([tail, head])
        self.weight = supervision.target_weight.to(device).repeat(2)
        pseudo, text = supervision.pseudo, supervision.p_text
        none = torch.zeros(len(head), dtype=torch.bool)
        self.pseudo = (none if pseudo is None else pseudo).to(device).repeat(2)
        self.p_text = None if text is None else text.to(device).float().repeat(2)
        self.pseudo_loss = _pseudo_loss(config.loop) if bool(self.pseudo.any()) else None
        self.same_triple = SameNumber(*supervision.triples(), device)
        self.same_pair = self.same_triple
        if config.gnn.evidence_mask == "pair":
            self.same_pair = SameNumber(*supervision.pairs(), device)
        self.graph = supervision.message_graph(model.entity.shape[0], relations).to(device)
        self._cast: MessageGraph | None = None
        fan_out = config.gnn.fan_out if model.encoder is not None else None
        self.sampler = None if fan_out is None else NeighbourSampler(self.graph, fan_out)
        self.valid = valid
        self.filter = FilterIndex.build(known, relations)
        self.negatives = NEGATIVE_SAMPLERS[config.train.negative_sampler](
            supervision.targets, model.entity.shape[0], relations
        )
        self._adopt(model)

    def _adopt(self, model: LinkPredictor) -> None:
        self._model = model
        self.signals = make_signals(self.config, self.p_text)
        trained: nn.Module = model
        if list(self.signals.parameters()):
            # what a signal learns is resumed with the predictor, and is not part of it
            trained = nn.ModuleDict({"predictor": model, "signals": self.signals})
        self._trained = trained

    def twin(self, model: LinkPredictor) -> LinkPredictionTask:
        """The same task for another predictor of the same shape; what is read alone is shared."""
        other = copy(self)
        other._adopt(model)
        return other

    @property
    def model(self) -> nn.Module:
        return self._trained

    @property
    def count(self) -> int:
        return len(self.head)

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        return self.loss_of(self.see(batch, generator), generator)

    def see(self, batch: Tensor, generator: torch.Generator) -> Seen:
        """Encode and score queries int64 [B], under draws from `generator`."""
        batch = batch.to(self.head.device)
        if self.train.loss in ("cross_entropy", "bce"):
            x, z = self._model.encode(self._training_graph(batch, generator))
            return Seen(batch, x, z, None, self._score(batch, x, z, None))
        wrong = self._wrong_tails(self.relation[batch], generator)
        nodes = torch.cat([self.head[batch], self.tail[batch], wrong.flatten()])
        x, z, place = self._encode(nodes, batch, generator)
        return Seen(batch, x, z, place, self._score(batch, x, z, place))

    def loss_of(self, seen: Seen, generator: torch.Generator, kept: Tensor | None = None) -> Tensor:
        """The loss of what was seen, with regulariser and signals.

        Args:
            seen: of this task's predictor.
            generator: of the signals' draws.
            kept: bool [B], the queries that count; all where None.
        """
        batch = seen.batch
        weight = self.weight[batch]
        p_text = None if self.p_text is None else self.p_text[batch]
        if kept is not None:
            weight = weight * kept
            p_text = None if p_text is None else p_text.masked_fill(~kept, float("nan"))
        supervised = loss = self._supervised(seen.scored, batch, weight)
        if self.train.n3:
            loss = loss + self.train.n3 * n3(self._model.decoder.factors(*seen.scored.vectors))
        if self.train.relation_prediction:
            loss = loss + self.train.relation_prediction * self._relations(seen, weight)
        if not len(self.signals):
            return loss

        def moved(x: Tensor) -> Tensor:
            return self._supervised(self._score(batch, x, seen.z, seen.place), batch, weight)

        def view(nodes: Tensor, edge_dropout: float) -> Tensor:
            x, _, place = self._encode(nodes, batch, generator, edge_dropout)
            return x[place]

        nodes = self._model.entity.shape[0]
        step = Step(seen.x, seen.scored, supervised, p_text, moved, view, nodes, generator)
        for signal in self.signals:
            loss = loss + signal(step)
        return loss

    def _relations(self, seen: Seen, weight: Tensor) -> Tensor:
        """Cross-entropy of each target's relation among all, given both ends.

        Chen et al., Relation Prediction as an Auxiliary Training Objective for Improving
        Multi-Relational Graph Representations, AKBC 2021.
        """
        h, _, t = seen.scored.vectors
        scores = self._model.decoder.score_relations(h, seen.z, t)
        rows = torch.arange(len(scores), device=scores.device)
        return one_vs_all_cross_entropy(scores, rows, self.relation[seen.batch], weight)

    def _score(self, batch: Tensor, x: Tensor, z: Tensor, place: Tensor | None) -> Scored:
        decoder, r, count = self._model.decoder, z[self.relation[batch]], len(batch)
        if place is None:
            tails = self.tail[batch]
            h, t = x[self.head[batch]], x[tails]
            products = (decoder.query(h, r), x) if decoder.bilinear else None

            def of_all() -> tuple[Tensor, Tensor]:
                if products is None:
                    scores = decoder.score_all(h, r, x)
                else:
                    scores = products[0] @ products[1].t()
                return scores, scores[torch.arange(count, device=scores.device), tails]

            return Scored(tails, (h, r, t), of_all, products)
        h, t, false = x[place].split([count, count, len(place) - 2 * count])
        wrong = false.view(count, -1, false.shape[-1])

        def of_drawn() -> tuple[Tensor, Tensor]:
            return decoder.score(h[:, None], r[:, None], wrong), decoder.score(h, r, t)

        return Scored(None, (h, r, t), of_drawn)

    def _supervised(self, scored: Scored, batch: Tensor, weight: Tensor) -> Tensor:
        """The loss of targets alone."""
        tails, smoothing = scored.tails, self.train.label_smoothing
        if tails is None:
            pair = scored.answer, scored.candidates
            if self.train.loss == "margin":
                return margin_ranking(*pair, weights=weight)
            if not self._model.decoder.bilinear:
                return self_adversarial(*pair, weights=weight)
            # products begin at 0, from which the margin of distances would push all of them down
            return self_adversarial(*pair, margin=0.0, weights=weight)
        plain = self.train.loss == "cross_entropy" and self.pseudo_loss is None
        if plain and scored.products is not None:
            return product_cross_entropy(*scored.products, tails, weight, smoothing)
        scores, rows = scored.candidates, torch.arange(len(batch), device=tails.device)
        if self.train.loss == "bce":
            return bce_one_vs_all(scores, rows, tails, weight, smoothing)
        if self.pseudo_loss is None:
            return one_vs_all_cross_entropy(scores, rows, tails, weight, smoothing)
        accepted = self.pseudo[batch]
        gold, pseudo = (
            (scores, rows[which], tails[which], weight[which], smoothing)
            for which in (~accepted, accepted)
        )
        return one_vs_all_cross_entropy(*gold) + self.pseudo_loss(*pseudo)

    def _encode(
        self,
        nodes: Tensor,
        batch: Tensor,
        generator: torch.Generator,
        edge_dropout: float | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors of nodes, over the whole graph or a drawn part, and of relations; and the rows
        int64 [n] of the former that are `nodes` [n]."""
        if self.sampler is None:
            graph = self._training_graph(batch, generator, edge_dropout=edge_dropout)
            return *self._model.encode(graph), nodes
        seeds, place = nodes.unique(return_inverse=True)
        part = self.sampler.sample(seeds, generator)
        graph = self._training_graph(batch, generator, part, edge_dropout)
        return *self._model.encode(graph, part.nodes), place

    def _wrong_tails(self, relations: Tensor, generator: torch.Generator) -> Tensor:
        """Corrupt tails [B, K]; the tail of an inverse query is the head of its triple."""
        repeated = relations.repeat_interleave(self.train.negatives).cpu()
        plain = repeated % self._model.num_relations
        at_head = repeated >= self._model.num_relations
        drawn = self.negatives.draw(plain, at_head, generator)
        return drawn.view(len(relations), -1).to(relations.device)

    def _training_graph(
        self,
        batch: Tensor,
        generator: torch.Generator,
        part: Subgraph | None = None,
        edge_dropout: float | None = None,
    ) -> MessageGraph | None:
        """The context, or a drawn part of it, as this batch may see it.

        `edge_dropout` stands in for that of the configuration.
        """
        if self._model.encoder is None:
            return None
        device = self.head.device
        graph = self._context if part is None else part.graph
        rows = None if part is None else part.edges
        target = self.same_triple.of_batch(batch, rows)
        rate = self.edge_dropout if edge_dropout is None else edge_dropout
        draws = torch.rand(3, graph.num_edges, generator=generator, device=device)
        hidden = self.same_triple.shared(draws[1], rows) < self.target_dropout
        dropped = (draws[0] < rate) | (target & hidden)
        same = self.same_pair is self.same_triple
        told = target if same else self.same_pair.of_batch(batch, rows)
        silent = told | (draws[2] < rate)
        return graph.drop(~dropped).mask_evidence(~silent)

    @property
    def _context(self) -> MessageGraph:
        """The whole context, its evidence in the precision in which products are made of it.

        Otherwise every layer of every step would cast all of it anew.
        """
        evidence = self.graph.evidence
        if evidence is None or product_dtype(evidence) == evidence.dtype:
            return self.graph
        if self._cast is None:
            self._cast = replace(self.graph, evidence=evidence.to(product_dtype(evidence)))
        return self._cast

    def evaluate(self) -> dict[str, float]:
        return both_sides(self.rank(self.valid, self.filter))

    def rank(self, triples: np.ndarray, known: FilterIndex) -> dict[str, Ranks]:
        """Filtered ranks of both ends of `triples` [M, 3], by side."""
        return rank_triples(self._model, self.graph, triples, known)


def _pseudo_loss(loop: LoopConfig | None) -> Callable[..., Tensor] | None:
    """What stands in for cross-entropy where a target was accepted; None: nothing does."""
    if loop is None or loop.pseudo_loss == "plain":
        return None
    if loop.pseudo_loss == "gce":
        return partial(generalised_cross_entropy, q=loop.gce_q)
    return partial(bootstrapped_cross_entropy, beta=loop.bootstrap_beta)


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
