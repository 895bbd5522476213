"""Terms that join a link predictor's loss: what the context and the text also teach."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional

from relgnn.config import Config
from relgnn.config.signals import ConsistencyConfig, NodeAdversarialConfig, ViewContrastConfig

SUREST = 0.999
"""The text's probabilities are held within this and its complement: no log odds are endless."""


@dataclass(frozen=True)
class Scored:
    """A batch of queries as a predictor scores it.

    Args:
        tails: int64 [B], the right tails' columns; None where the candidates are wrong ones.
        vectors: h [B, d], r [B, d_r] and t [B, d].
        make: makes `candidates` and `answer`, once they are asked for.
        products: queries [B, d] and candidates [N, d] whose inner products the scores are; None
            where they are something else.
    """

    tails: Tensor | None
    vectors: tuple[Tensor, Tensor, Tensor]
    make: Callable[[], tuple[Tensor, Tensor]]
    products: tuple[Tensor, Tensor] | None = None

    @property
    def candidates(self) -> Tensor:
        """Scores of all tails [B, N], or [B, K] of wrong ones that were drawn."""
        return self._made[0]

    @property
    def answer(self) -> Tensor:
        """Scores [B] of the right tails."""
        return self._made[1]

    @cached_property
    def _made(self) -> tuple[Tensor, Tensor]:
        return self.make()

    def log_odds(self) -> Tensor:
        """log P/(1 − P) of the right tail among the candidates, [B]: s − log Σ_{others} exp s_k.

        −log P falls with it, so that it orders a batch by its cross-entropy.
        """
        others = self.candidates.float()
        if self.tails is not None:
            others = others.scatter(1, self.tails[:, None], float("-inf"))
        return self.answer.float() - others.logsumexp(1)


@dataclass(frozen=True)
class Seen:
    """A batch as the predictor encoded and scored it.

    Args:
        batch: int64 [B], numbers of the queries.
        x: [n, d], encoded nodes.
        z: [2R, d_r], encoded relations.
        place: int64 [B (2 + K)], the rows of x that are heads, tails and K wrong tails a query;
            None where x are all entities and all of them are scored.
        scored: the scores.
    """

    batch: Tensor
    x: Tensor
    z: Tensor
    place: Tensor | None
    scored: Scored


@dataclass(frozen=True)
class Step:
    """One batch, as a signal sees it.

    Args:
        x: [n, d], encoded vectors of the nodes that the loss was made from.
        scored: the queries' scores.
        loss: scalar, the supervised loss.
        p_text: float [B], the text's probability of each query's triple, nan where it has none or
            where the triple is left out of this step; None where it has no say at all.
        moved: the supervised loss of other vectors [n, d] of the same nodes.
        view: nodes int64 [m], share of edges to be dropped -> vectors [m, d] under a new draw of
            the context.
        num_nodes: N.
        generator: of a signal's draws, on the trainer's device.
    """

    x: Tensor
    scored: Scored
    loss: Tensor
    p_text: Tensor | None
    moved: Callable[[Tensor], Tensor]
    view: Callable[[Tensor, float], Tensor]
    num_nodes: int
    generator: torch.Generator


class Signal(nn.Module, ABC):
    """A term of the loss; its parameters are trained and resumed with the predictor, and dropped
    when the training has ended."""

    @abstractmethod
    def forward(self, step: Step) -> Tensor:
        """A scalar with gradient, which is added to the loss."""


class NodeAdversarial(Signal):
    """weight · L(x + r), with each node's r where the loss rises fastest.

        r_v = ε ‖x_v‖ g_v / ‖g_v‖,  g = ∇_x L(x)

    FGM (Miyato et al., Adversarial Training Methods for Semi-Supervised Text Classification, ICLR
    2017), on encoded nodes: only the decoder is run again. Lengths are relative, as on the text
    side.

    Args:
        settings: ε and the weight.
    """

    def __init__(self, settings: NodeAdversarialConfig) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, step: Step) -> Tensor:
        """See `Signal`."""
        # The step's own graph is still needed for the training gradient.
        (gradient,) = torch.autograd.grad(step.loss, step.x, retain_graph=True)
        direction = functional.normalize(gradient.float(), dim=1)
        length = self.settings.epsilon * torch.linalg.vector_norm(
            step.x.detach().float(), dim=1, keepdim=True
        )
        return self.settings.weight * step.moved(step.x + length * direction)


