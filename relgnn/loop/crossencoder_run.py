"""A run that reads the best candidates of another run, each together with its query."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from relgnn.config import CrossEncoderConfig
from relgnn.data import KnowledgeGraph
from relgnn.linkpred.biencoder_run import fit_encoder, load_trainable
from relgnn.linkpred.candidates import BestCandidates, promoted
from relgnn.linkpred.crossencoder import CrossEncoderTask, CrossOrder, new_crossencoder
from relgnn.linkpred.evaluate import report_scores
from relgnn.loop.scored import open_member
from relgnn.runtime import Runtime
from relgnn.text.efficient import parameter_counts
from relgnn.training import CHECKPOINT, Keeping, module_tensors, save_tensors
from relgnn.training.run_folder import carry_out


def run_crossencoder(
    config: CrossEncoderConfig, folder: Path, resume: bool = False
) -> dict[str, Any]:
    """Tune it on given triples, select on valid, read test once, and leave a run folder.

    Args:
        config: what to do; `crossencoder.of` names a row beside `folder`, or a folder.
        folder: made here; must not hold a run yet, unless `resume`.
        resume: go on with an interrupted run, to the same numbers.

    Returns:
        The content of metrics.json: of the other run's candidates in the order of their texts
        alone. `of` is the hash of that run's configuration.

    Raises:
        InputError: the folder holds a run already, the run that this one builds on is not there,
            or data or model are not as they should be.
    """

    def work(graph: KnowledgeGraph, runtime: Runtime) -> dict[str, Any]:
        settings = config.crossencoder
        base = open_member(folder, settings.of, config)
        best = BestCandidates(graph, base.dense, settings.top)
        model = new_crossencoder(config, runtime, graph)
        task = CrossEncoderTask(model, graph, best, settings, runtime)
        selects = task.selecting is not None
        keeping = Keeping.of_run(folder, resume)
        metrics: dict[str, Any] = {
            "parameters": parameter_counts(model),
            "of": base.sha256,
            "epoch": fit_encoder(settings, task, selects, runtime, keeping),
        }
        save_tensors(folder / CHECKPOINT, module_tensors(model))
        order = CrossOrder(model.eval(), runtime)
        return metrics | report_scores(promoted(best, order), graph, folder)

    return carry_out(config, folder, resume, load_trainable, work)
