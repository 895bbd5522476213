"""A run of joint extraction, from a configuration to a run folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from relgnn.config.joint import JointConfig, JointSettings
from relgnn.data.joint import Annotated, JointData, Mention, read_joint
from relgnn.data.registry import folder_of
from relgnn.data.relations import require_parts
from relgnn.errors import InputError
from relgnn.ranking.extraction import Item, set_scores
from relgnn.runtime import Runtime, model_device
from relgnn.text.encoder import load_model, require_positions
from relgnn.text.fitting import fit, two_rates
from relgnn.text.joint import Found, JointModel, extract
from relgnn.text.joint_rows import Sentences, tokenise
from relgnn.text.rows import LikeLengthTask
from relgnn.training import CHECKPOINT, load_module, module_tensors, save_tensors
from relgnn.training.run_folder import carry_out

THRESHOLDS = np.arange(1, 20) / 20
METRIC = "micro_f1"


class JointTask(LikeLengthTask):
    """Cross-entropy over spans plus binary cross-entropy over pairs of true mentions.

    Spans that are no mention are drawn anew in each step; every ordered pair counts.

    Args:
        model: what is trained.
        sentences: the training part.
        valid: sentences that select, as tokens and as they are; None for none.
        labels: number of relations.
        settings: rates and sizes.
        autocast: makes the context in which valid is read.
    """

    name = "joint extraction"
    rate_keys = ("joint.lr", "joint.clip")

    def __init__(
        self,
        model: JointModel,
        sentences: Sentences,
        valid: tuple[Sentences, Sequence[Annotated]] | None,
        labels: int,
        settings: JointSettings,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self._model, self.sentences, self.valid = model, sentences, valid
        self.labels, self.settings, self.autocast = labels, settings, autocast
        self.lengths, self.batch_size = sentences.lengths, settings.batch_size

    @property
    def model(self) -> nn.Module:
        return self._model

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        model = self._model
        read = self.sentences.batch(batch, model_device(model))
        reading = model.read(read)
        spans = read.spans(self.settings.longest)
        classes = read.classes(spans, self.settings.longest)
        kept = read.thinned(spans, classes, self.settings.negatives, generator)
        spans, classes = spans[kept], classes[kept]
        said = model.spans(read, reading, spans)
        # a step that has drawn nothing has nothing to say of spans, and no mean
        of_spans = functional.cross_entropy(said, classes) if len(classes) else said.sum()
        pairs, logits = model.pairs(read, reading, read.mentions)
        if not len(pairs):
            return of_spans
        place = pairs.new_zeros(len(read.mentions), len(read.mentions))
        place[pairs[:, 0], pairs[:, 1]] = torch.arange(len(pairs), device=pairs.device)
        head, tail, label = read.relations.unbind(1)
        holds = torch.zeros_like(logits)
        holds[place[head, tail], label] = 1
        return of_spans + functional.binary_cross_entropy_with_logits(logits, holds)

    def evaluate(self) -> dict[str, float]:
        if self.valid is None:
            return {}
        sentences, truth = self.valid
        found = extract(self._model, sentences, self.autocast)
        return joint_scores(truth, found, best_threshold(truth, found, self.labels), self.labels)

    def tensors(self, batch: Tensor) -> dict[str, Tensor]:
        """Which sentences they are, and their token ids."""
        return {"sentence": batch, "ids": self.sentences.batch(batch).ids}

    def parameter_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        return two_rates(self._model, lr, self.settings.head_lr, weight_decay)


def best_threshold(truth: Sequence[Annotated], found: Sequence[Found], labels: int) -> float:
    """The threshold, of .05, .10, …, .95, with the best strict micro-F1; the first of equals."""
    scores = [joint_scores(truth, found, float(t), labels)[METRIC] for t in THRESHOLDS]
    return float(THRESHOLDS[int(np.argmax(scores))])


def joint_scores(
    truth: Sequence[Annotated], found: Sequence[Found], threshold: float, labels: int
) -> dict[str, float]:
    """Strict scores of relations, and of mentions (`entity_...`).

    A mention is right where its span and its kind are, a relation where its label and both
    mentions are. The mean over kinds of mentions is one over those that are true or said.
    """
    stated, said = [], []
    for right, own in zip(truth, found, strict=True):
        stated.append({_item(right.mentions, *one) for one in right.relations})
        rows, label = np.nonzero(own.probabilities >= threshold)
        ends = own.pairs[rows].tolist()
        said.append({
            _item(own.mentions, head, tail, one)
            for (head, tail), one in zip(ends, label.tolist(), strict=True)
        })  # fmt: skip
    true = [set(one.mentions) for one in truth]
    named = [set(one.mentions) for one in found]
    kinds = sorted({mention.kind for part in (*true, *named) for mention in part})
    mentions = set_scores(true, named, kinds)
    relations = set_scores(stated, said, range(labels))
    return relations | {f"entity_{name}": mentions[name] for name in ("micro_f1", "macro_f1")}


def _item(mentions: Sequence[Mention], head: int, tail: int, label: int) -> Item:
    return mentions[head], mentions[tail], label


@dataclass(frozen=True)
class JointReader:
    """A model with what turns sentences into its input."""

    model: JointModel
    tokenizer: Any
    max_tokens: int
    data: JointData
    runtime: Runtime

    def tokenise(self, sentences: Sequence[Annotated]) -> Sentences:
        """See `joint_rows.tokenise`."""
        return tokenise(sentences, self.tokenizer, self.max_tokens)

    def find(self, sentences: Sequence[Annotated]) -> list[Found]:
        """Mentions and probabilities of relations."""
        return extract(self.model, self.tokenise(sentences), self.runtime.autocast)

    def scores(self, sentences: Sequence[Annotated]) -> dict[str, float]:
        """See `joint_scores`, at the model's threshold."""
        threshold = float(self.model.threshold)
        return joint_scores(sentences, self.find(sentences), threshold, len(self.data.labels))


