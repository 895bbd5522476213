"""A run of few-shot tasks, with an encoder as it is or after metric learning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from relgnn.config import FewShotConfig
from relgnn.data.relations import Example, RelationData
from relgnn.runtime import Runtime, cache_home
from relgnn.text.encoder import MODEL, TextEncoder, save_model
from relgnn.text.fewshot import TaskVectors, accuracies, describe, episodes, represent
from relgnn.text.metric import learn
from relgnn.text.reader import load_data
from relgnn.training.run_folder import carry_out


def run_few_shot(config: FewShotConfig, folder: Path, resume: bool = False) -> dict[str, Any]:
    """Measure what an encoder tells apart, and leave a run folder.

    Arguments, result and errors are those of `run_text`.
    """

    def work(data: RelationData, runtime: Runtime) -> dict[str, Any]:
        return measure(config, data, runtime, folder, resume)

    return carry_out(config, folder, resume, load_data, work)


def measure(
    config: FewShotConfig, data: RelationData, runtime: Runtime, folder: Path, resume: bool
) -> dict[str, Any]:
    """What an encoder tells apart on valid and test examples; nothing is trained on them.

    Returns:
        `rows`: accuracy, the mean over tasks, and its `standard_error`, of each row that the
        configuration asks for; `test`, the only one; `metric`: what was learned before.
    """
    asked, tasks = [*data.valid, *data.test], config.few_shot
    metrics: dict[str, Any] = {}
    if config.metric is None:
        sentences, described = _frozen(config, data, asked, runtime)
    else:
        model, metrics["metric"] = learn(config, config.metric, data, runtime, folder, resume)
        save_model(model.network, model.marker.tokenizer, folder / MODEL)
        with runtime.autocast():
            sentences = model.task_vectors(model.marker.rows(asked))
            described = model.task_vectors(model.descriptions(data)).whole
    labels = np.array([one.relation for one in asked])
    metrics["rows"] = {}
    for row, (shots, weight) in tasks.rows.items():
        drawn = episodes(
            labels, tasks.ways, shots, tasks.queries, tasks.episodes, runtime.rng("episodes")
        )
        found = accuracies(sentences, described, drawn, weight)
        error = float(found.std() / len(found) ** 0.5)
        metrics["rows"][row] = {"accuracy": float(found.mean()), "standard_error": error}
    if "final" in metrics["rows"]:
        metrics["test"] = metrics["rows"]["final"]
    return metrics


def _frozen(
    config: FewShotConfig, data: RelationData, asked: list[Example], runtime: Runtime
) -> tuple[TaskVectors, Tensor]:
    encoder = TextEncoder(
        config.text.model, max_tokens=config.text.max_tokens, device=runtime.device,
        dtype=runtime.dtype, cache=cache_home(),
    )  # fmt: skip
    whole = encoder.encode([one.text for one in asked])
    return TaskVectors(represent(asked, encoder), whole), describe(data, encoder)
