"""A run of the bi-encoder, from a configuration to a run folder, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from relgnn.config import BiEncoderConfig, CrossEncoderConfig
from relgnn.config.biencoder import EncoderTuning
from relgnn.data import KnowledgeGraph
from relgnn.data.registry import load_graph
from relgnn.errors import InputError
from relgnn.linkpred.biencoder import BiEncoder, BiEncoderScorer, Neighbourhood, new_biencoder
from relgnn.linkpred.biencoder_task import BiEncoderTask
from relgnn.linkpred.evaluate import DenseScores, report_scores
from relgnn.runtime import Runtime
from relgnn.text.efficient import parameter_counts
from relgnn.training import (
    CHECKPOINT,
    Keeping,
    TrainSettings,
    load_module,
    module_tensors,
    save_tensors,
)
from relgnn.training.run_folder import carry_out, finished_config, require_same_data
from relgnn.training.task import Task


def run_biencoder(
    config: BiEncoderConfig,
    folder: Path,
    resume: bool = False,
    teacher: DenseScores | None = None,
) -> dict[str, Any]:
    """Tune both encoders, select on valid, read test once, and leave a run folder.

    Args:
        config: what to do.
        folder: made here; must not hold a run yet, unless `resume`.
        resume: go on with an interrupted run, to the same numbers.
        teacher: of `biencoder.distil`; None where there is none.

    Returns:
        The content of metrics.json.

    Raises:
        InputError: the folder holds a run already, or data or model are not as they should be.
    """

    def work(graph: KnowledgeGraph, runtime: Runtime) -> dict[str, Any]:
        model = new_biencoder(config, runtime, graph)
        task = BiEncoderTask(model, graph, config.biencoder, runtime, teacher)
        metrics: dict[str, Any] = {
            "parameters": parameter_counts(model),
            "epoch": fit_encoder(
                config.biencoder, task, len(graph.valid) > 0, runtime,
                Keeping.of_run(folder, resume),
            ),
        }  # fmt: skip
        save_tensors(folder / CHECKPOINT, module_tensors(model))
        return metrics | report_scores(task.scorer(), graph, folder)

    return carry_out(config, folder, resume, load_trainable, work)


def load_trainable(config: BiEncoderConfig | CrossEncoderConfig) -> KnowledgeGraph:
    """The graph of a configuration.

    Raises:
        InputError: it is nowhere or broken, or has no training triple.
    """
    graph = load_graph(config.data)
    if not len(graph.train):
        raise InputError(f"{graph.name}: has no train triples to learn from; add train.tsv")
    return graph


def open_biencoder(folder: Path) -> tuple[KnowledgeGraph, BiEncoderScorer]:
    """The graph and the scores of a finished run.

    Raises:
        InputError: it is no finished run of a bi-encoder, or its data are gone or have changed.
    """
    config = finished_config(folder, BiEncoderConfig, "run of a bi-encoder")
    graph = load_trainable(config)
    require_same_data(folder, graph)
    runtime = Runtime.from_config(config.runtime)
    model: BiEncoder = new_biencoder(config, runtime, graph)
    load_module(model, folder / CHECKPOINT)
    settings = config.biencoder
    near = Neighbourhood(graph, settings.hops) if settings.neighbourhood else None
    return graph, BiEncoderScorer(model.eval(), runtime, near, settings.neighbourhood)


def fit_encoder(
    settings: EncoderTuning, task: Task[Any], selects: bool, runtime: Runtime, keeping: Keeping
) -> int:
    """Train in place; the epoch that valid chose, the last one where nothing `selects`."""
    told = TrainSettings.of(settings, "mrr" if selects else None)
    result = keeping.train(task, told, runtime)
    return result.best_epoch if selects else len(result.history)
