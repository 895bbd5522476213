"""Relations told apart by a metric that was learned on other relations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from relgnn.config import FewShotConfig
from relgnn.config.metric import MetricConfig
from relgnn.data.relations import Example, RelationData
from relgnn.errors import InputError
from relgnn.runtime import Runtime, model_device
from relgnn.text.encoder import load_model, require_positions
from relgnn.text.fewshot import TaskVectors, accuracies, described_as, episodes, hide_names
from relgnn.text.marking import HEAD, TAIL
from relgnn.text.objectives.contrast import contrast
from relgnn.text.rows import Marker, RowBatch, Rows
from relgnn.text.sources import gather
from relgnn.training import FitResult, Keeping, Task, TrainSettings

PARTS = 5
ENOUGH = 20
"""Sentences that a relation needs to be held out."""
JUDGED_SHOTS = (0, 1, 5)
JUDGED_TASKS = 500


class RelationEncoder(nn.Module):
    """Vectors of what a sentence says of its two entities, and of what a relation is.

    Side by side, each of length one: the mentions' mean states h and t between their markers, the
    difference h/|h| - t/|t|, the mean from the first mention to the second, and the mean of all
    tokens, which is compared with a relation's description (Baldini Soares et al., Matching the
    Blanks, 2019, for the markers; Reimers and Gurevych, 2019, for the means).

    Args:
        network: a Hugging Face encoder.
        marker: turns sentences into its input.
    """

    def __init__(self, network: Any, marker: Marker) -> None:
        super().__init__()
        self.network, self.marker = network, marker

    def forward(self, batch: RowBatch) -> Tensor:
        """[B, PARTS, d], float32; a part that a row lacks is zero."""
        states = self.network(
            input_ids=batch.ids, attention_mask=batch.mask.long()
        ).last_hidden_state.float()
        place = torch.arange(batch.ids.shape[1], device=batch.ids.device)
        named = (batch.role == HEAD) | (batch.role == TAIL)
        first = torch.where(named, place, len(place)).amin(1, keepdim=True)
        last = torch.where(named, place, -1).amax(1, keepdim=True)
        inside = (place >= first) & (place <= last)
        parts = torch.stack([batch.role == HEAD, batch.role == TAIL, inside, batch.mask], 1).float()
        means = parts @ states / parts.sum(2, keepdim=True).clamp(min=1)
        head, tail, between, whole = normalize(means, dim=2).unbind(1)
        return torch.stack([head, tail, normalize(head - tail, dim=1), between, whole], dim=1)

    def task_vectors(self, rows: Rows, batch_size: int = 128) -> TaskVectors:
        """Vectors of rows, as few-shot tasks read them."""
        self.eval()
        device = model_device(self)
        out = torch.zeros(len(rows), PARTS, self.network.config.hidden_size)
        with torch.inference_mode():
            for part in torch.argsort(rows.lengths).split(batch_size):
                out[part] = self(rows.batch(part, device)).cpu()
        return TaskVectors(out.flatten(1), out[:, -1])

    def descriptions(self, data: RelationData) -> Rows:
        """Rows of the relations' names and descriptions; the last part is their vector."""
        found = self.marker.tokenizer(
            described_as(data), truncation=True, max_length=self.marker.max_tokens
        )["input_ids"]
        ids = torch.tensor([i for own in found for i in own])
        offsets = torch.tensor([0, *(len(own) for own in found)]).cumsum(0)
        return Rows(ids, torch.zeros_like(ids, dtype=torch.int8), offsets,
                    self.marker.tokenizer.pad_token_id or 0)  # fmt: skip


class MetricBatch(NamedTuple):
    """Relations [ways] and rows [ways, examples] of sentences of each."""

    relations: Tensor
    rows: Tensor


