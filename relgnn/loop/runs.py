"""Every kind of run, by its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from relgnn.config import (
    AnyConfig,
    AnyOgbConfig,
    AnyScoreConfig,
    BiEncoderConfig,
    Config,
    CrossEncoderConfig,
    EnsembleConfig,
    InductiveConfig,
    RerankConfig,
    RulesConfig,
)
from relgnn.data import KnowledgeGraph
from relgnn.linkpred.biencoder_run import run_biencoder
from relgnn.linkpred.inductive_run import evaluate_inductive, run_inductive
from relgnn.linkpred.ogb_run import run_ogb
from relgnn.loop.crossencoder_run import run_crossencoder
from relgnn.loop.ensemble_run import run_ensemble
from relgnn.loop.opened import open_run
from relgnn.loop.rerank_run import run_rerank
from relgnn.loop.run import run
from relgnn.loop.scored import open_member, open_scored
from relgnn.ranking.ranks import Ranks
from relgnn.rules.run import evaluate_rules, run_rules
from relgnn.text.runs import run_text


def run_any(config: AnyConfig, folder: Path, resume: bool = False) -> dict[str, Any]:
    """Do what a configuration of any kind says.

    See `run`, `run_rules`, `run_inductive`, `run_biencoder`, `run_crossencoder`,
    `run_ensemble`, `run_rerank`, `run_ogb` and `run_text`.
    """
    if isinstance(config, Config):
        return run(config, folder, resume)
    if isinstance(config, RulesConfig):
        return run_rules(config, folder, resume)
    if isinstance(config, InductiveConfig):
        return run_inductive(config, folder, resume)
    if isinstance(config, BiEncoderConfig):
        distil = config.biencoder.distil
        teacher = open_member(folder, distil.run, config).dense if distil is not None else None
        return run_biencoder(config, folder, resume, teacher)
    if isinstance(config, CrossEncoderConfig):
        return run_crossencoder(config, folder, resume)
    if isinstance(config, EnsembleConfig):
        return run_ensemble(config, folder, resume)
    if isinstance(config, RerankConfig):
        return run_rerank(config, folder, resume)
    if isinstance(config, AnyOgbConfig):
        return run_ogb(config, folder, resume)
    return run_text(config, folder, resume)


def evaluate_any(
    config: AnyConfig | None, folder: Path, split: str, typed: bool = False
) -> tuple[KnowledgeGraph, dict[str, Ranks], dict[str, Any]]:
    """The graph that a split of a run is asked of, and ranks and metrics again, from its files.

    Args:
        config: of the run, one that ranks; None where the folder has none.
        folder: of the run.
        split: what to rank.
        typed: see `OpenRun.evaluate`; runs of other kinds rank all entities.

    Raises:
        InputError: it is no finished run, or the split is empty.
    """
    if isinstance(config, RulesConfig):
        return evaluate_rules(folder, split)
    if isinstance(config, InductiveConfig):
        return evaluate_inductive(folder, split)
    if isinstance(config, AnyScoreConfig):
        scored = open_scored(folder)
        return scored.graph, *scored.evaluate(split)
    opened = open_run(folder)
    return opened.graph, *opened.evaluate(split, typed)
