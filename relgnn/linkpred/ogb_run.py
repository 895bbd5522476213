"""A run on a data set of OGB, judged by OGB's own evaluator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from relgnn.config import AnyOgbConfig, NodeConfig, PairConfig, TripleConfig, config_of_run
from relgnn.data.ogb import OgbLinks, OgbNodes, OgbTriples, read_links, read_nodes, read_triples
from relgnn.data.registry import folder_of
from relgnn.errors import InputError
from relgnn.linkpred.fit import settings_of
from relgnn.linkpred.given_negatives import GivenNegativesTask, as_link_prediction
from relgnn.linkpred.model import build_predictor
from relgnn.linkpred.nodes import NodeClassifier, NodeTask
from relgnn.linkpred.pairs import PairPredictor, PairTask
from relgnn.ranking.ogb import OgbEvaluator
from relgnn.runtime import Runtime
from relgnn.training import (
    Keeping,
    TrainSettings,
    load_tensors,
    module_tensors,
    restore_module,
    save_tensors,
)
from relgnn.training.run_folder import carry_out

CHECKPOINT = "checkpoint.safetensors"

OgbData = OgbLinks | OgbNodes | OgbTriples
OgbTask = PairTask | NodeTask | GivenNegativesTask


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
        task = new_task(config, data, runtime)
        keeping = Keeping.of_run(folder, resume)
        metric = task.evaluator.metric
        epoch = keeping.train(task, _settings(config, metric), runtime).best_epoch
        save_tensors(folder / CHECKPOINT, module_tensors(task.model))
        found = {split: {metric: task.measure(split)} for split in ("valid", "test")}
        parameters = sum(value.numel() for value in task.model.parameters())
        row = found["test"] | {f"valid_{metric}": found["valid"][metric], "parameters": parameters}
        return {"epoch": epoch, **found, "rows": {"final": row}}

    return carry_out(config, folder, resume, load_ogb, work)


def evaluate_ogb(folder: Path, split: str) -> dict[str, float]:
    """OGB's metric of valid or test again, from the checkpoint.

    Raises:
        InputError: it is no finished run of this kind, or the data are not there any more.
    """
    config = config_of_run(folder)
    finished = (folder / "metrics.json").is_file()
    if not isinstance(config, AnyOgbConfig) or not finished:
        raise InputError(
            f"{folder}: is no finished run on a data set of OGB; give the folder of one, or end it "
            f"with `relgnn run --resume {folder}`"
        )
    task = new_task(config, load_ogb(config), Runtime.from_config(config.runtime))
    restore_module(task.model, load_tensors(folder / CHECKPOINT)[0], folder / CHECKPOINT)
    task.model.eval()
    return {task.evaluator.metric: task.measure(split)}


def load_ogb(config: AnyOgbConfig) -> OgbData:
    """The data set that a configuration names.

    Raises:
        InputError: it is nowhere, or not as it should be.
    """
    folder = folder_of(config.data)
    if isinstance(config, PairConfig):
        return read_links(config.pairs.benchmark, folder)
    if isinstance(config, NodeConfig):
        return read_nodes(config.nodes.benchmark, folder)
    return read_triples(config.triples.benchmark, folder)


def new_task(config: AnyOgbConfig, data: OgbData, runtime: Runtime) -> OgbTask:
    """An untrained model on the run's device, with its batches and its judge."""
    device = runtime.device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(runtime.torch_rng("ogb model").initial_seed())
        if isinstance(data, OgbLinks):
            assert isinstance(config, PairConfig)
            pairs = config.pairs
            features = None if data.features is None else torch.from_numpy(data.features)
            predictor = PairPredictor(data.num_nodes, features, pairs).to(device)
            judge = OgbEvaluator(pairs.benchmark)
            return PairTask(predictor, data, pairs, judge, pairs.benchmark)
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
    fitting = config.pairs if isinstance(config, PairConfig) else config.nodes
    return TrainSettings(
        epochs=fitting.epochs, lr=fitting.lr, schedule=fitting.schedule, warmup=fitting.warmup,
        clip=fitting.clip, eval_every=fitting.eval_every, patience=fitting.patience, metric=metric,
    )  # fmt: skip