class MetricTask(Task[MetricBatch]):
    """Contrast of relations, with their descriptions as further positives.

        loss = L_sup(x x^T / τ) + described · CE(w d^T / τ)

    over a batch of some sentences of each of some relations: L_sup is the supervised contrast of
    Khosla et al. (2020), x a sentence's vector, w its last part, d the relations' descriptions. A
    relation is drawn by the root of its number of sentences. In a share `hide` of the sentences
    "subject" and "object" stand in the entities' place, so that names alone do not decide.

    Args:
        model: what is trained.
        train: sentences of the relations that are learned.
        held: those of relations that select.
        data: whose labels they are.
        settings: rates and sizes.
        seed: of the tasks that select.
    """

    name = "metric"
    rate_keys = ("metric.lr",)

    def __init__(
        self,
        model: RelationEncoder,
        train: Sequence[Example],
        held: Sequence[Example],
        data: RelationData,
        settings: MetricConfig,
        runtime: Runtime,
    ) -> None:
        self._model, self.settings, self.runtime = model, settings, runtime
        self.rows = model.marker.rows([*train, *(hide_names(one) for one in train)])
        self.size = len(train)
        labels = torch.tensor([one.relation for one in train])
        counts = torch.bincount(labels, minlength=len(data.labels))
        self.members = [torch.nonzero(labels == r)[:, 0] for r in range(len(data.labels))]
        self.share = torch.where(counts >= settings.examples, counts.float().sqrt(), 0.0)
        if int((self.share > 0).sum()) < settings.ways:
            raise InputError(
                f"metric: {int((self.share > 0).sum())} relations have {settings.examples} "
                f"sentences, and a step has {settings.ways}; lower metric.ways or name more sources"
            )
        self.descriptions = model.descriptions(data)
        self.held_labels = np.array([one.relation for one in held])
        self.held = model.marker.rows(held)

    @property
    def model(self) -> nn.Module:
        return self._model

    def num_batches(self, epoch: int) -> int:
        return self.settings.steps

    def batches(self, epoch: int, generator: torch.Generator) -> Iterable[MetricBatch]:
        ways, examples = self.settings.ways, self.settings.examples
        for _ in range(self.settings.steps):
            relations = torch.multinomial(self.share, ways, generator=generator)
            rows = torch.stack(
                [own[torch.randperm(len(own), generator=generator)[:examples]]
                 for own in (self.members[r] for r in relations.tolist())]
            )  # fmt: skip
            hidden = torch.rand(rows.shape, generator=generator) < self.settings.hide
            yield MetricBatch(relations, rows + self.size * hidden)

    def loss(self, batch: MetricBatch, generator: torch.Generator) -> Tensor:
        settings, model = self.settings, self._model
        device = model_device(model)
        found = model(self.rows.batch(batch.rows.flatten(), device))
        way = torch.arange(settings.ways, device=device).repeat_interleave(settings.examples)
        vectors = normalize(found.flatten(1), dim=1)
        others = ~torch.eye(len(way), dtype=torch.bool, device=device)
        same = (way[:, None] == way) & others
        loss = contrast(vectors @ vectors.T / settings.temperature, same, others)
        if settings.described > 0:
            described = model(self.descriptions.batch(batch.relations, device))[:, -1]
            nearness = found[:, -1] @ described.T / settings.temperature
            loss = loss + settings.described * cross_entropy(nearness, way)
        return loss

    def evaluate(self) -> dict[str, float]:
        """Accuracies of tasks of the held-out relations, and their mean `accuracy`."""
        if not len(self.held):
            return {}
        with self.runtime.autocast():
            sentences = self._model.task_vectors(self.held)
            described = self._model.task_vectors(self.descriptions).whole
        ways = min(5, len(np.unique(self.held_labels)))
        found = {}
        for shots in JUDGED_SHOTS:
            drawn = episodes(
                self.held_labels, ways, shots, 5, JUDGED_TASKS, self.runtime.rng("held-out tasks")
            )
            found[f"accuracy_{shots}"] = float(accuracies(sentences, described, drawn).mean())
        return {"accuracy": float(np.mean(list(found.values()))), **found}


def hold_out(
    data: RelationData, count: int, generator: np.random.Generator
) -> tuple[list[Example], list[Example]]:
    """Sentences of the relations that are learned, and of `count` others that select.

    Raises:
        InputError: so many relations do not have enough sentences.
    """
    sizes = np.bincount([one.relation for one in data.train], minlength=len(data.labels))
    usable = np.flatnonzero(sizes >= ENOUGH)
    if count == 1 or count > len(usable):
        raise InputError(
            f"metric.held_out is {count}; expected 0, or from 2 to the {len(usable)} relations "
            f"with at least {ENOUGH} sentences"
        )
    held = set(generator.choice(usable, count, replace=False).tolist())
    return (
        [one for one in data.train if one.relation not in held],
        [one for one in data.train if one.relation in held],
    )


def learn(
    config: FewShotConfig, settings: MetricConfig, judged: RelationData, runtime: Runtime,
    folder: Path, resume: bool,
) -> tuple[RelationEncoder, dict[str, Any]]:  # fmt: skip
    """Tune the language model on the relations of other data sets.

    Args:
        config: its model.
        settings: how it is tuned.
        judged: the data set that is measured afterwards; nothing of it is learned.
        runtime: where.
        folder: of the run.
        resume: go on with the interrupted training in it.

    Returns:
        The encoder, and what was learned from: sentences of each source, relations, accuracies of
        those held out.

    Raises:
        InputError: a source is nowhere, or there are too few relations.
    """
    data, counts = gather(
        settings.sources, judged, settings.exclude, settings.most, runtime.rng("metric sources")
    )
    train, held = hold_out(data, settings.held_out, runtime.rng("held-out relations"))
    network, tokenizer = load_model(config.text.model)
    require_positions(network, config.text.max_tokens)
    marker = Marker(tokenizer, "special", config.text.max_tokens)
    with runtime.drawn_from("relation encoder"):
        marker.resize(network)
    model = RelationEncoder(network, marker)
    task = MetricTask(model, train, held, data, settings, runtime)
    told = TrainSettings.of(
        settings, "accuracy" if held else None,
        weight_decay=0.01, schedule="linear", warmup=0.1, clip=1.0,
    )  # fmt: skip
    result = Keeping.of_run(folder, resume).train(task, told, runtime)
    return model, {"sentences": counts, "relations": len(data.labels), **_selected(result)}


def _selected(result: FitResult) -> dict[str, Any]:
    if result.best_metric is None:
        return {}
    return {"epoch": result.best_epoch, "held_out": result.history[result.best_epoch - 1].valid}
