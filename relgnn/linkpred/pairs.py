"""Prediction of edges of one kind: the model, its training, its scores."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from relgnn.config.ogb import PairSettings
from relgnn.data.ogb import OgbLinks
from relgnn.dropout import Dropout
from relgnn.errors import InputError
from relgnn.gnn.graph import MessageGraph
from relgnn.gnn.losses import pair_auc, pair_bce
from relgnn.gnn.negatives import PairSampler
from relgnn.gnn.propagation import NodeVectors, PairDecoder, Propagation, degrees, link_graph
from relgnn.gnn.sampling import NeighbourSampler
from relgnn.ranking.ogb import OgbEvaluator
from relgnn.runtime import model_device
from relgnn.spans import evenly
from relgnn.training.task import NumberedTask

SCORED = 1 << 16  # pairs scored at once


class PairPredictor(nn.Module):
    """Scores whether an edge connects two nodes.

    `dropout` is of the nodes' propagated vectors, once for all pairs of a step; `decoder_dropout`,
    of every pair's hidden layers, takes longer than all else.

    Args:
        num_nodes: N.
        features: float32 [N, d_f], or None.
        settings: section `pairs`.

    Raises:
        InputError: there are neither features nor embeddings.
    """

    def __init__(self, num_nodes: int, features: Tensor | None, settings: PairSettings) -> None:
        super().__init__()
        if features is None and not settings.embedding:
            raise InputError(
                f"pairs.embedding=false: the nodes of {settings.benchmark} have no features to "
                "stand in for learned vectors; set pairs.embedding=true"
            )
        self.vectors = NodeVectors(num_nodes, settings.dim, features, settings.embedding)
        self.propagation = Propagation(settings.dim, settings.steps)
        self.decoder = PairDecoder(settings.dim, settings.decoder_layers, settings.decoder_dropout)
        self.dropout = Dropout(settings.dropout)

    def encode(
        self, graph: MessageGraph, nodes: Tensor | None = None, degree: Tensor | None = None
    ) -> Tensor:
        """Vectors [N, dim] after the messages of a graph over all nodes, or [n, dim] over some.

        Args:
            graph: over all nodes, or over `nodes`.
            nodes: int64 [n].
            degree: of `nodes` in the whole graph; see `Propagation`.
        """
        encoded: Tensor = self.dropout(self.propagation(self.vectors(nodes), graph, degree))
        return encoded

    def score(self, encoded: Tensor, pairs: Tensor) -> Tensor:
        """Scores [B] of pairs int64 [B, 2]."""
        left, right = (encoded.index_select(0, end) for end in pairs.unbind(1))
        scores: Tensor = self.decoder(left, right)
        return scores


class EdgeTask(NumberedTask):
    """Tell the given edges from pairs without one; a batch holds the numbers of its edges.

    The graph of a step lacks the edges of its batch, with all parallel and reverse ones: they would
    give the answers away.

    Args:
        model: what is trained, on its device.
        links: its test pairs are looked at by `measure("test")` alone.
        settings: section `pairs`.
        evaluator: of the data set.
        name: shown in progress and log.
    """

    rate_keys = ("pairs.lr", "pairs.clip")

    def __init__(
        self,
        model: PairPredictor,
        links: OgbLinks,
        settings: PairSettings,
        evaluator: OgbEvaluator,
        name: str,
    ) -> None:
        self.name = name
        self.settings, self.links, self.evaluator = settings, links, evaluator
        self.batch_size = settings.batch_size
        self._model = model
        self.device = model_device(model)
        pairs = torch.from_numpy(links.pairs["train"])
        graph = link_graph(pairs, links.num_nodes)
        self.graph = graph.to(self.device)
        self.pairs = pairs.to(self.device)
        ends = pairs.amin(1) * links.num_nodes + pairs.amax(1)
        self.group = ends.unique(return_inverse=True)[1].to(self.device)
        self.negatives = PairSampler(self.pairs, links.num_nodes)
        self.sampler: NeighbourSampler | None = None
        if settings.fan_out is not None:
            self.sampler = NeighbourSampler(self.graph, settings.fan_out)
            self.degree = degrees(self.graph)

    @property
    def model(self) -> nn.Module:
        return self._model

    @property
    def count(self) -> int:
        return len(self.pairs)

    def kept(self, batch: Tensor, edges: Tensor | None = None) -> Tensor:
        """Which edges carry messages in the batch's step.

        Args:
            batch: int64 [B].
            edges: int64 [e], those asked about; all where None.

        Returns:
            bool [e].
        """
        # there are no more groups than edges
        asked = torch.zeros(self.count, dtype=torch.bool, device=self.device)
        asked[self.group[batch]] = True
        return ~asked[self.group if edges is None else self.group[edges]]

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        batch = batch.to(self.device)
        drawn = self.negatives.sample(len(batch) * self.settings.negatives, generator)
        asked = torch.cat([self.pairs[batch], drawn])
        if self.sampler is None:
            encoded = self._model.encode(self.graph.drop(self.kept(batch)))
        else:
            nodes, asked = asked.unique(return_inverse=True)
            part = self.sampler.sample(nodes, generator)
            graph = part.graph.drop(self.kept(batch, part.edges))
            encoded = self._model.encode(graph, part.nodes, self.degree[part.nodes])
        scores = self._model.score(encoded, asked)
        loss = pair_auc if self.settings.loss == "auc" else pair_bce
        return loss(scores[: len(batch)], scores[len(batch) :])

    def evaluate(self) -> dict[str, float]:
        return {self.evaluator.metric: self.measure("valid", self.settings.selected_among)}

    def measure(self, split: str, among: int | None = None) -> float:
        """OGB's metric of valid or test, the model as it is now.

        Args:
            split: "valid" or "test".
            among: how many of the pairs, evenly spread, where each has its own negatives; all where
                None.
        """
        with torch.no_grad():
            encoded = self._model.encode(self.graph)
            return measure_links(
                self.links, self.evaluator, split, partial(self._scores, encoded), among
            )

    def _scores(self, encoded: Tensor, pairs: Tensor) -> Tensor:
        """Scores float32 [B] on the CPU."""
        parts = pairs.split(SCORED)
        return torch.cat(
            [self._model.score(encoded, x.to(self.device)).float().cpu() for x in parts]
        )


def measure_links(
    links: OgbLinks,
    evaluator: OgbEvaluator,
    split: str,
    score: Callable[[Tensor], Tensor],
    among: int | None = None,
) -> float:
    """OGB's metric of a split of edges.

    Args:
        links: held-out edges and their negatives.
        evaluator: of the data set.
        split: "valid" or "test".
        score: pairs int64 [B, 2] -> scores float32 [B] on the CPU.
        among: see `EdgeTask.measure`.
    """
    positive = torch.from_numpy(links.pairs[split])
    negative = torch.from_numpy(links.negatives[split])
    own = negative.shape[1] != 2 or evaluator.metric == "mrr"
    if own and among is not None:
        rows = evenly(len(positive), among)
        positive, negative = positive[rows], negative[rows]
    true = score(positive)
    if not own:
        return evaluator.links(true, score(negative))
    rows_at_once = max(1, SCORED // negative.shape[1])
    false = [
        score(_with_targets(part, targets)).view(targets.shape)
        for part, targets in zip(
            positive.split(rows_at_once), negative.split(rows_at_once), strict=True
        )
    ]
    return evaluator.links(true, torch.cat(false))


def _with_targets(pairs: Tensor, targets: Tensor) -> Tensor:
    """Each pair's source with each of its other targets [E, K], int64 [E · K, 2]."""
    return torch.stack([pairs[:, :1].expand_as(targets), targets], 2).flatten(0, 1)
