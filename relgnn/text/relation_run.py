"""A run of supervised relation extraction, from a configuration to a run folder."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from relgnn.config import FewShotConfig, RelationConfig, load_run_config
from relgnn.data.corpus import texts_of
from relgnn.data.registry import folder_of
from relgnn.data.relations import Example, RelationData, few_labels, read_relations
from relgnn.errors import InputError
from relgnn.posterior.softmax import LabelCalibrator, softmax_report
from relgnn.ranking.classification import f1_scores
from relgnn.runtime import Runtime, torch_rng
from relgnn.text import fewshot
from relgnn.text.attention import attention_report
from relgnn.text.classifier import RelationClassifier, logits_of
from relgnn.text.classifier_task import ClassifierTask, make_objectives
from relgnn.text.debias import best_share, bias_report, debiased
from relgnn.text.efficient import allocation, as_saved, attach, merge, parameter_counts
from relgnn.text.encoder import load_model
from relgnn.text.ensemble import Ensemble, member_seed
from relgnn.text.groups import group_report
from relgnn.text.labels import decide, labelled
from relgnn.text.pretraining_run import adapt, adapted
from relgnn.text.rows import Marker, Rows
from relgnn.text.self_training import PseudoLabels, Taught, self_train
from relgnn.text.views import Views
from relgnn.training import (
    FitResult,
    Observer,
    Trainer,
    TrainSettings,
    atomic_file,
    load_json,
    load_tensors,
    module_tensors,
    restore_module,
    save_json,
    save_tensors,
)
from relgnn.training.run_folder import begin, finish, require_new
from relgnn.training.tracking import tracked

SHOWN = 50
"""Test sentences whose attention is written down."""


@dataclass(frozen=True)
class Reader:
    """A tuned classifier with what turns sentences into its input.

    Args:
        marker: makes rows.
        model: reads them.
        data: what it was tuned on.
        runtime: where and how precisely it reads.
        subtract: share of the logits that the entities' names alone have, which is taken away.
    """

    marker: Marker
    model: RelationClassifier | Ensemble
    data: RelationData
    runtime: Runtime
    subtract: float = 0.0

    @property
    def members(self) -> list[RelationClassifier]:
        """The classifiers that are trained, each on its own."""
        if isinstance(self.model, RelationClassifier):
            return [self.model]
        return [one for one in self.model.members if isinstance(one, RelationClassifier)]

    def read(self, rows: Rows) -> np.ndarray:
        """[len(rows), labels], float32, before anything is taken away."""
        return logits_of(self.model, rows, self.runtime.autocast)

    def logits(self, examples: Sequence[Example]) -> np.ndarray:
        """[len(examples), labels], float32."""
        rows = self.marker.rows(examples)
        logits = self.read(rows)
        if self.subtract == 0:
            return logits
        names = self.read(Views(self.marker).entities(rows))
        return debiased(logits, names, self.subtract)

    def decided(
        self, examples: Sequence[Example], logits: np.ndarray
    ) -> tuple[list[Example], np.ndarray, np.ndarray]:
        """Rows, what they state, and what logits [len(examples), labels] decide they state."""
        multi, negative = self.model.settings.multi_label, self.data.negative
        index, truth = labelled(examples, len(self.data.labels), multi)
        return [examples[i] for i in index], truth.numpy(), decide(logits[index], multi, negative)

    def f1(self, examples: Sequence[Example], logits: np.ndarray) -> dict[str, float]:
        """macro_f1 and micro_f1 of what logits [len(examples), labels] decide."""
        _, truth, predicted = self.decided(examples, logits)
        return f1_scores(truth, predicted, self.data.positive, self.data.families)


def load_data(config: RelationConfig | FewShotConfig) -> RelationData:
    """The configuration's data set, cut to its fraction of labels.

    Raises:
        InputError: it is nowhere, or is broken, or has no such fraction.
    """
    data, folder = config.data, folder_of(config.data)
    required = ("train", "test") if isinstance(config, RelationConfig) else ()
    found = read_relations(folder, data.name or folder.name, required)
    if data.fraction == 1:
        return found
    return few_labels(found, folder, round(100 * data.fraction), data.split_seed)


def run_relations(
    config: RelationConfig | FewShotConfig,
    folder: Path,
    resume: bool = False,
    test: bool = True,
    observe: Observer | None = None,
) -> dict[str, Any]:
    """Tune as configured (or measure few-shot tasks), read test once, and leave a run folder.

    Args:
        config: what to do.
        folder: made here; must not hold a run yet, unless `resume`.
        resume: go on with the interrupted run in `folder`, to the same numbers.
        test: False ends a tuning when valid has selected: nothing that follows can see test.
        observe: called after every epoch of a tuning.

    Returns:
        The content of metrics.json.

    Raises:
        InputError: the folder holds a run already, or the data are not as they should be.
    """
    started = time.perf_counter()
    require_new(folder, resume)
    runtime = Runtime.from_config(config.runtime)
    data = load_data(config)
    if isinstance(config, RelationConfig):
        _require_parts(config, data)
    begin(folder, config, data)
    if isinstance(config, RelationConfig):
        data = data if test else replace(data, test=())
        with tracked(config, folder) as tracker:
            metrics = _tune(config, data, runtime, folder, resume, tracker.observer(observe))
            for split in ("valid", "test"):
                tracker.result(split, metrics.get(split, {}), metrics["epoch"])
    else:
        metrics = {"test": fewshot.measure(config, data, runtime)}
    counts = metrics.get("parameters")
    trained = {} if counts is None else {"trained_parameters": counts["trained"]}
    metrics["rows"] = {"final": metrics["test"] | trained} if "test" in metrics else {}
    finish(folder, metrics, started)
    return metrics


def _require_parts(config: RelationConfig, data: RelationData) -> None:
    if not data.train or not data.valid or not data.test:
        raise InputError(
            f"{data.name}: has {len(data.train)} training, {len(data.valid)} validation and "
            f"{len(data.test)} test sentences; each part needs some"
        )
    if config.semi is not None and not data.unlabelled:
        raise InputError(
            f"{data.name}: has no unlabelled sentences for 'semi'; add unlabelled.jsonl to the "
            "folder, set a data.fraction of frozen subsets, or set semi=null"
        )


def _tune(
    config: RelationConfig,
    data: RelationData,
    runtime: Runtime,
    folder: Path,
    resume: bool,
    observe: Observer,
) -> dict[str, Any]:
    """Select on valid, refit where asked, and read test; writes the model and its calibration.

    Probabilities are calibrated on valid before any refit.
    """
    told: dict[str, Any] = {}
    if config.pretraining is not None:
        told["pretraining"] = adapt(
            config, config.pretraining, texts_of(data), runtime, folder, resume
        )
        config = adapted(config, folder)
    reader = make_reader(config, data, runtime)
    told["parameters"] = parameter_counts(reader.model)
    chosen = _fit(
        config, runtime, reader, data.train, data.valid, folder, resume, observe=observe
    )  # fmt: skip
    pseudo: PseudoLabels | None = None
    rounds: dict[str, Any] = {}
    if config.semi is not None and config.semi.kind == "self_training":
        taught = _self_train(config, runtime, reader, chosen, folder, resume, observe)
        reader, chosen, pseudo = taught.reader, taught.chosen, taught.pseudo
        rounds = {"rounds": taught.rounds}
    reader = replace(reader, subtract=_share(reader, data.valid))
    truth, logits = _judged(reader, data.valid)
    metrics: dict[str, Any] = told | {
        "valid": reader.f1(data.valid, logits),
        "epoch": chosen.best_epoch,
        "sentences": {name: len(getattr(data, name)) for name in ("train", "valid", "test")},
        **rounds,
    }
    if not data.test:
        return metrics
    calibrator = LabelCalibrator.fit(logits, truth)
    if config.extraction.refit:
        reader = replace(make_reader(config, data, runtime), subtract=reader.subtract)
        _fit(
            config, runtime, reader, (*data.train, *data.valid), (), folder, resume, "refit",
            chosen.best_epoch, pseudo, observe,
        )  # fmt: skip
    if config.extraction.efficient is not None and config.extraction.efficient.save == "merged":
        for member in reader.members:
            member.network = merge(member.network)
    save_tensors(folder / "checkpoint.safetensors", module_tensors(reader.model))
    truth, logits = _judged(reader, data.test)
    before, after = (
        softmax_report(x, truth, runtime.rng("calibration")) for x in (logits, calibrator(logits))
    )
    metrics["calibration"] = calibrator.to_json() | {"before": before, "after": after}
    if config.extraction.debias is not None:
        metrics["calibration"]["subtract"] = reader.subtract
    save_json(folder / "calibration.json", metrics["calibration"])
    reports = _reports(reader, data.test, logits)
    metrics["test"] = reader.f1(data.test, logits) | _columns(reports) | {
        "ece": after["ece"], "ece_chance": after["ece_range"][1],
        "log_loss": after["log_loss"], "log_loss_before": before["log_loss"],
    }  # fmt: skip
    if config.extraction.attention:
        with atomic_file(folder / "attention.jsonl") as path:
            shown = attention_report(reader, data.test[:SHOWN])
            lines = [json.dumps(one, ensure_ascii=False) + "\n" for one in shown]
            path.write_text("".join(lines), encoding="utf-8")
    return metrics | reports


def _self_train(
    config: RelationConfig,
    runtime: Runtime,
    reader: Reader,
    chosen: FitResult,
    folder: Path,
    resume: bool,
    observe: Observer,
) -> Taught:
    assert config.semi is not None

    def teach(pseudo: PseudoLabels, number: int) -> tuple[Reader, FitResult]:
        data = reader.data
        fresh = make_reader(config, data, runtime)
        return fresh, _fit(
            config, runtime, fresh, data.train, data.valid, folder, resume, f"round {number}",
            pseudo=pseudo, observe=observe,
        )  # fmt: skip

    return self_train(reader, chosen, config.semi, teach)


def make_reader(config: RelationConfig, data: RelationData, runtime: Runtime) -> Reader:
    """The language model with fresh markers and classifier, as often as the ensemble has members.

    Raises:
        InputError: the model cannot be loaded, or its tokenizer is not a fast one.
    """
    extraction = config.extraction
    network, tokenizer = load_model(config.text.model, config.text.device_map)
    if any(value.is_meta for value in network.parameters()):
        raise InputError(
            "text.device_map leaves weights off the devices that compute, and those cannot be "
            "tuned; place every part on a GPU, or all on cpu"
        )
    types = {kind for one in data.train for kind in (one.head_type, one.tail_type)}
    marker = Marker(tokenizer, extraction.marking, config.text.max_tokens, sorted(types))
    members = []
    for number in range(extraction.ensemble):
        if number:
            network, _ = load_model(config.text.model, config.text.device_map)
        seed = member_seed(runtime.seed, number)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch_rng("relation classifier", seed).initial_seed()))
            marker.resize(network)
            model = RelationClassifier(network, len(data.labels), extraction, data.negative)
            if extraction.efficient is not None:
                model.network = attach(network, extraction.efficient, marker.new_tokens)
        members.append(model.place(runtime.device))
    joined = Ensemble(members) if len(members) > 1 else members[0]
    return Reader(marker, joined, data, runtime)


def open_reader(folder: Path) -> Reader:
    """The tuned classifier of a finished run, with the data that it was tuned on.

    Raises:
        InputError: it is no finished run of this kind, a file is missing or does not fit.
    """
    config = load_run_config(folder / "config.yaml")
    if not isinstance(config, RelationConfig):
        raise InputError(f"{folder}: nothing was tuned in this run; give one with 'extraction:'")
    path = folder / "checkpoint.safetensors"
    config = as_saved(adapted(config, folder))
    reader = make_reader(config, load_data(config), Runtime.from_config(config.runtime))
    restore_module(reader.model, load_tensors(path)[0], path)
    reader.model.eval()
    if config.extraction.debias is None:
        return reader
    return replace(reader, subtract=load_json(folder / "calibration.json")["subtract"])


def evaluate_run(folder: Path, split: str) -> dict[str, float]:
    """F1 on the valid or test part again, from the checkpoint; and what reports add to it.

    Raises:
        InputError: see `open_reader`.
    """
    reader = open_reader(folder)
    examples = getattr(reader.data, split)
    logits = reader.logits(examples)
    return reader.f1(examples, logits) | _columns(_reports(reader, examples, logits))


def _fit(
    config: RelationConfig,
    runtime: Runtime,
    reader: Reader,
    train: Sequence[Example],
    valid: Sequence[Example],
    folder: Path,
    resume: bool,
    part: str = "",
    epochs: int | None = None,
    pseudo: PseudoLabels | None = None,
    observe: Observer | None = None,
) -> FitResult:
    """One training of the run in `folder`; `part` names it where it is not the first.

    Each member of an ensemble is trained on its own; what is told is their mean metric and epoch.
    """
    found = []
    for number, member in enumerate(reader.members):
        own = f"member {number + 1}" if number else ""
        found.append(
            _fit_member(
                config, replace(runtime, seed=member_seed(runtime.seed, number)), reader, member,
                train, valid, folder, resume, ", ".join(filter(None, (part, own))), epochs, pseudo,
                observe,
            )
        )  # fmt: skip
    metrics = [one.best_metric for one in found if one.best_metric is not None]
    return replace(
        found[0],
        best_metric=sum(metrics) / len(metrics) if metrics else None,
        best_epoch=round(sum(one.best_epoch for one in found) / len(found)),
    )


def _fit_member(
    config: RelationConfig,
    runtime: Runtime,
    reader: Reader,
    model: RelationClassifier,
    train: Sequence[Example],
    valid: Sequence[Example],
    folder: Path,
    resume: bool,
    part: str,
    epochs: int | None,
    pseudo: PseudoLabels | None,
    observe: Observer | None,
) -> FitResult:
    extraction = config.extraction
    settings = TrainSettings(
        epochs=epochs or extraction.epochs, lr=extraction.lr, weight_decay=extraction.weight_decay,
        optimizer=extraction.optimizer, accumulate=extraction.accumulate,
        schedule=extraction.schedule, warmup=extraction.warmup, clip=extraction.clip,
        patience=extraction.patience if valid else None,
        metric=extraction.metric if valid else None,
    )  # fmt: skip
    data = replace(reader.data, train=tuple(train))
    objectives = make_objectives(config, model, reader.marker, data)
    if pseudo is not None and config.semi is not None:
        objectives.append(pseudo.objective(config.semi, reader.marker))
    steps = settings.epochs * -(-len(train) // extraction.batch_size)
    objectives += allocation(model, steps)
    task = ClassifierTask(
        model, *_labelled(reader, train), _labelled(reader, valid) if valid else None,
        data, extraction, objectives, runtime.autocast,
    )  # fmt: skip
    if part:
        task.name += f", {part}"
    trainer = Trainer(
        settings, device=runtime.device, autocast=lambda: runtime.autocast(training=True),
        seed=runtime.seed, resume_command=f"relgnn run --resume {folder}",
        observe=observe,
    )  # fmt: skip
    found = trainer.fit(task, folder / "resume" / part, resume, log=folder / "log.jsonl")
    task.keep_average()
    return found


def _labelled(reader: Reader, examples: Sequence[Example]) -> tuple[Rows, Tensor]:
    index, labels = labelled(examples, len(reader.data.labels), reader.model.settings.multi_label)
    return reader.marker.rows([examples[i] for i in index]), labels


def _judged(reader: Reader, examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([one.relation for one in examples]), reader.logits(examples)


def _share(reader: Reader, valid: Sequence[Example]) -> float:
    """How much of the entities' own logits is taken away."""
    settings = reader.model.settings
    if settings.debias is None:
        return 0.0
    if settings.debias.subtract != "valid":
        return settings.debias.subtract
    rows = reader.marker.rows(valid)
    return best_share(
        reader.read(rows),
        reader.read(Views(reader.marker).entities(rows)),
        lambda logits: reader.f1(valid, logits)[settings.metric],
    )


def _reports(
    reader: Reader, examples: Sequence[Example], logits: np.ndarray
) -> dict[str, dict[str, Any]]:
    """What the configuration asks about bias and fairness."""
    settings, found = reader.model.settings, {}
    if settings.debias is not None:
        found["bias"] = bias_report(reader, examples)
    if settings.fairness is not None:
        found["fairness"] = group_report(
            *reader.decided(examples, logits), settings.fairness.groups, reader.data.positive
        )
    return found


def _columns(reports: Mapping[str, dict[str, Any]]) -> dict[str, float]:
    """The figures of reports that stand in a table."""
    found = {
        f"{metric}_{view}": value
        for view in ("entity_only", "entity_masked")
        for metric, value in reports.get("bias", {}).get(view, {}).items()
    }
    gap = reports.get("fairness", {}).get("gap", {})
    return found | {f"{metric}_gap": value for metric, value in gap.items()}
