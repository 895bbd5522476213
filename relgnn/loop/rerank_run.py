"""A run that puts the best candidates of another run into a new order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from relgnn.config import RerankConfig
from relgnn.data import KnowledgeGraph
from relgnn.data.registry import load_graph
from relgnn.errors import InputError
from relgnn.linkpred.candidates import Queries, list_queries
from relgnn.linkpred.evaluate import report_scores
from relgnn.linkpred.rerank import Reranker, RerankTask, list_ranks, reranked
from relgnn.linkpred.rerank_features import CandidateFeatures
from relgnn.loop.scored import candidate_features
from relgnn.ranking.metrics import rank_metrics
from relgnn.ranking.ranks import FilterIndex
from relgnn.runtime import Runtime
from relgnn.training import CHECKPOINT, Keeping, TrainSettings, module_tensors, save_tensors
from relgnn.training.run_folder import carry_out

UNCHANGED = "unchanged"
LEAST = 4
"""Valid triples that are needed: two to learn from and two to select by."""


def run_rerank(config: RerankConfig, folder: Path, resume: bool = False) -> dict[str, Any]:
    """Learn an order from half of valid, select on the other half, read test once.

    Args:
        config: what to do; `rerank.of` and `rerank.views` name rows beside `folder`, or folders.
        folder: made here; must not hold a run yet, unless `resume`.
        resume: go on with an interrupted run.

    Returns:
        The content of metrics.json. `valid` is of the half that selects alone; `selected` has that
        half's MRR among the candidates for each size of network and for the order as it was, the
        best of which is `chosen`.

    Raises:
        InputError: the folder holds a run already, a run that this one builds on is not there, or
            there are too few valid triples.
    """

    def work(graph: KnowledgeGraph, runtime: Runtime) -> dict[str, Any]:
        if len(graph.valid) < LEAST:
            raise InputError(
                f"{graph.name}: has {len(graph.valid)} valid triples, of which half are learned "
                f"from; a re-ranker needs at least {LEAST}"
            )
        features = candidate_features(config, folder, graph)
        learning = halves(len(graph.valid), runtime)
        model, selected = _fit(config, runtime, graph, features, learning, folder, resume)
        save_tensors(
            folder / CHECKPOINT, {} if model is None else module_tensors(model),
            {"hidden": 0 if model is None else model.inner.out_features},
        )  # fmt: skip
        scores = reranked(model, features)
        metrics: dict[str, Any] = {
            "selected": selected,
            "chosen": max(selected, key=lambda name: selected[name]),
            "features": list(features.names),
        }
        return metrics | report_scores(scores, graph, folder, ~learning)

    return carry_out(config, folder, resume, lambda c: load_graph(c.data), work)


def halves(triples: int, runtime: Runtime) -> np.ndarray:
    """Which valid triples are learned from, bool [V]; the others select."""
    learning = np.zeros(triples, dtype=bool)
    learning[runtime.rng("halves of valid").permutation(triples)[: triples // 2]] = True
    return learning


def _fit(
    config: RerankConfig,
    runtime: Runtime,
    graph: KnowledgeGraph,
    features: CandidateFeatures,
    learning: np.ndarray,
    folder: Path,
    resume: bool,
) -> tuple[Reranker | None, dict[str, float]]:
    """The best of several networks and of none, and the selecting half's MRR of each."""
    settings = config.rerank
    known = FilterIndex.build(graph.filter_triples("valid"), graph.num_relations)
    queries = list_queries(features, graph, graph.valid, known)
    own = torch.from_numpy(learning)[queries.triple]
    learned, selecting = queries.of(own), queries.of(~own)
    selected = {UNCHANGED: rank_metrics(list_ranks(None, selecting))["mrr"]}
    models: dict[str, Reranker] = {}
    told = TrainSettings.of(settings, "mrr", schedule="linear")
    keeping = Keeping.of_run(folder, resume)
    for hidden in settings.hidden if _teaches(learned) else ():
        model = _new(len(features.names), hidden, settings.dropout, runtime)
        model.standardise(learned.features.to(runtime.device))
        task = RerankTask(model, learned, selecting, settings, f"re-ranker of {hidden}")
        keeping.part(str(hidden)).train(task, told, runtime, exact=True)
        models[str(hidden)] = model.eval()
        selected[str(hidden)] = task.evaluate()["mrr"]
    best = max(selected, key=lambda name: selected[name])
    return models.get(best), selected


def _teaches(queries: Queries) -> bool:
    return bool((queries.place >= 0).any())


def _new(features: int, hidden: int, dropout: float, runtime: Runtime) -> Reranker:
    with runtime.drawn_from(f"re-ranker of {hidden}"):
        return Reranker(features, hidden, dropout).to(runtime.device)