def run_joint(config: JointConfig, folder: Path, resume: bool = False) -> dict[str, Any]:
    """Select on valid, refit where asked, read test once, and leave a run folder.

    Arguments, result and errors are those of `run_text`.
    """

    def work(data: JointData, runtime: Runtime) -> dict[str, Any]:
        return _run(config, data, runtime, folder, resume)

    return carry_out(config, folder, resume, load_joint, work)


def _run(
    config: JointConfig, data: JointData, runtime: Runtime, folder: Path, resume: bool
) -> dict[str, Any]:
    reader = make_reader(config, data, runtime)
    chosen = _fit(config, runtime, reader, data.train, data.valid, folder, resume)
    found = reader.find(data.valid)
    reader.model.threshold.fill_(best_threshold(data.valid, found, len(data.labels)))
    metrics: dict[str, Any] = {
        "valid": reader.scores(data.valid),
        "epoch": chosen.best_epoch,
        "threshold": float(reader.model.threshold),
        "sentences": {name: len(getattr(data, name)) for name in ("train", "valid", "test")},
    }
    if config.joint.refit:
        reader = make_reader(config, data, runtime)
        reader.model.threshold.fill_(metrics["threshold"])
        _fit(
            config, runtime, reader, (*data.train, *data.valid), (), folder, resume,
            chosen.best_epoch, "refit",
        )  # fmt: skip
    save_tensors(folder / CHECKPOINT, module_tensors(reader.model))
    metrics["test"] = reader.scores(data.test)
    return metrics | {"rows": {"final": metrics["test"]}}


def load_joint(config: JointConfig) -> JointData:
    """The configuration's data set.

    Raises:
        InputError: it is nowhere, or is broken, or lacks a part, or a share of its labels is asked
            for.
    """
    if config.data.fraction != 1:
        raise InputError(
            f"data.fraction is {config.data.fraction:g}: joint extraction has no subsets of "
            "labels; set it to 1"
        )
    data = read_joint(folder_of(config.data), config.data.name or "")
    require_parts(data)
    return data


def make_reader(config: JointConfig, data: JointData, runtime: Runtime) -> JointReader:
    """The language model with fresh classifiers.

    Raises:
        InputError: the model cannot be loaded, or its tokenizer is not a fast one.
    """
    network, tokenizer = load_model(config.text.model)
    require_positions(network, config.text.max_tokens)
    with runtime.drawn_from("joint extraction"):
        model = JointModel(network, len(data.kinds), len(data.labels), config.joint)
    return JointReader(model.to(runtime.device), tokenizer, config.text.max_tokens, data, runtime)


def evaluate_joint(config: JointConfig, folder: Path, split: str) -> dict[str, float]:
    """Scores on the valid or test part again, from the checkpoint.

    Raises:
        InputError: the run is not finished, a file is missing or does not fit.
    """
    reader = make_reader(config, load_joint(config), Runtime.from_config(config.runtime))
    load_module(reader.model, folder / CHECKPOINT)
    return reader.scores(getattr(reader.data, split))


def _fit(
    config: JointConfig,
    runtime: Runtime,
    reader: JointReader,
    train: Sequence[Annotated],
    valid: Sequence[Annotated],
    folder: Path,
    resume: bool,
    epochs: int | None = None,
    part: str = "",
) -> Any:
    task = JointTask(
        reader.model, reader.tokenise(train), (reader.tokenise(valid), valid) if valid else None,
        len(reader.data.labels), config.joint, runtime.autocast,
    )  # fmt: skip
    return fit(task, config.joint, runtime, folder, resume, METRIC if valid else None, epochs, part)
