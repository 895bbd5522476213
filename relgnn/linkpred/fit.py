"""Fit one link predictor: the model, its context and its ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from relgnn.config import Config
from relgnn.data import KnowledgeGraph
from relgnn.errors import InputError
from relgnn.gnn.graph import MessageGraph
from relgnn.linkpred.coteaching import CoteachingTask
from relgnn.linkpred.features import TextFeatures
from relgnn.linkpred.memory import MemoryTask
from relgnn.linkpred.model import LinkPredictor, build_predictor, without_memory
from relgnn.linkpred.supervision import Supervision
from relgnn.linkpred.task import LinkPredictionTask, rank_triples
from relgnn.ranking.admissible import Admissible
from relgnn.ranking.ranks import FilterIndex, Ranks
from relgnn.runtime import Runtime
from relgnn.training import (
    FitResult,
    Observer,
    Trainer,
    TrainSettings,
    module_tensors,
    restore_module,
)
from relgnn.training.task import Task


@dataclass(frozen=True)
class Fitted:
    """A trained link predictor with the context it passes messages over.

    `weight_decay` is what it was trained with; None where nobody wrote it down.
    """

    model: LinkPredictor
    graph: MessageGraph
    weight_decay: float | None = None

    def ranks(
        self,
        triples: np.ndarray,
        known: np.ndarray,
        read: Callable[[Tensor, Tensor], Tensor] | None = None,
        admissible: Admissible | None = None,
    ) -> dict[str, Ranks]:
        """Filtered ranks of both ends, by side; see `rank_triples`."""
        index = FilterIndex.build(known, self.model.num_relations)
        return rank_triples(self.model, self.graph, triples, index, read, admissible)


def new_predictor(
    config: Config,
    runtime: Runtime,
    graph: KnowledgeGraph,
    features: TextFeatures | None,
    num_relations: int | None = None,
    stream: str = "link predictor",
) -> LinkPredictor:
    """An untrained predictor on the run's device; the same seed and stream, the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(runtime.torch_rng(stream).initial_seed())
        model = build_predictor(
            config, graph.num_entities, num_relations or graph.num_relations, features
        )
    return model.to(runtime.device)


def fit_predictor(
    config: Config,
    runtime: Runtime,
    graph: KnowledgeGraph,
    features: TextFeatures | None,
    supervision: Supervision,
    *,
    name: str,
    num_relations: int | None = None,
    start: Mapping[str, Tensor] | None = None,
    known: np.ndarray | None = None,
    valid: np.ndarray | None = None,
    weight_decay: float | None = None,
    folder: Path | None = None,
    resume: bool = False,
    log: Path | None = None,
    resume_command: str | None = None,
    observe: Observer | None = None,
) -> Fitted:
    """Train a predictor; valid selects the epoch, unless train.patience is null.

    Of several train.weight_decay, valid selects one too: little data asks for much of it, and a
    model that should remember what was read asks for little. What the model was taught is no wrong
    answer at valid, as surely as it is true (`Supervision.drawn`).

    Where the configuration has them: a second predictor is trained beside it, and the two choose
    each other's accepted targets (loop.coteaching; not where all targets are given); then some
    epochs on given targets alone follow (loop.polish_epochs), which count only where valid ranks
    better after them, if valid selects. So that rows of a table compare, they follow every
    training. With loop.memory, what was told is learned last, by vectors beside the predictor
    (`MemoryTask`).

    Args:
        config: sections text, gnn, decoder, train and loop.
        runtime: device, precision and seed.
        graph: the given graph; its test split is not looked at.
        features: encodings of its texts.
        supervision: targets and context.
        name: of the fit, in progress and log; unique within a run.
        num_relations: where the caller adds relations to the graph's.
        start: weights to start from; drawn from the seed where None, as a second predictor's are.
        known: int64 [K, 3], filters ranks at valid beside targets; given and valid triples
            where None. A model that must not know some given triples must not be selected with
            them either.
        valid: int64 [V, 3], selects; the graph's valid triples where None.
        weight_decay: stands in for the configuration's one or several.
        folder: keeps what a resumed training needs.
        resume: go on from `folder`.
        log: shared log.jsonl.
        resume_command: told to the user after an interrupt.
        observe: called after every epoch.

    Raises:
        InputError: there are several weight decays to choose from, and no valid triple.
    """
    decays = config.train.weight_decay if weight_decay is None else weight_decay
    if not isinstance(decays, tuple):
        decays = (decays,)
    valid = graph.valid if valid is None else valid
    if len(decays) > 1 and not len(graph.valid):
        raise InputError(
            f"train.weight_decay={list(decays)}: valid chooses one of them, and {graph.name} has "
            "no valid triples; give one number"
        )
    several, best = len(decays) > 1, None
    for decay in decays:
        fitted, task = _fit_predictor(
            config,
            runtime,
            graph,
            features,
            supervision,
            decay,
            name=f"{name}, weight decay {decay:g}" if several else name,
            num_relations=num_relations,
            start=start,
            known=known,
            valid=valid,
            folder=folder / f"weight-decay-{decay:g}" if several and folder else folder,
            resume=resume,
            log=log,
            resume_command=resume_command,
            observe=observe,
        )
        mrr = task.evaluate()["mrr"] if several and len(valid) else 0.0
        if best is None or mrr > best[0]:
            best = mrr, fitted
    assert best is not None
    fitted = best[1]
    memory = config.loop.memory if config.loop is not None else None
    if memory is not None and supervision.told is not None and len(supervision.told):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(runtime.torch_rng("memory").initial_seed())
            learns = MemoryTask(
                fitted.model, fitted.graph, supervision, valid, _known(graph, known, supervision,
                runtime), memory, f"{name}, memory"
            )  # fmt: skip
        Trainer(
            TrainSettings(
                epochs=memory.epochs, lr=memory.lr, weight_decay=0.0, schedule="linear",
                patience=None, metric=None,
            ),
            device=runtime.device, seed=runtime.seed, resume_command=resume_command,
            observe=observe,
        ).fit(
            learns, folder=folder / "memory" if folder else None, resume=resume, log=log
        )  # fmt: skip
    return fitted


