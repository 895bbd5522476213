"""A run that adds up finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from relgnn.config import EnsembleConfig
from relgnn.data import KnowledgeGraph
from relgnn.data.registry import load_graph
from relgnn.linkpred.ensemble import fit_mix
from relgnn.linkpred.evaluate import report_scores
from relgnn.loop.scored import open_member
from relgnn.runtime import Runtime
from relgnn.training import CHECKPOINT, save_tensors
from relgnn.training.run_folder import carry_out


def run_ensemble(config: EnsembleConfig, folder: Path, resume: bool = False) -> dict[str, Any]:
    """Weigh finished runs by valid, read test once, and leave a run folder.

    The folder holds the weights; the members stay where they are.

    Args:
        config: what to do; `ensemble.of` names rows beside `folder`, or folders.
        folder: made here; must not hold a run yet, unless `resume`, which begins anew.
        resume: see there.

    Returns:
        The content of metrics.json.

    Raises:
        InputError: the folder holds a run already, a member is not finished or is of other data,
            or there is no valid triple.
    """

    def work(graph: KnowledgeGraph, runtime: Runtime) -> dict[str, Any]:
        names = config.ensemble.of
        members = [open_member(folder, name, config) for name in names]
        scores = [one.dense for one in members]
        mix = fit_mix(scores, graph, config.ensemble, runtime.device)
        save_tensors(folder / CHECKPOINT, {"weight": mix.weight, "scale": mix.scale})
        mean = mix.weight.mean(1).tolist()
        return {
            "weights": dict(zip(names, mean, strict=True)),
            "members": {n: one.sha256 for n, one in zip(names, members, strict=True)},
        } | report_scores(mix.scores(scores), graph, folder)

    return carry_out(config, folder, resume, lambda c: load_graph(c.data), work)
