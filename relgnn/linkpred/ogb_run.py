"""A run on a data set of OGB, judged by OGB's own evaluator."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from relgnn.config import AnyOgbConfig, AutoencoderConfig, NodeConfig, PairConfig, TripleConfig
from relgnn.config.ogb import AutoencoderSettings
from relgnn.data.ogb import OgbLinks, OgbNodes, OgbTriples, read_links, read_nodes, read_triples
from relgnn.data.registry import folder_of
from relgnn.gnn.backends import set_backend
from relgnn.linkpred.autoencoder import (
    Chosen,
    autoencoder,
    choose_autoencoder,
    measure_autoencoder,
)
from relgnn.linkpred.fit import settings_of
from relgnn.linkpred.given_negatives import GivenNegativesTask, as_link_prediction
from relgnn.linkpred.model import build_predictor
from relgnn.linkpred.nodes import NodeClassifier, NodeTask
from relgnn.linkpred.pairs import EdgeTask, PairPredictor
from relgnn.ranking.ogb import OgbEvaluator
from relgnn.runtime import Runtime
from relgnn.training import (
    CHECKPOINT,
    Keeping,
    TrainSettings,
    load_json,
    load_module,
    module_tensors,
    save_tensors,
)
from relgnn.training.run_folder import carry_out, finished_config

OgbData = OgbLinks | OgbNodes | OgbTriples
OgbTask = EdgeTask | NodeTask | GivenNegativesTask


def run_ogb(config: AnyOgbConfig, folder: Path, resume: bool = False) -> dict[str, Any]:
    """Train, select on valid, read test once, both by OGB's evaluator.

    Args:
        config: what to do.
        folder: made here; must not hold a run yet, unless `resume`.
        resume: go on with an interrupted run.

    Returns:
        The content of metrics.json; a row has OGB's metric of test, that of valid beside it, and
        the number of parameters.

    Raises:
        InputError: the folder holds a run already, ogb is not installed, or data are not as they
            should be.
    """

    def work(data: OgbData, runtime: Runtime) -> dict[str, Any]:
        if isinstance(config, AutoencoderConfig):
            assert isinstance(data, OgbLinks)
            return _solve(config.autoencoder, data, runtime, folder)
        task = new_task(config, data, runtime)
        keeping = Keeping.of_run(folder, resume)
        metric = task.evaluator.metric
        epoch = keeping.train(task, _settings(config, metric), runtime).best_epoch
        save_tensors(folder / CHECKPOINT, module_tensors(task.model))
        found = {split: {metric: task.measure(split)} for split in ("valid", "test")}
        parameters = sum(value.numel() for value in task.model.parameters())
        return {"epoch": epoch} | _rows(found, metric, parameters)

    set_backend(config.runtime.backend)
    return carry_out(config, folder, resume, load_ogb, work)


def _solve(
    settings: AutoencoderSettings, data: OgbLinks, runtime: Runtime, folder: Path
) -> dict[str, Any]:
    """The same for what is solved, not trained; no seed matters."""
    evaluator = OgbEvaluator(settings.benchmark)
    model, chosen = choose_autoencoder(data, settings, evaluator, runtime.device)
    save_tensors(folder / CHECKPOINT, module_tensors(model))
    test = measure_autoencoder(model, model(), data, evaluator, "test", chosen.restored)
    found = {"valid": {evaluator.metric: chosen.valid}, "test": {evaluator.metric: test}}
    return {"chosen": asdict(chosen)} | _rows(found, evaluator.metric, model.weight.numel())


def _rows(found: dict[str, dict[str, float]], metric: str, parameters: int) -> dict[str, Any]:
    row = found["test"] | {f"valid_{metric}": found["valid"][metric], "parameters": parameters}
    return {**found, "rows": {"final": row}}


def evaluate_ogb(folder: Path, split: str) -> dict[str, float]:
    """OGB's metric of valid or test again, from the checkpoint.

    Raises:
        InputError: it is no finished run of this kind, or the data are not there any more.
    """
    config: AnyOgbConfig = finished_config(folder, AnyOgbConfig, "run on a data set of OGB")
    set_backend(config.runtime.backend)
    data, runtime = load_ogb(config), Runtime.from_config(config.runtime)
    if isinstance(config, AutoencoderConfig):
        assert isinstance(data, OgbLinks)
        chosen = Chosen(**load_json(folder / "metrics.json")["chosen"])
        model = autoencoder(data, chosen.damping, runtime.device)
        load_module(model, folder / CHECKPOINT)
        evaluator = OgbEvaluator(config.autoencoder.benchmark)
        found = measure_autoencoder(model, model(), data, evaluator, split, chosen.restored)
        return {evaluator.metric: found}
    task = new_task(config, data, runtime)
    load_module(task.model, folder / CHECKPOINT)
    task.model.eval()
    return {task.evaluator.metric: task.measure(split)}


def load_ogb(config: AnyOgbConfig) -> OgbData:
    """The data set that a configuration names.

    Raises:
        InputError: it is nowhere, or not as it should be.
    """
    folder = folder_of(config.data)
    if isinstance(config, PairConfig | AutoencoderConfig):
        return read_links(config.benchmark, folder)
    if isinstance(config, NodeConfig):
        return read_nodes(config.benchmark, folder)
    return read_triples(config.benchmark, folder)


def new_task(config: AnyOgbConfig, data: OgbData, runtime: Runtime) -> OgbTask:
    """An untrained model on the run's device, with its batches and its judge."""
    device = runtime.device
    with runtime.drawn_from("ogb model"):
        if isinstance(data, OgbLinks):
            assert isinstance(config, PairConfig)
            pairs = config.pairs
            features = None if data.features is None else torch.from_numpy(data.features)
            predictor = PairPredictor(data.num_nodes, features, pairs).to(device)
            judge = OgbEvaluator(pairs.benchmark)
            return EdgeTask(predictor, data, pairs, judge, pairs.benchmark)
        if isinstance(data, OgbNodes):
            assert isinstance(config, NodeConfig)
            nodes = config.nodes
            given = torch.from_numpy(data.features)
            classifier = NodeClassifier(given, data.num_classes, nodes).to(device)
            return NodeTask(classifier, data, OgbEvaluator(nodes.benchmark), nodes.benchmark)
        assert isinstance(config, TripleConfig)
        name, whole = config.triples.benchmark, as_link_prediction(config)
        model = build_predictor(whole, data.num_entities, data.num_relations, None).to(device)
        return GivenNegativesTask(model, data, config, OgbEvaluator(name), name)


def _settings(config: AnyOgbConfig, metric: str) -> TrainSettings:
    """What the trainer is told."""
    if isinstance(config, TripleConfig):
        return settings_of(config.train, config.one_weight_decay, metric)
    assert isinstance(config, PairConfig | NodeConfig)
    fitting = config.pairs if isinstance(config, PairConfig) else config.nodes
    return TrainSettings.of(fitting, metric)