def _known(
    graph: KnowledgeGraph, known: np.ndarray | None, supervision: Supervision, runtime: Runtime
) -> np.ndarray:
    """What is no wrong answer at valid: int64 [K, 3]."""
    known = graph.filter_triples("valid") if known is None else known
    return np.concatenate([known, supervision.drawn(runtime.rng("true targets"))])


def _fit_predictor(
    config: Config,
    runtime: Runtime,
    graph: KnowledgeGraph,
    features: TextFeatures | None,
    supervision: Supervision,
    weight_decay: float,
    *,
    name: str,
    num_relations: int | None,
    start: Mapping[str, Tensor] | None,
    known: np.ndarray | None,
    valid: np.ndarray,
    folder: Path | None,
    resume: bool,
    log: Path | None,
    resume_command: str | None,
    observe: Observer | None,
) -> tuple[Fitted, LinkPredictionTask]:
    """`fit_predictor` with one weight decay, and the task, which tells how valid ranks."""
    model = new_predictor(config, runtime, graph, features, num_relations)
    if start is not None:
        model.load_state_dict(without_memory(start))
    known = _known(graph, known, supervision, runtime)
    task = LinkPredictionTask(model, supervision, valid, known, config, name)
    train = config.train
    selects = train.patience is not None and len(valid) > 0
    settings = TrainSettings(
        epochs=train.epochs,
        lr=train.lr,
        weight_decay=weight_decay,
        accumulate=train.accumulate,
        schedule=train.schedule,
        warmup=train.warmup,
        clip=train.clip,
        patience=train.patience if selects else None,
        eval_every=train.eval_every,
        metric="mrr" if selects else None,
    )

    def train_on(task: Task[Any], settings: TrainSettings, folder: Path | None) -> FitResult:
        trainer = Trainer(
            settings,
            device=runtime.device,
            autocast=lambda: runtime.autocast(training=True),
            seed=runtime.seed,
            resume_command=resume_command,
            observe=observe,
        )
        return trainer.fit(task, folder=folder, resume=resume, log=log)

    loop = config.loop
    taught: Task[Any] = task
    if loop is not None and loop.coteaching is not None and bool(task.pseudo.any()):
        second = new_predictor(
            config, runtime, graph, features, num_relations, "second link predictor"
        )
        taught = CoteachingTask(task, second, loop.coteaching)
    train_on(taught, settings, folder)
    if loop is not None and loop.polish_epochs:
        gold = LinkPredictionTask(
            model, supervision.given(), valid, known, config, f"{name} polish"
        )
        settings = replace(settings, epochs=loop.polish_epochs, lr=loop.polish_lr, patience=None)
        before = module_tensors(model)
        mrr = gold.evaluate()["mrr"] if selects else None
        result = train_on(gold, settings, folder / "polish" if folder is not None else None)
        if result.best_metric is not None and not settings.better(result.best_metric, mrr):
            restore_module(model, before, "the weights before the polish")
    return Fitted(model, task.graph, weight_decay), task
