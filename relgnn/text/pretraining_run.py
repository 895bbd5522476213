"""Pre-training as a run of its own, and as what a run of relation extraction begins with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relgnn.config import PretrainingConfig, PretrainingRunConfig, RelationConfig
from relgnn.data.corpus import Corpus, MarkedText, read_corpus
from relgnn.runtime import Runtime
from relgnn.text.encoder import MODEL, load_model, require_positions, save_model
from relgnn.text.pretraining import pretrain
from relgnn.training import load_json, save_json
from relgnn.training.run_folder import carry_out


def run_pretraining(
    config: PretrainingRunConfig, folder: Path, resume: bool = False
) -> dict[str, Any]:
    """Pre-train as configured and leave a run folder with the language model.

    Arguments, result and errors are those of `run_text`.
    """

    def work(corpus: Corpus, runtime: Runtime) -> dict[str, Any]:
        found = adapt(config, config.pretraining, corpus.texts, runtime, folder, resume)
        return {"held_out": found, "texts": len(corpus.texts), "rows": {"final": found}}

    return carry_out(config, folder, resume, lambda c: read_corpus(c.data.name, c.data.path), work)


def adapt(
    config: RelationConfig | PretrainingRunConfig,
    settings: PretrainingConfig,
    texts: Sequence[MarkedText],
    runtime: Runtime,
    folder: Path,
    resume: bool,
) -> dict[str, float]:
    """Pre-train the configuration's language model and write it to the run folder.

    Returns:
        See `pretrain`; kept in pretraining.json, from which a resumed run takes it.
    """
    report = folder / "pretraining.json"
    if resume and report.exists():
        found: dict[str, float] = load_json(report)
        return found
    network, tokenizer = load_model(config.text.model)
    require_positions(network, config.text.max_tokens)
    found = pretrain(
        network, tokenizer, texts, settings, config.text.max_tokens, runtime, folder, resume
    )
    save_model(network, tokenizer, folder / MODEL)
    save_json(report, found)
    return found


def adapted(config: RelationConfig, folder: Path) -> RelationConfig:
    """The configuration with the run's own language model, where it was pre-trained first."""
    if config.pretraining is None:
        return config
    text = config.text.model_copy(update={"model": str(folder / MODEL)})
    return config.model_copy(update={"text": text})
