"""What the trainer does to a relation classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from relgnn.config import RelationConfig, TuningConfig
from relgnn.data.relations import RelationData
from relgnn.ranking.classification import f1_scores
from relgnn.runtime import drawn_from
from relgnn.text.classifier import (
    RelationClassifier,
    gather_gradient,
    layers_of,
    logits_of,
    logits_of_states,
    states_of,
)
from relgnn.text.fitting import rate_groups
from relgnn.text.groups import groups_of
from relgnn.text.hiding import Hider
from relgnn.text.labels import decide, labelled
from relgnn.text.losses import supervised_loss
from relgnn.text.objectives import (
    Adversarial,
    BatchContrast,
    Counterfactual,
    Fairness,
    Mixup,
    Objective,
    QueueContrast,
    RDrop,
    Step,
    Virtual,
)
from relgnn.text.objectives.unlabelled import make_unlabelled
from relgnn.text.rows import LikeLengthTask, Marker, Rows


class ClassifierTask(LikeLengthTask):
    """Cross-entropy over labelled sentences; batches of like length.

    Args:
        model: what is trained.
        rows, labels: train, [M]; or labels [M, labels], see `labelled`.
        valid: rows and labels [V] that select; None for none.
        data: whose labels they are.
        settings: loss and rates.
        objectives: what joins the supervised loss.
        autocast: makes the context in which valid is read.
        weights: of the sentences' losses, [M]; None for 1 each.
    """

    name = "relation classifier"
    rate_keys = ("extraction.lr", "extraction.clip")

    def __init__(
        self,
        model: RelationClassifier,
        rows: Rows,
        labels: Tensor,
        valid: tuple[Rows, Tensor] | None,
        data: RelationData,
        settings: TuningConfig,
        objectives: Sequence[Objective] = (),
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        weights: Tensor | None = None,
    ) -> None:
        self._model, self.rows, self.labels = model, rows, labels
        self.valid, self.data, self.settings = valid, data, settings
        self.lengths, self.batch_size = rows.lengths, settings.batch_size
        self.objectives, self.autocast = objectives, autocast
        self.weights = torch.ones(len(rows)) if weights is None else weights
        self._trained = nn.ModuleDict(
            {"classifier": model, "objectives": nn.ModuleList(objectives)}
        )
        self.average: AveragedModel | None = None
        self.states: tuple[Tensor, Tensor | None] | None = None
        if settings.averaging > 0:
            # θ̄ ← decay · θ̄ + (1 - decay) · θ after every step (Polyak and Juditsky, 1992)
            follow = get_ema_multi_avg_fn(settings.averaging)
            self.average = AveragedModel(model, multi_avg_fn=follow)
            self._trained["average"] = self.average

    @property
    def model(self) -> nn.Module:
        return self._trained

    def place(self, device: torch.device) -> nn.Module:
        for one in (self._model, self.judged):
            one.place(device)
        self._trained["objectives"].to(device)
        if device.type == "cpu":
            gather_gradient(self._model.network.get_input_embeddings())
        if self._model.frozen and not self.objectives:
            self._read_once(device)
        return self._trained

    def _read_once(self, device: torch.device) -> None:
        """Keep what a frozen language model says of every row, of train and of valid."""
        rows = [self.rows] if self.valid is None else [self.rows, self.valid[0]]
        train, *valid = (states_of(self._model, x, self.autocast).to(device) for x in rows)
        self.states = train, valid[0] if valid else None

    @property
    def judged(self) -> RelationClassifier:
        """The classifier that valid judges: the average where there is one."""
        if self.average is None:
            return self._model
        averaged = self.average.module
        assert isinstance(averaged, RelationClassifier)
        return averaged

    def keep_average(self) -> None:
        """Give the classifier the averaged weights, once the training has ended."""
        if self.average is not None:
            self._model.load_state_dict(self.judged.state_dict())

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        model = self._model
        labels, weights = (x[batch].to(model.device) for x in (self.labels, self.weights))

        def supervised(logits: Tensor, labels: Tensor, members: Tensor | None = None) -> Tensor:
            own = weights if members is None else weights[members]
            return supervised_loss(logits, labels, self.settings, model.negative, own)

        if self.states is not None:
            return supervised(model.classify(model.project(self.states[0][batch])), labels)
        rows = self.rows.batch(batch, model.device)
        embeddings = model.embed(rows)
        if not embeddings.requires_grad and any(one.moves_embeddings for one in self.objectives):
            embeddings.requires_grad_()
        vectors = model.represent(rows, embeddings)
        logits = model.classify(vectors)
        loss = supervised(logits, labels)
        step = Step(
            model, rows, batch, labels, embeddings, vectors, logits, loss, supervised,
            generator,
        )  # fmt: skip
        return loss + sum(objective(step) for objective in self.objectives)

    def stepped(self) -> None:
        for objective in self.objectives:
            objective.stepped(self._model)
        if self.average is not None:
            self.average.update_parameters(self._model)

    def evaluate(self) -> dict[str, float]:
        if self.valid is None:
            return {}
        rows, labels = self.valid
        if self.states is None or self.states[1] is None:
            logits = logits_of(self.judged, rows, self.autocast)
        else:
            logits = logits_of_states(self.judged, self.states[1], self.autocast)
        predicted = decide(logits, self.settings.multi_label, self.data.negative)
        return f1_scores(labels.numpy(), predicted, self.data.positive, self.data.families)

    def tensors(self, batch: Tensor) -> dict[str, Tensor]:
        """Which sentences they are, their token ids and their labels."""
        rows = self.rows.batch(batch)
        return {"sentence": batch, "ids": rows.ids, "role": rows.role, "label": self.labels[batch]}

    def parameter_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        network = self._model.network
        layers = layers_of(network)
        depth = {id(p): i + 1 for i, layer in enumerate(layers) for p in layer.parameters()}

        def rate(name: str, p: nn.Parameter) -> float:
            if not name.startswith("classifier.network."):
                return self.settings.head_lr
            return lr * self.settings.layer_decay ** (len(layers) - depth.get(id(p), 0))

        learnt = (x for x in self._trained.named_parameters() if not x[0].startswith("average."))
        return rate_groups(learnt, rate, weight_decay)


def make_objectives(
    config: RelationConfig, model: RelationClassifier, marker: Marker, data: RelationData
) -> list[Objective]:
    """What a configuration adds to the supervised loss.

    Args:
        config: of the run.
        model: that is trained.
        marker: turns sentences, such as unlabelled ones, into its input.
        data: its train part is what it is trained on.
    """
    settings, hider = config.extraction, Hider(marker)
    found: list[Objective] = []
    if settings.r_drop > 0:
        found.append(RDrop(settings.r_drop))
    if settings.adversarial is not None and settings.adversarial.weight > 0:
        kind = Virtual if settings.adversarial.kind == "vat" else Adversarial
        found.append(kind(settings.adversarial, hider))
    if settings.contrast is not None and settings.contrast.weight > 0:
        with drawn_from("contrast", config.runtime.seed):
            if settings.contrast.kind == "queue":
                found.append(QueueContrast(settings.contrast, model, data.negative))
            else:
                width = model.hidden.out_features
                found.append(BatchContrast(settings.contrast, width, data.negative))
    if settings.mixup > 0:
        found.append(Mixup(settings.mixup))
    if settings.debias is not None and settings.debias.weight > 0:
        found.append(Counterfactual(settings.debias.weight, hider))
    if settings.fairness is not None and settings.fairness.weight > 0:
        index, _ = labelled(data.train, len(data.labels), settings.multi_label)
        examples = [data.train[i] for i in index]
        groups = torch.from_numpy(groups_of(examples, settings.fairness.groups))
        found.append(Fairness(settings.fairness.weight, groups, len(settings.fairness.groups)))
    if config.semi is not None and config.semi.kind != "self_training":
        found.append(make_unlabelled(config.semi, marker.rows(data.unlabelled), model, marker))
    return found