class ViewContrast(Signal):
    """weight · InfoNCE between a node's vectors under two draws of the context.

        −1/2m Σ_i [ log exp(s_ii/τ) / Σ_j exp(s_ij/τ) + log exp(s_ii/τ) / Σ_j exp(s_ji/τ) ]

    s_ij is the cosine of node i in one view and node j in the other. van den Oord et al.,
    Representation Learning with Contrastive Predictive Coding, 2018; views by dropped edges as in
    You et al., Graph Contrastive Learning with Augmentations, NeurIPS 2020.

    Args:
        settings: how many nodes, τ, the share of dropped edges and the weight.
    """

    def __init__(self, settings: ViewContrastConfig) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, step: Step) -> Tensor:
        """See `Signal`."""
        settings, draws = self.settings, step.generator
        nodes = torch.randperm(step.num_nodes, generator=draws, device=draws.device)
        nodes = nodes[: settings.nodes]
        views = (step.view(nodes, settings.edge_dropout).float() for _ in range(2))
        one, other = (functional.normalize(view, dim=1) for view in views)
        return settings.weight * info_nce(one @ other.T / settings.temperature)


def info_nce(similarity: Tensor) -> Tensor:
    """Mean cross-entropy of the diagonal in rows and columns of [m, m]; see `ViewContrast`."""
    same = torch.arange(len(similarity), device=similarity.device)
    rows, columns = (functional.cross_entropy(s, same) for s in (similarity, similarity.T))
    return (rows + columns) / 2


class Consistency(Signal):
    """weight · distance of what text and graph say of an accepted triple, mean over the batch.

        l = a · log P/(1 − P) + b                           the graph's calibrated log odds
        kl:     (σ(l) − p_text) (l − logit p_text) / 2      symmetric KL of two Bernoulli variables
        logit:  (l − logit p_text)²

    P is the share of the right tail among the step's candidates, a > 0 and b are Platt's scale and
    offset (Platt, 1999), trained with the predictor: a share of a softmax is not a probability of
    being true. The text teaches the graph here and is not moved.

    Args:
        settings: which distance and the weight.
    """

    def __init__(self, settings: ConsistencyConfig) -> None:
        super().__init__()
        self.settings = settings
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, step: Step) -> Tensor:
        """See `Signal`."""
        assert step.p_text is not None
        said = ~step.p_text.isnan()
        text = step.p_text[said].clamp(1 - SUREST, SUREST)
        graph = self.log_scale.exp() * step.scored.log_odds()[said] + self.offset
        each = distance(graph, text, self.settings.kind)
        return self.settings.weight * each.sum() / max(len(step.p_text), 1)


def distance(log_odds: Tensor, p: Tensor, kind: str) -> Tensor:
    """Distance [C] of log odds [C] from probabilities p [C] in (0, 1); see `Consistency`."""
    gap = log_odds - p.logit()
    return gap.square() if kind == "logit" else (log_odds.sigmoid() - p) * gap / 2


def make_signals(config: Config, p_text: Tensor | None) -> nn.ModuleList:
    """The signals of a configuration; those without weight, or without anything to say, are none.

    Args:
        config: train.adversarial, train.contrast, loop.consistency.
        p_text: float [T], the text's probability of each target, nan where it has none, or None.
    """
    found: list[Signal] = []
    train, loop = config.train, config.loop
    if train.adversarial is not None and train.adversarial.weight:
        found.append(NodeAdversarial(train.adversarial))
    if train.contrast is not None and train.contrast.weight:
        found.append(ViewContrast(train.contrast))
    consistency = loop.consistency if loop is not None else None
    said = p_text is not None and not bool(p_text.isnan().all())
    if consistency is not None and consistency.weight and said:
        found.append(Consistency(consistency))
    return nn.ModuleList(found)
