"""What unlabelled sentences add to the loss, step by step."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from relgnn.config import SemiConfig
from relgnn.errors import InputError
from relgnn.posterior.thresholds import (
    FixedWeigher,
    FlexWeigher,
    FreeWeigher,
    SoftWeigher,
    Weigher,
)
from relgnn.text.classifier import RelationClassifier
from relgnn.text.hiding import special_ids
from relgnn.text.marking import NEITHER
from relgnn.text.objectives.base import Objective, Step
from relgnn.text.objectives.running_mean import move, running_mean
from relgnn.text.rows import Marker, RowBatch, Rows


class TokenMask(nn.Module):
    """The strong view: a share of the tokens hidden, none of a mention, a marker or [CLS], [SEP].

    Args:
        share: of the other tokens, in [0, 1).
        token: the id that stands for a hidden one.
        kept: ids that are never hidden.
    """

    kept: Tensor

    def __init__(self, share: float, token: int, kept: Iterable[int]) -> None:
        super().__init__()
        self.share, self.token = share, token
        self.register_buffer("kept", torch.tensor(sorted(kept)), persistent=False)

    @classmethod
    def of(cls, marker: Marker, share: float) -> TokenMask:
        """With the mask token of the marker's tokenizer, else with the unknown one.

        Raises:
            InputError: it has neither.
        """
        tokenizer = marker.tokenizer
        token = tokenizer.mask_token_id
        token = tokenizer.unk_token_id if token is None else token
        if token is None and share > 0:
            raise InputError(
                "semi.mask hides tokens and the model has neither a mask nor an unknown token; "
                "set semi.mask=0"
            )
        return cls(share, token or 0, special_ids(marker).tolist())

    def forward(self, rows: RowBatch, generator: torch.Generator) -> RowBatch:
        """The rows with other tokens hidden at every call."""
        if self.share == 0:
            return rows
        drawn = torch.rand(rows.ids.shape, generator=generator, device=rows.ids.device)
        free = rows.mask & (rows.role == NEITHER) & ~torch.isin(rows.ids, self.kept)
        return replace(rows, ids=rows.ids.masked_fill(free & (drawn < self.share), self.token))


class Unlabelled(Objective):
    """weight · r(t) · mean loss of unlabelled rows that each step draws, `ratio` per labelled one.

    With ramp-up over T steps, r(t) = exp(-5 (1 - min(t / T, 1))²) (Laine and Aila, 2017), else 1.

    Args:
        rows: all unlabelled ones.
        settings: weight, ratio and ramp-up.
        view: what the student sees of a row.
    """

    steps: Tensor

    def __init__(self, rows: Rows, settings: SemiConfig, view: TokenMask) -> None:
        super().__init__()
        self.rows, self.settings, self.view = rows, settings, view
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, step: Step) -> Tensor:
        """See `Objective`."""
        index = self._draw(self.settings.ratio * len(step.labels), step.generator)
        rows = self.rows.batch(index.cpu(), index.device)
        loss = self.loss(step, index, rows, self.view(rows, step.generator))
        return self.settings.weight * self._ramp() * loss

    @abstractmethod
    def loss(self, step: Step, index: Tensor, rows: RowBatch, strong: RowBatch) -> Tensor:
        """Mean loss of the rows `index` [U]: `rows` as they are, and as the student sees them."""

    def stepped(self, model: RelationClassifier) -> None:
        """Count a step."""
        self.steps += 1

    def _draw(self, count: int, generator: torch.Generator) -> Tensor:
        """About `count` rows of like length, [U]; all rows are drawn equally often."""
        device = generator.device
        order = torch.randperm(len(self.rows), generator=generator, device=device)
        # One part of a window sorted by length, as the labelled batches are: it spares padding.
        window = order[: 16 * count]
        parts = window[torch.argsort(self.rows.lengths.to(device)[window], stable=True)].split(
            count
        )
        return parts[int(torch.randint(len(parts), (), generator=generator, device=device))]

    def _ramp(self) -> float:
        if self.settings.ramp_up == 0:
            return 1.0
        return math.exp(-5 * (1 - min(int(self.steps) / self.settings.ramp_up, 1)) ** 2)


class PseudoLabelled(Unlabelled):
    """Weighted cross-entropy under pseudo-labels that do not change in training.

        (1 / U) Σ_i w_i CE(f(strong x_i), q_i)

    Args:
        rows: the pseudo-labelled ones, [A].
        targets: q, float [A, C], shares that sum to one.
        weight: w, float [A].
        settings, view: see `Unlabelled`.
    """

    def __init__(
        self, rows: Rows, targets: Tensor, weight: Tensor, settings: SemiConfig, view: TokenMask
    ) -> None:
        super().__init__(rows, settings, view)
        self.targets: Tensor
        self.row_weight: Tensor
        self.register_buffer("targets", targets, persistent=False)
        self.register_buffer("row_weight", weight, persistent=False)

    def loss(self, step: Step, index: Tensor, rows: RowBatch, strong: RowBatch) -> Tensor:
        """See `Unlabelled`."""
        each = functional.cross_entropy(step.model(strong), self.targets[index], reduction="none")
        return (self.row_weight[index] * each).mean()


class FixMatch(Unlabelled):
    """The likeliest label of a sentence is taught on a damaged copy of it (Sohn et al., 2020).

        (1 / U) Σ_i w(p_i) CE(f(strong x_i), argmax p_i),  p_i = softmax f(x_i)

    p is the model's own, without dropout and without gradient; the student has both dropout and
    hidden tokens. w is a fixed threshold, FlexMatch's, FreeMatch's or SoftMatch's.

    Args:
        rows, settings, view: see `Unlabelled`.
        weigher: w.
    """

    def __init__(self, rows: Rows, settings: SemiConfig, view: TokenMask, weigher: Weigher) -> None:
        super().__init__(rows, settings, view)
        self.weigher = weigher

    def loss(self, step: Step, index: Tensor, rows: RowBatch, strong: RowBatch) -> Tensor:
        """See `Unlabelled`."""
        step.model.eval()
        with torch.no_grad():
            p = step.model(rows).softmax(1)
        step.model.train()
        weight = self.weigher(p, index)
        each = functional.cross_entropy(step.model(strong), p.argmax(1), reduction="none")
        return (weight * each).mean()


class MeanTeacher(Unlabelled):
    """Agreement with a moving average of one's own weights (Tarvainen and Valpola, 2017).

        (1 / U) Σ_i ‖softmax f_θ(strong x_i) - softmax f_θ'(x_i)‖²,  θ' ← decay θ' + (1 - decay) θ

    The teacher reads whole sentences without dropout. What valid and test judge is the student: its
    learning rate falls to nothing, so that at the end the two hardly differ.

    Args:
        rows, settings, view: see `Unlabelled`.
        model: the student, whose weights the teacher starts from.
    """

    def __init__(
        self, rows: Rows, settings: SemiConfig, view: TokenMask, model: RelationClassifier
    ) -> None:
        super().__init__(rows, settings, view)
        self.teacher = running_mean(model)

    def loss(self, step: Step, index: Tensor, rows: RowBatch, strong: RowBatch) -> Tensor:
        """See `Unlabelled`."""
        self.teacher.eval()
        with torch.no_grad():
            taught = self.teacher(rows).softmax(1)
        return ((step.model(strong).softmax(1) - taught) ** 2).sum(1).mean()

    def stepped(self, model: RelationClassifier) -> None:
        """Move the teacher."""
        super().stepped(model)
        move(self.teacher, model, self.settings.decay)


def make_weigher(settings: SemiConfig, items: int, classes: int) -> Weigher:
    """What a configuration weighs the pseudo-labels of a step by.

    Args:
        settings: names it.
        items: number of unlabelled rows.
        classes: number of labels.
    """
    if settings.selector == "flex":
        return FlexWeigher(settings.threshold, items, classes, settings.min_probability)
    if settings.selector == "free":
        return FreeWeigher(classes, settings.momentum)
    if settings.selector == "soft":
        return SoftWeigher(classes, settings.momentum)
    return FixedWeigher(settings.threshold)


def make_unlabelled(
    settings: SemiConfig, rows: Rows, model: RelationClassifier, marker: Marker
) -> Unlabelled:
    """The objective of mean teacher or FixMatch.

    Args:
        settings: which.
        rows: the unlabelled ones.
        model: that is trained.
        marker: that made the rows.
    """
    view = TokenMask.of(marker, settings.mask)
    if settings.kind == "mean_teacher":
        return MeanTeacher(rows, settings, view, model)
    return FixMatch(rows, settings, view, make_weigher(settings, len(rows), model.outputs))
