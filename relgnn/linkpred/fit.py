"""Fit one link predictor: the model, its context and its ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from relgnn.config import Config
from relgnn.data import KnowledgeGraph
from relgnn.gnn.graph import MessageGraph
from relgnn.linkpred.features import TextFeatures
from relgnn.linkpred.model import LinkPredictor, build_predictor
from relgnn.linkpred.task import LinkPredictionTask, Supervision, rank_triples
from relgnn.ranking.admissible import Admissible
from relgnn.ranking.ranks import FilterIndex, Ranks
from relgnn.runtime import Runtime
from relgnn.training import Observer, Trainer, TrainSettings


@dataclass(frozen=True)
class Fitted:
    """A trained link predictor with the context it passes messages over."""

    model: LinkPredictor
    graph: MessageGraph

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
) -> LinkPredictor:
    """An untrained predictor on the run's device; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(runtime.torch_rng("link predictor").initial_seed())
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
    folder: Path | None = None,
    resume: bool = False,
    log: Path | None = None,
    resume_command: str | None = None,
    observe: Observer | None = None,
) -> Fitted:
    """Train a predictor; valid selects the epoch, unless train.patience is null.

    Args:
        config: sections text, gnn, decoder and train.
        runtime: device, precision and seed.
        graph: the given graph; its test split is not looked at.
        features: encodings of its texts.
        supervision: targets and context.
        name: of the fit, in progress and log; unique within a run.
        num_relations: where the caller adds relations to the graph's.
        start: weights to start from; drawn from the seed where None.
        known: int64 [K, 3], filters ranks at valid; given and valid triples where None. A model
            that must not know some given triples must not be selected with them either.
        folder: keeps what a resumed training needs.
        resume: go on from `folder`.
        log: shared log.jsonl.
        resume_command: told to the user after an interrupt.
        observe: called after every epoch.
    """
    model = new_predictor(config, runtime, graph, features, num_relations)
    if start is not None:
        model.load_state_dict(dict(start))
    known = graph.filter_triples("valid") if known is None else known
    task = LinkPredictionTask(model, supervision, graph.valid, known, config, name)
    train = config.train
    selects = train.patience is not None and len(graph.valid) > 0
    settings = TrainSettings(
        epochs=train.epochs,
        lr=train.lr,
        weight_decay=train.weight_decay,
        accumulate=train.accumulate,
        schedule=train.schedule,
        warmup=train.warmup,
        clip=train.clip,
        patience=train.patience if selects else None,
        eval_every=train.eval_every,
        metric="mrr" if selects else None,
    )
    trainer = Trainer(
        settings,
        device=runtime.device,
        autocast=lambda: runtime.autocast(training=True),
        seed=runtime.seed,
        resume_command=resume_command,
        observe=observe,
    )
    trainer.fit(task, folder=folder, resume=resume, log=log)
    return Fitted(model, task.graph)
