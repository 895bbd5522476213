"""Runs of text alone, by the kind of their configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from relgnn.config import (
    AnyTextConfig,
    DocumentConfig,
    GenerativeConfig,
    JointConfig,
    PretrainingRunConfig,
    RelationConfig,
    load_run_config,
)
from relgnn.text.document_run import evaluate_documents, run_documents
from relgnn.text.fewshot_run import run_few_shot
from relgnn.text.generative import run_generative
from relgnn.text.joint_run import evaluate_joint, run_joint
from relgnn.text.pretraining_run import run_pretraining
from relgnn.text.relation_run import evaluate_run, run_relations


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
    if isinstance(config, GenerativeConfig):
        return run_generative(config, folder, resume)
    return run_few_shot(config, folder, resume)


def evaluate_text(folder: Path, split: str) -> dict[str, float]:
    """A run's scores on the valid or test part again, from its checkpoint.

    Raises:
        InputError: it is no finished run, nothing was trained in it, or a file does not fit.
    """
    config = load_run_config(folder / "config.yaml")
    if isinstance(config, JointConfig):
        return evaluate_joint(config, folder, split)
    if isinstance(config, DocumentConfig):
        return evaluate_documents(config, folder, split)
    return evaluate_run(folder, split)
