"""A small network that puts the best candidates of a query into a new order."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from relgnn.config.biencoder import RerankSettings
from relgnn.dropout import Dropout
from relgnn.linkpred.candidates import Queries, promoted, ranks_among
from relgnn.linkpred.evaluate import DenseScores
from relgnn.linkpred.rerank_features import CandidateFeatures
from relgnn.ranking.metrics import rank_metrics
from relgnn.ranking.ranks import Ranks
from relgnn.training.task import NumberedTask


class Reranker(nn.Module):
    """s(x) = w · x̂ + u · relu(W x̂), x̂ the features at mean 0 and deviation 1.

    Args:
        features: F.
        hidden: rows of W.
        dropout: of the hidden units.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, features: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))
        self.linear = nn.Linear(features, 1, bias=False)
        self.inner = nn.Linear(features, hidden)
        self.dropout = Dropout(dropout)
        self.outer = nn.Linear(hidden, 1, bias=False)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.linear.weight)

    def standardise(self, features: Tensor) -> None:
        """Take mean and deviation from features [Q, K, F]; it then begins with the base's order."""
        flat = features.flatten(0, 1)
        self.mean.copy_(flat.mean(0))
        self.deviation.copy_(flat.std(0).clamp(min=1e-3))
        with torch.no_grad():
            self.linear.weight[0, 0] = self.deviation[0]

    def forward(self, features: Tensor) -> Tensor:
        """Scores [Q, K] of features [Q, K, F]."""
        x = (features - self.mean) / self.deviation
        hidden = self.dropout(self.inner(x).relu())
        found: Tensor = (self.linear(x) + self.outer(hidden))[..., 0]
        return found


class RerankTask(NumberedTask):
    """Learn the order of candidates from some queries; others select.

        loss = CE(softmax over a query's candidates, the answer)

    the listwise loss with one relevant candidate (Cao et al., Learning to Rank: From Pairwise
    Approach to Listwise Approach, ICML 2007). A query whose answer is no candidate teaches nothing.

    Args:
        model: what is trained.
        learned: queries to learn from.
        selecting: queries that select; an answer that is no candidate ranks behind them all.
        settings: section `rerank`.
        name: in progress and log.
    """

    rate_keys = ("rerank.lr",)

    def __init__(
        self,
        model: Reranker,
        learned: Queries,
        selecting: Queries,
        settings: RerankSettings,
        name: str,
    ) -> None:
        self.name = name
        self._model, self.settings, self.selecting = model, settings, selecting
        self.batch_size = settings.batch_size
        self.learned = learned.of(learned.place >= 0)

    @property
    def model(self) -> nn.Module:
        return self._model

    @property
    def count(self) -> int:
        return len(self.learned.heads)

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        some = self.learned.of(batch)
        device = self._model.mean.device
        scores = self._model(some.features.to(device))
        scores = scores.masked_fill(some.other.to(device), float("-inf"))
        return cross_entropy(scores, some.place.to(device))

    def evaluate(self) -> dict[str, float]:
        return rank_metrics(list_ranks(self._model, self.selecting))


def list_ranks(model: Reranker | None, queries: Queries) -> Ranks:
    """Ranks of answers among their candidates, other known answers left out.

    Args:
        model: gives the order; None for the base's own.
        queries: an answer that is no candidate counts as the one behind the last.
    """
    scores = -queries.features[:, :, 1]
    if model is not None:
        device = model.mean.device
        with torch.no_grad():
            scores = model(queries.features.to(device)).cpu()
    return ranks_among(scores, queries)


def reranked(model: Reranker | None, features: CandidateFeatures) -> DenseScores:
    """The base's scores, in which the candidates come first, in the model's order.

    Args:
        model: None leaves all as it is.
        features: of candidates, and the base.
    """
    if model is None:
        return features.best.base
    model = model.eval().cpu()
    return promoted(features.best, lambda one: model(features.of(one)))
