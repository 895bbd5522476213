"""Importance of context edges for one answer: integrated gradients, a learned mask, occlusion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from relgnn.explain.target import AnswerScore, Query, triples_of
from relgnn.gnn.graph import MessageGraph
from relgnn.linkpred.model import LinkPredictor
from relgnn.runtime import optional_import


@dataclass(frozen=True)
class EdgeImportance:
    """How much each edge near the query and its answer speaks for the answer.

    Args:
        edges: int64 [K], rows of the context, ascending.
        triples: int64 [K, 3], which triples they are.
        importance: float64 [K], the more the edge speaks for the answer the higher; below 0
            against it, where the method tells.
        value: log P(answer | query) with all edges.
        baseline: the same with none of these edges, as the method takes them away.
    """

    edges: np.ndarray
    triples: np.ndarray
    importance: np.ndarray
    value: float
    baseline: float

    def __len__(self) -> int:
        return len(self.edges)

    def order(self) -> np.ndarray:
        """Positions int64 [K], the most important first, the context's first of equals."""
        return np.argsort(-self.importance, kind="stable")

    @property
    def gap(self) -> float:
        """Σ importance − (value − baseline): 0 for a method that is complete."""
        return float(self.importance.sum()) - (self.value - self.baseline)


class EdgeExplainer(Protocol):
    """Explains one answer by the edges of the L-hop neighbourhood of query and answer."""

    def explain(
        self, model: LinkPredictor, graph: MessageGraph, query: Query, answer: int
    ) -> EdgeImportance:
        """The importance of every edge near both ends; the model is left in evaluation mode.

        Args:
            model: with a graph encoder of L layers.
            graph: the whole context.
            query: what is asked.
            answer: the entity that is explained.

        Raises:
            InputError: the model passes no messages.
        """


@dataclass(frozen=True)
class IntegratedGradients:
    """The gradient by each edge's weight, averaged on the way from no such edge to the context.

        φ_e = w_e ∫_0^1 ∂ log P(α w) / ∂ w_e dα,    Σ_e φ_e = log P(w) − log P(0)

    The integral by Gauss-Legendre, by captum. Norms stay the context's on the way: counted anew,
    they would undo a common factor α. Attention's softmax does undo it (what is left of a node's
    messages grows as others fade), so that there the sum misses the difference by `gap`.

    Sundararajan, Taly and Yan, Axiomatic Attribution for Deep Networks, ICML 2017.

    Args:
        steps: points of the integral.
    """

    steps: int = 32

    def explain(
        self, model: LinkPredictor, graph: MessageGraph, query: Query, answer: int
    ) -> EdgeImportance:
        """See `EdgeExplainer.explain`."""
        with optional_import("explain"):
            from captum.attr import IntegratedGradients as Captum
        target = AnswerScore.of(model, graph, query, answer)

        def by_rows(weights: Tensor) -> Tensor:
            return torch.stack([target.of_weights(row) for row in weights])

        if not len(target.edges):
            return _found(target, np.zeros(0))
        # one point at a time: a graph has no batch dimension
        shares = Captum(by_rows).attribute(
            target.weight[None], n_steps=self.steps, method="gausslegendre", internal_batch_size=1
        )
        return _found(target, shares[0].detach().double().cpu().numpy())


@dataclass(frozen=True)
class GNNExplainer:
    """A mask over the edges' weights that keeps the answer likely, small and nearly 0 or 1.

        min_m  −log P(σ(m) ∘ w) + size · Σ_e σ(m_e) + entropy · mean_e H(σ(m_e))

    The importance is σ(m), between 0 and 1: what speaks against the answer is near 0. Starts from
    σ = 1/2 everywhere, so that nothing is drawn.

    Ying, Bourgeois, You, Zitnik and Leskovec, GNNExplainer, NeurIPS 2019. There the terms weigh
    .005 and 1; one edge of hundreds moves an answer by less than that, so that they weigh less
    here, as chosen on valid triples of CoDEx-S.

    Args:
        epochs, lr: of Adam.
        size, entropy: weights of the terms.
    """

    epochs: int = 100
    lr: float = 0.2
    size: float = 0.001
    entropy: float = 0.1

    def explain(
        self, model: LinkPredictor, graph: MessageGraph, query: Query, answer: int
    ) -> EdgeImportance:
        """See `EdgeExplainer.explain`."""
        target = AnswerScore.of(model, graph, query, answer)
        logits = torch.zeros_like(target.weight).requires_grad_()
        optimizer = torch.optim.Adam([logits], lr=self.lr)
        for _ in range(self.epochs if len(logits) else 0):
            mask = logits.sigmoid()
            spread = torch.special.entr(mask) + torch.special.entr(1 - mask)
            loss = self.size * mask.sum() + self.entropy * spread.mean()
            loss = loss - target.of_weights(mask * target.weight)
            # of the mask alone: the model's own gradients are left as they are
            (logits.grad,) = torch.autograd.grad(loss, [logits])
            optimizer.step()
        return _found(target, logits.detach().sigmoid().double().cpu().numpy())


@dataclass(frozen=True)
class Occlusion:
    """log P(answer) less what it is without the edge: exact deletion, one edge at a time.

    The reference of the others. Norms are counted anew, as in a context that never had the edge.
    """

    def explain(
        self, model: LinkPredictor, graph: MessageGraph, query: Query, answer: int
    ) -> EdgeImportance:
        """See `EdgeExplainer.explain`."""
        target = AnswerScore.of(model, graph, query, answer)
        value = target.without(target.edges[:0])
        lost = [value - target.without(edge) for edge in target.edges.split(1)]
        found = np.array(lost if len(target.edges) else [], dtype=float)
        return _found(target, found, target.without(target.edges))


EXPLAINERS: dict[str, Callable[[], EdgeExplainer]] = {
    "integrated_gradients": IntegratedGradients,
    "gnn_explainer": GNNExplainer,
    "occlusion": Occlusion,
}
"""Edge explainers by the name that `relgnn explain --method` takes."""


def _found(
    target: AnswerScore, importance: np.ndarray, baseline: float | None = None
) -> EdgeImportance:
    edges = target.edges.cpu()
    with torch.no_grad():
        value = float(target.of_weights(target.weight))
        if baseline is None:
            baseline = float(target.of_weights(torch.zeros_like(target.weight)))
    triples = triples_of(target.graph).cpu()[edges].numpy()
    return EdgeImportance(edges.numpy(), triples, importance, value, baseline)
