"""A run that adds up finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from relgnn.config import EnsembleConfig
from relgnn.data import KnowledgeGraph
from relgnn.data.registry import load_graph
from relgnn.errors import InputError
from relgnn.linkpred.ensemble import Mix, fit_mix
from relgnn.linkpred.evaluate import report_scores
from relgnn.loop.scored import Scored, open_member
from relgnn.runtime import Runtime
from relgnn.training import load_tensors, save_tensors
from relgnn.training.run_folder import carry_out

CHECKPOINT = "checkpoint.safetensors"


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


def open_ensemble(folder: Path, config: EnsembleConfig) -> Scored:
    """A finished ensemble, whose members are still there.

    Raises:
        InputError: it is not finished, or a member is gone.
    """
    if not (folder / "metrics.json").is_file():
        raise InputError(
            f"{folder}: the run is not finished; go on with `relgnn run --resume {folder}`"
        )
    members = [open_member(folder, name, config) for name in config.ensemble.of]
    tensors = load_tensors(folder / CHECKPOINT)[0]
    scores = Mix(tensors["weight"], tensors["scale"]).scores([one.dense for one in members])
    texts = next((one.texts for one in members if one.texts is not None), None)
    parts = {n: one.dense for n, one in zip(config.ensemble.of, members, strict=True)}
    return Scored(members[0].graph, scores, scores, config.sha256(), texts, parts)
