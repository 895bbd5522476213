"""Link prediction in a knowledge graph of OGB, ranked among its own negatives."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from relgnn.config import Config
from relgnn.config.ogb import TripleConfig
from relgnn.data.ogb import OgbTriples
from relgnn.linkpred.model import LinkPredictor
from relgnn.linkpred.supervision import Supervision
from relgnn.linkpred.task import LinkPredictionTask
from relgnn.ranking.ogb import OgbEvaluator
from relgnn.spans import evenly

SCORED = 1 << 17  # candidates scored at once


def as_link_prediction(config: TripleConfig) -> Config:
    """The same as a run of link prediction without text.

    Raises:
        ValueError: its sections do not fit each other.
    """
    shared = {name: getattr(config, name) for name in ("data", "gnn", "decoder", "train")}
    return Config(**shared)


def supervision_of(data: OgbTriples, config: TripleConfig) -> Supervision:
    """All training triples as targets, and as context where there is a graph encoder to read it."""
    gold = Supervision.gold(data.triples["train"])
    if config.gnn.kind != "none":
        return gold
    return Supervision(gold.targets, gold.target_weight, gold.targets[:0], gold.target_weight[:0])


class GivenNegativesTask(LinkPredictionTask):
    """Predict both ends of every training triple; valid ranks each among the negatives it is given.

    Args:
        model: what is trained, on its device.
        data: its test triples are looked at by `measure("test")` alone.
        config: of the run.
        evaluator: of the data set.
        name: shown in progress and log.
    """

    def __init__(
        self,
        model: LinkPredictor,
        data: OgbTriples,
        config: TripleConfig,
        evaluator: OgbEvaluator,
        name: str,
    ) -> None:
        nothing = np.empty((0, 3), dtype=np.int64)
        super().__init__(
            model, supervision_of(data, config), nothing, nothing, as_link_prediction(config), name
        )
        self.data, self.evaluator = data, evaluator
        self.selected_among = config.triples.selected_among

    def evaluate(self) -> dict[str, float]:
        return {self.evaluator.metric: self.measure("valid", self.selected_among)}

    def measure(self, split: str, among: int | None = None) -> float:
        """OGB's metric of valid or test, the mean over both sides, the model as it is now.

        Args:
            split: "valid" or "test".
            among: how many of the triples, evenly spread; all where None.
        """
        triples = torch.from_numpy(self.data.triples[split])
        rows = evenly(len(triples), among)
        head, relation, tail = triples[rows].unbind(1)
        tails = torch.from_numpy(self.data.tail_negatives[split])[rows]
        heads = torch.from_numpy(self.data.head_negatives[split])[rows]
        with torch.no_grad():
            encoded = self._model.encode(self.graph)
            forward = self._ranked(encoded, head, relation, tail, tails)
            inverse = relation + self._model.num_relations
            backward = self._ranked(encoded, tail, inverse, head, heads)
        both = zip(forward, backward, strict=True)
        return self.evaluator.links(*(torch.cat(scores) for scores in both))

    def _ranked(
        self,
        encoded: tuple[Tensor, Tensor],
        heads: Tensor,
        relations: Tensor,
        tails: Tensor,
        others: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Scores [E] of the tails of queries, and [E, K] of other ones, on the CPU."""
        (x, z), decoder = encoded, self._model.decoder
        true, false = [], []
        size = max(1, SCORED // max(others.shape[1], 1))
        parts = zip(*(part.split(size) for part in (heads, relations, tails, others)), strict=True)
        for h, r, t, other in parts:
            own, relation = x[h.to(x.device)], z[r.to(x.device)]
            true.append(decoder.score(own, relation, x[t.to(x.device)]).float().cpu())
            wrong = decoder.score(own[:, None], relation[:, None], x[other.to(x.device)])
            false.append(wrong.float().cpu())
        return torch.cat(true), torch.cat(false)
