"""Embeddings moved a little should not change the answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from relgnn.config.objectives import AdversarialConfig
from relgnn.text.classifier import RelationClassifier
from relgnn.text.hiding import Hider
from relgnn.text.objectives.base import Objective, Step
from relgnn.text.rows import RowBatch


class Adversarial(Objective):
    """weight · L(x + r), with r where the loss rises fastest.

        r = ε g / ‖g‖,  g = ∇_x L(x)                     FGM (Miyato et al., 2017)
        r ← Π_ε(r + α ∇_x L(x + r) / ‖∇_x L(x + r)‖)      PGD (Madry et al., 2018), from r = 0

    x are a row's embeddings and norms are over a row. Π_ε projects on the ball of radius
    ε = `epsilon` · ‖x‖: relative, so that one value fits any model. Only words are moved.

    Args:
        settings: kind fgm or pgd.
        hider: knows which tokens are words.
    """

    moves_embeddings = True

    def __init__(self, settings: AdversarialConfig, hider: Hider) -> None:
        super().__init__()
        self.settings, self.hider = settings, hider

    def forward(self, step: Step) -> Tensor:
        """See `Objective`."""
        settings, words = self.settings, self.hider.words(step.rows) & step.rows.mask
        radius = radius_of(step.embeddings, words, settings.epsilon)
        steps, size = (1, 1.0) if settings.kind == "fgm" else (settings.steps, settings.step_size)
        move, moved, loss = step.embeddings, step.embeddings, step.loss
        for i in range(steps):
            if i > 0:
                moved = (step.embeddings.detach() + move).requires_grad_()
                loss = step.supervised(step.model(step.rows, moved), step.labels)
            # The step's own graph is still needed for the training gradient.
            (gradient,) = torch.autograd.grad(loss, moved, retain_graph=i == 0)
            further = size * radius * unit(gradient, words)
            move = further if i == 0 else projected(move + further, radius)
        logits = step.model(step.rows, step.embeddings + move)
        return settings.weight * step.supervised(logits, step.labels)


class Virtual(Objective):
    """weight · KL(p(x) ‖ p(x + r)), with r of length ε where the divergence is largest (VAT).

    Virtual adversarial training (Miyato et al., 2018); it needs no label. From a random d, power
    iteration takes d ← ∇_d KL(p(x) ‖ p(x + ε d)), of length one. All without dropout, whose noise
    would drown the divergence; and with probes as long as ε, since smaller ones would be lost in
    the rounding of bfloat16.

    Args:
        settings: kind vat.
        hider: knows which tokens are words.
    """

    def __init__(self, settings: AdversarialConfig, hider: Hider) -> None:
        super().__init__()
        self.settings, self.hider = settings, hider

    def forward(self, step: Step) -> Tensor:
        """See `Objective`."""
        return self.settings.weight * self.divergence(
            step.model, step.rows, step.embeddings, step.generator
        )

    def divergence(
        self,
        model: RelationClassifier,
        rows: RowBatch,
        embeddings: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """KL(p(x) ‖ p(x + r)), mean over rows.

        Args:
            model: whose answers they are.
            rows: labelled or not.
            embeddings: [B, L, d] of the rows.
            generator: of the first direction.
        """
        words, clean = self.hider.words(rows) & rows.mask, embeddings.detach()
        radius = radius_of(clean, words, self.settings.epsilon)
        noise = torch.randn(
            clean.shape, generator=generator, device=generator.device, dtype=torch.float32
        )
        direction = unit(noise.to(clean), words)
        with without_dropout(model):
            with torch.no_grad():
                answer = model(rows, clean).log_softmax(1)
            for _ in range(self.settings.steps):
                probe = (clean + radius * direction).requires_grad_()
                found = _kl(answer, model(rows, probe))
                direction = unit(torch.autograd.grad(found, probe)[0], words)
            return _kl(answer, model(rows, embeddings + radius * direction))


def radius_of(embeddings: Tensor, words: Tensor, epsilon: float) -> Tensor:
    """ε times the norm of each row's embeddings [B, L, d] at its words [B, L], [B, 1, 1]."""
    return epsilon * _norm(embeddings.detach() * words[..., None])


def unit(direction: Tensor, words: Tensor) -> Tensor:
    """A direction [B, L, d] for each row, of length one, zero off its words [B, L]."""
    direction = direction.detach().float() * words[..., None]
    return direction / _norm(direction).clamp(min=torch.finfo(torch.float32).tiny)


def projected(move: Tensor, radius: Tensor) -> Tensor:
    """The nearest moves [B, L, d] that are no longer than `radius` [B, 1, 1]."""
    return move * (radius / _norm(move).clamp(min=torch.finfo(torch.float32).tiny)).clamp(max=1)


def _norm(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows.float(), dim=(1, 2), keepdim=True)


def _kl(answer: Tensor, logits: Tensor) -> Tensor:
    return nn.functional.kl_div(
        logits.log_softmax(1), answer, reduction="batchmean", log_target=True
    )


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, and then in the one that it was in."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
