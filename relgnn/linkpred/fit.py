"""Fit one link predictor: the model, its context and its ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from relgnn.config import Config, TrainConfig
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
from relgnn.training import KEEP_NOTHING, Keeping, TrainSettings, module_tensors, restore_module
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


def settings_of(train: TrainConfig, weight_decay: float, metric: str | None) -> TrainSettings:
    """What the trainer is told.

    Args:
        train: section `train`.
        weight_decay: one of its own.
        metric: what valid selects by, unless train.patience is null; None where nothing selects.
    """
    chosen = metric if train.patience is not None else None
    return TrainSettings.of(train, chosen, weight_decay=weight_decay)


def new_predictor(
    config: Config,
    runtime: Runtime,
    graph: KnowledgeGraph,
    features: TextFeatures | None,
    num_relations: int | None = None,
    stream: str = "link predictor",
) -> LinkPredictor:
    """An untrained predictor on the run's device; the same seed and stream, the same weights."""
    with runtime.drawn_from(stream):
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
    keeping: Keeping = KEEP_NOTHING,
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
        keeping: where its state is kept.

    Raises:
        InputError: there are several weight decays to choose from, and no valid triple.
    """
    decays = config.train.weight_decay if weight_decay is None else weight_decay
    if not isinstance(decays, tuple):
        decays = (decays,)
    if len(decays) > 1 and not len(graph.valid):
        raise InputError(
            f"train.weight_decay={list(decays)}: valid chooses one of them, and {graph.name} has "
            "no valid triples; give one number"
        )
    known = graph.filter_triples("valid") if known is None else known
    known = np.concatenate([known, supervision.drawn(runtime.rng("true targets"))])
    fit = _Fit(
        config, runtime, graph, features, supervision, num_relations, start, known,
        graph.valid if valid is None else valid,
    )  # fmt: skip
    if len(decays) == 1:
        fitted = fit.run(decays[0], name, keeping)[0]
    else:
        several = [
            fit.run(
                decay, f"{name}, weight decay {decay:g}", keeping.part(f"weight-decay-{decay:g}")
            )
            for decay in decays
        ]
        mrr = [task.evaluate()["mrr"] if len(fit.valid) else 0.0 for _, task in several]
        fitted = several[int(np.argmax(mrr))][0]
    fit.remember(fitted, f"{name}, memory", keeping.part("memory"))
    return fitted


@dataclass(frozen=True)
class _Fit:
    """What the trainings of one `fit_predictor` share; `known` has what was taught."""

    config: Config
    runtime: Runtime
    graph: KnowledgeGraph
    features: TextFeatures | None
    supervision: Supervision
    num_relations: int | None
    start: Mapping[str, Tensor] | None
    known: np.ndarray
    valid: np.ndarray

    def run(
        self, weight_decay: float, name: str, keeping: Keeping
    ) -> tuple[Fitted, LinkPredictionTask]:
        """A predictor trained with one weight decay, and the task, which tells how valid ranks."""
        config, loop = self.config, self.config.loop
        model = self._new("link predictor")
        if self.start is not None:
            model.load_state_dict(without_memory(self.start))
        task = self._task(model, self.supervision, name)
        settings = self._settings(weight_decay)
        taught: Task[Any] = task
        if loop is not None and loop.coteaching is not None and bool(task.pseudo.any()):
            taught = CoteachingTask(task, self._new("second link predictor"), loop.coteaching)
        keeping.train(taught, settings, self.runtime)
        if config.loop is not None and config.loop.polish_epochs:
            self._polish(model, settings, name, keeping)
        return Fitted(model, task.graph, weight_decay), task

    def _polish(
        self, model: LinkPredictor, settings: TrainSettings, name: str, keeping: Keeping
    ) -> None:
        """Epochs on given targets; undone where valid selects and ranks no better after them."""
        loop = self.config.loop
        assert loop is not None
        gold = self._task(model, self.supervision.given(), f"{name} polish")
        gold.rate_keys = ("loop.polish_lr", "train.clip")
        settings = replace(settings, epochs=loop.polish_epochs, lr=loop.polish_lr, patience=None)
        before = module_tensors(model)
        mrr = gold.evaluate()["mrr"] if settings.metric else None
        result = keeping.part("polish").train(gold, settings, self.runtime)
        if result.best_metric is not None and not settings.better(result.best_metric, mrr):
            restore_module(model, before, "the weights before the polish")

    def remember(self, fitted: Fitted, name: str, keeping: Keeping) -> None:
        """Give the predictor a memory of what was told, where there is some and it is asked for."""
        memory = self.config.loop.memory if self.config.loop is not None else None
        told = self.supervision.told
        if memory is None or told is None or not len(told):
            return
        with self.runtime.drawn_from("memory"):
            task = MemoryTask(
                fitted.model, fitted.graph, self.supervision, self.valid, self.known, memory, name
            )
        settings = TrainSettings.of(memory, None, schedule="linear")
        # a divergence of some hundredths would drown in bfloat16
        keeping.train(task, settings, self.runtime, exact=True)

    def _new(self, stream: str) -> LinkPredictor:
        return new_predictor(
            self.config, self.runtime, self.graph, self.features, self.num_relations, stream
        )

    def _task(
        self, model: LinkPredictor, supervision: Supervision, name: str
    ) -> LinkPredictionTask:
        return LinkPredictionTask(model, supervision, self.valid, self.known, self.config, name)

    def _settings(self, weight_decay: float) -> TrainSettings:
        return settings_of(self.config.train, weight_decay, "mrr" if len(self.valid) else None)
