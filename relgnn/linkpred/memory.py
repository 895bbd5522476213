"""A memory beside a trained predictor: it learns what was told, the predictor stays as it is.

A predictor that should both generalise and remember does neither well: with little weight decay it
learns its triples by heart, with much of it what was read is forgotten. So the two are apart: the
predictor is trained as ever, then a memory, of vectors of its own, learns what was told, as far as
the predictor does not know it already.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from relgnn.config import MemoryConfig
from relgnn.gnn.decoders import Beside
from relgnn.gnn.graph import MessageGraph
from relgnn.linkpred.model import LinkPredictor
from relgnn.linkpred.reading import Reading, TextReader
from relgnn.linkpred.supervision import Supervision
from relgnn.linkpred.task import rank_triples
from relgnn.ranking.metrics import both_sides
from relgnn.ranking.ranks import FilterIndex
from relgnn.training.task import NumberedTask


class MemoryTask(NumberedTask):
    """Distil a predictor that reads what was told into one that remembers it.

    With s the predictor's score, which does not change, and m that of the memory, the loss of a
    query (h, r, ?) is

        KL(q ‖ softmax(s + m)),    q = softmax(s + w · (logit p − logit floor)⁺)

    with p the probability of what was told of each tail, and nothing said below the floor (Hinton
    et al., Distilling the Knowledge in a Neural Network, 2015; the teacher is a product of
    experts). Queries are those of all that was told, and of the given targets, where the memory
    learns to be silent. A batch holds numbers of queries.

    Args:
        model: a trained predictor without a memory, which is given one.
        graph: what it passes messages over.
        supervision: what is told, and the targets.
        valid: int64 [V, 3].
        known: int64 [K, 3], what filters at valid.
        settings: section loop.memory.
        name: shown in progress and log.
    """

    rate_keys = ("loop.memory.lr",)

    def __init__(
        self,
        model: LinkPredictor,
        graph: MessageGraph,
        supervision: Supervision,
        valid: np.ndarray,
        known: np.ndarray,
        settings: MemoryConfig,
        name: str = "memory",
    ) -> None:
        assert supervision.told is not None and supervision.told_p is not None
        self.name, self.settings = name, settings
        self.batch_size = settings.batch_size
        self.predictor, self.graph, self.valid = model, graph, valid
        self.filter = FilterIndex.build(known, model.num_relations)
        self._trained_on = model.decoder.eval()
        with torch.no_grad():
            self.x, self.z = model.eval().encode(graph)
        told, p = supervision.told.numpy(), supervision.told_p.numpy()
        reader = TextReader(told, p, len(self.x), model.num_relations)
        self.tell = reader.scores(
            Reading.alike(settings.weight, settings.floor, model.num_relations)
        )
        spoken = told[p > settings.floor]
        asked = np.concatenate([spoken, supervision.given().targets.numpy()])
        both = np.concatenate([asked[:, :2], asked[:, :0:-1] + [0, model.num_relations]])
        self.queries = torch.from_numpy(np.unique(both, axis=0))
        self.memory = model.remember(settings.dim)

    @property
    def model(self) -> nn.Module:
        return self.memory

    @property
    def count(self) -> int:
        return len(self.queries)

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        device = self.x.device
        heads, relations = self.queries[batch].to(device).unbind(1)
        with torch.no_grad():
            known = self._trained_on.score_all(self.x[heads], self.z[relations], self.x).float()
            teacher = (known + self.tell(heads, relations).to(device)).log_softmax(1)
        beside, memory = self.predictor.decoder, self.memory
        assert isinstance(beside, Beside)
        own = beside.second.score_all(
            memory.entity[heads], memory.relation[relations], memory.entity
        )
        student = (known + own).log_softmax(1)
        return (teacher.exp() * (teacher - student)).sum(1).mean()

    def evaluate(self) -> dict[str, float]:
        ranks = rank_triples(self.predictor, self.graph, self.valid, self.filter)
        return both_sides(ranks)
