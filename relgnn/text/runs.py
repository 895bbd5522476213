"""Runs of text alone, by the kind of their configuration."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from relgnn.config import (
    AnyTextConfig,
    DocumentConfig,
    FewShotConfig,
    GenerativeConfig,
    JointConfig,
    PretrainingRunConfig,
    RelationConfig,
    load_run_config,
)
from relgnn.runtime import Runtime
from relgnn.text import fewshot, generative
from relgnn.text.document_run import evaluate_documents, run_documents
from relgnn.text.joint_run import evaluate_joint, run_joint
from relgnn.text.pretraining_run import run_pretraining
from relgnn.text.reader import load_data
from relgnn.text.relation_run import evaluate_run, run_relations
from relgnn.training.run_folder import begin, finish, require_new


def run_text(config: AnyTextConfig, folder: Path, resume: bool = False) -> dict[str, Any]:
    """Do what a configuration says and leave a run folder.

    Args:
        config: of any kind but link prediction.
        folder: made here; must not hold a run yet, unless `resume`.
        resume: go on with the interrupted run in `folder`, to the same numbers.

    Returns:
        The content of metrics.json.

    Raises:
        InputError: the folder holds a run already, or the data are not as they should be.
    """
    if isinstance(config, JointConfig):
        return run_joint(config, folder, resume)
    if isinstance(config, DocumentConfig):
        return run_documents(config, folder, resume)
    if isinstance(config, PretrainingRunConfig):
        return run_pretraining(config, folder, resume)
    if isinstance(config, RelationConfig):
        return run_relations(config, folder, resume)
    return _measure(config, folder, resume)


def _measure(
    config: FewShotConfig | GenerativeConfig, folder: Path, resume: bool
) -> dict[str, Any]:
    """A run that tells test alone: few-shot tasks, or what a causal language model states."""
    started = time.perf_counter()
    require_new(folder, resume)
    runtime = Runtime.from_config(config.runtime)
    data = load_data(config)
    begin(folder, config, data)
    if isinstance(config, GenerativeConfig):
        test = generative.measure(config, data, runtime, folder, resume)
    else:
        test = fewshot.measure(config, data, runtime)
    metrics = {"test": test, "rows": {"final": test}}
    finish(folder, metrics, started)
    return metrics


def evaluate_text(folder: Path, split: str) -> dict[str, float]:
    """A run's scores on the valid or test part again, from its checkpoint.

    Raises:
        InputError: it is no finished run, nothing was trained in it, or a file does not fit.
    """
    config = load_run_config(folder / "config.yaml")
    if isinstance(config, JointConfig):
        return evaluate_joint(folder, split)
    if isinstance(config, DocumentConfig):
        return evaluate_documents(folder, split)
    return evaluate_run(folder, split)
