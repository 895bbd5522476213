"""A run of supervised relation extraction, from a configuration to a run folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from relgnn.config import RelationConfig, load_run_config
from relgnn.data.corpus import texts_of
from relgnn.data.relations import RelationData, require_parts
from relgnn.errors import InputError
from relgnn.posterior.softmax import LabelCalibrator
from relgnn.runtime import Runtime
from relgnn.text.characters import make_characters, with_characters
from relgnn.text.efficient import merge, parameter_counts
from relgnn.text.pretraining_run import adapt, adapted
from relgnn.text.reader import Reader, load_data, make_reader, open_reader
from relgnn.text.relation_fit import Fitter, Lessons
from relgnn.text.relation_report import calibration, reports, write_attention
from relgnn.text.retune import carry_over, compare, new_data, take_model
from relgnn.text.rewriting import attack_metrics, attacked, augmented, hardens, misleading
from relgnn.text.self_training import PseudoLabels, self_train
from relgnn.training import CHECKPOINT, FitResult, Observer, module_tensors, save_tensors
from relgnn.training.run_folder import carry_out
from relgnn.training.tracking import tracked


def run_relations(
    config: RelationConfig,
    folder: Path,
    resume: bool = False,
    test: bool = True,
    observe: Observer | None = None,
) -> dict[str, Any]:
    """Tune as configured, read test once, and leave a run folder.

    Args:
        config: what to do.
        folder: made here; must not hold a run yet, unless `resume`.
        resume: go on with the interrupted run in `folder`, to the same numbers.
        test: False ends a tuning when valid has selected: nothing that follows can see test.
        observe: called after every epoch.

    Returns:
        The content of metrics.json.

    Raises:
        InputError: the folder holds a run already, or the data are not as they should be.
    """

    def load(config: RelationConfig) -> RelationData:
        data = load_data(config)
        _require_parts(config, data)
        return data if test else replace(data, test=())

    def work(data: RelationData, runtime: Runtime) -> dict[str, Any]:
        with tracked(config, folder) as tracker:
            fitter = Fitter(config, runtime, folder, resume, tracker.observer(observe))
            metrics = _tune(fitter, data)
            for split in ("valid", "test"):
                tracker.result(split, metrics.get(split, {}), metrics["epoch"])
        trained = {"trained_parameters": metrics["parameters"]["trained"]}
        rows = {"final": metrics["test"] | trained} if "test" in metrics else {}
        return metrics | {"rows": rows}

    return carry_out(config, folder, resume, load, work)


def evaluate_run(folder: Path, split: str) -> dict[str, float]:
    """F1 on the valid or test part again, from the checkpoint; and what reports add to it.

    Raises:
        InputError: see `open_reader`.
    """
    reader = open_reader(folder)
    examples = getattr(reader.data, split)
    logits = reader.logits(examples)
    return reader.f1(examples, logits) | reports(reader, examples, logits)[1]


def attack_run(
    folder: Path, split: str = "test", limit: int | None = None, out: Path | None = None
) -> dict[str, float]:
    """How often rewrites of a finished run's sentences change what it says of them.

    Args:
        folder: of the run, whose `attack:` section says how to search, else the defaults do.
        split: the part that is attacked.
        limit: sentences at most.
        out: where the misleading rewrites are written, one JSON object a line.

    Raises:
        InputError: see `open_reader`; or the run tells several labels of a sentence.
    """
    reader = open_reader(folder)
    config = load_run_config(folder / "config.yaml")
    assert isinstance(config, RelationConfig)
    if config.extraction.multi_label:
        raise InputError(f"{folder}: tells several labels of a sentence; give a run that tells one")
    # its synonyms are those of the model that it was tuned from, as at the end of the run itself
    config = adapted(with_characters(config, folder), folder)
    return attacked(config, reader.data, reader.logits, split, limit, out)


def _require_parts(config: RelationConfig, data: RelationData) -> None:
    require_parts(data)
    if config.semi is not None and not data.unlabelled:
        raise InputError(
            f"{data.name}: has no unlabelled sentences for 'semi'; add unlabelled.jsonl to the "
            "folder, set a data.fraction of frozen subsets, or set semi=null"
        )


@dataclass(frozen=True)
class _Selected:
    """What valid chose.

    Args:
        reader: the classifier.
        chosen: how its training ended.
        lessons: what it was trained on.
        weak: the one whose mistakes made lessons, where there is one.
        told: of metrics.json.
    """

    reader: Reader
    chosen: FitResult
    lessons: Lessons
    weak: Reader | None
    told: dict[str, Any]


def _tune(fitter: Fitter, data: RelationData) -> dict[str, Any]:
    """Select on valid, refit where asked, and read test; writes the model and its calibration.

    Probabilities are calibrated on valid before any refit.
    """
    config, folder = fitter.config, fitter.folder
    told: dict[str, Any] = {}
    if config.continued:
        take_model(config.continued[-1].run, folder)
    else:
        make_characters(config, data, fitter.runtime, folder)
    config = with_characters(config, folder)
    if config.pretraining is not None:
        if not config.continued:
            told["pretraining"] = adapt(
                config, config.pretraining, texts_of(data), fitter.runtime, folder, fitter.resume
            )
        config = adapted(config, folder)
    fitter = replace(fitter, config=config)
    old = None
    if config.continued:
        old = open_reader(config.continued[-1].run, fitter.runtime)
    found = _select(fitter, data, old)
    reader = found.reader.without_bias(data.valid)
    logits = reader.logits(data.valid)
    metrics: dict[str, Any] = told | found.told | {
        "parameters": parameter_counts(reader.model),
        "valid": reader.f1(data.valid, logits),
        "epoch": found.chosen.best_epoch,
        "sentences": {name: len(getattr(data, name)) for name in ("train", "valid", "test")},
    }  # fmt: skip
    if not data.test:
        return metrics
    truth = np.array([one.relation for one in data.valid])
    calibrator = LabelCalibrator.fit(logits, truth)
    if config.extraction.refit:
        reader = _refit(fitter, data, replace(found, reader=reader))
    if config.extraction.efficient is not None and config.extraction.efficient.save == "merged":
        for member in reader.members:
            member.network = merge(member.network)
    # What a continued run freezes is what the run before has learnt, not what the language model
    # came with; few parameters are tuned on the language model as it came.
    frozen = bool(config.continued) and config.extraction.efficient is None
    tensors = module_tensors(reader.model, frozen)
    save_tensors(folder / CHECKPOINT, tensors, {"frozen": frozen})
    logits = reader.logits(data.test)
    metrics["calibration"], probable = calibration(
        reader, calibrator, data.test, logits, fitter.runtime, folder
    )
    more, columns = reports(reader, data.test, logits)
    metrics |= more
    metrics["test"] = reader.f1(data.test, logits) | columns | probable
    if config.extraction.attention:
        write_attention(reader, data.test, folder / "attention.jsonl")
    if config.attack is not None:
        judged = [one.logits for one in (reader, found.weak) if one is not None]
        metrics["attack"], columns = attack_metrics(config, data, judged, folder)
        metrics["test"] |= columns
    if old is not None:
        step = config.continued[-1]
        fresh = new_data(old.data, step)
        metrics["continued"] = compare(old, reader, fresh, config.extraction.metric, step.tolerance)
    return metrics


def _select(fitter: Fitter, data: RelationData, old: Reader | None) -> _Selected:
    """Every training that valid judges: on gold, on rewrites, on mistakes, on pseudo-labels.

    Where there is an old reader, training starts from what that has learnt.
    """
    config, folder, runtime = fitter.config, fitter.folder, fitter.runtime
    extra = augmented(config, data, "train", runtime, folder, fitter.resume)
    lessons, weak = Lessons(data.train, data.valid, extra), None

    def start() -> Reader:
        reader = make_reader(config, data, runtime)
        if old is not None:
            carry_over(old, reader)
        return reader

    reader = start()
    if hardens(config):
        fitter.fit(reader, lessons, "weak")
        weak, reader = reader, start()
        found = misleading(config, data, weak.logits, runtime, folder, fitter.resume)
        lessons = replace(lessons, extra=[*extra, *found])
    chosen = fitter.fit(reader, lessons)
    if config.semi is None or config.semi.kind != "self_training":
        return _Selected(reader, chosen, lessons, weak, {})

    def teach(pseudo: PseudoLabels, number: int) -> tuple[Reader, FitResult]:
        fresh = make_reader(config, data, runtime)
        return fresh, fitter.fit(fresh, replace(lessons, pseudo=pseudo), f"round {number}")

    taught = self_train(reader, chosen, config.semi, teach)
    lessons = replace(lessons, pseudo=taught.pseudo)
    return _Selected(taught.reader, taught.chosen, lessons, weak, {"rounds": taught.rounds})


def _refit(fitter: Fitter, data: RelationData, found: _Selected) -> Reader:
    """A fresh classifier on train and valid, for the epochs that valid chose."""
    reader = replace(
        make_reader(fitter.config, data, fitter.runtime), subtract=found.reader.subtract
    )
    extra = augmented(fitter.config, data, "valid", fitter.runtime, fitter.folder, fitter.resume)
    lessons = replace(
        found.lessons, train=(*data.train, *data.valid), valid=(),
        extra=[*found.lessons.extra, *extra],
    )  # fmt: skip
    fitter.fit(reader, lessons, "refit", found.chosen.best_epoch)
    return reader
