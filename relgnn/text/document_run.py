"""A run of relation extraction from documents, from a configuration to a run folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from relgnn.config.document import DocumentConfig
from relgnn.data.documents import Document, DocumentData, read_documents
from relgnn.data.registry import folder_of
from relgnn.data.relations import require_parts
from relgnn.errors import InputError
from relgnn.ranking.documents import best_cut, document_scores, facts_of
from relgnn.runtime import Runtime, cache_home
from relgnn.text.document_fit import evaluate_tuned, tune
from relgnn.text.documents import Matches, compete, match, match_types, pool, standardised
from relgnn.text.encoder import TextEncoder
from relgnn.training import save_json
from relgnn.training.run_folder import carry_out

TEMPERATURES = (0.1, 0.3, 1.0, 3.0)

Scores = Callable[[str, float], Tensor]
"""Of a part ("valid", "test") at a temperature: scores [pairs, R] of all its pairs of entities."""


def run_documents(config: DocumentConfig, folder: Path, resume: bool = False) -> dict[str, Any]:
    """Score pairs as configured, choose on valid, read test once, and leave a run folder.

    Arguments, result and errors are those of `run_text`.
    """

    def work(data: DocumentData, runtime: Runtime) -> dict[str, Any]:
        if config.document.method == "tuned":
            metrics = tune(config, data, runtime, folder, resume)
        else:
            metrics = _untrained(config, data, runtime)
            save_json(folder / "calibration.json", metrics["chosen"])
        sizes = {name: len(getattr(data, name)) for name in ("train", "valid", "test")}
        return metrics | {"documents": sizes, "rows": {"final": metrics["test"]}}

    return carry_out(config, folder, resume, load_documents, work)


def load_documents(config: DocumentConfig) -> DocumentData:
    """The configuration's data set.

    Raises:
        InputError: it is nowhere, or is broken, or lacks a part, or a share of its labels is asked
            for.
    """
    if config.data.fraction != 1:
        raise InputError(
            f"data.fraction is {config.data.fraction:g}: documents have no subsets of labels; set "
            "it to 1"
        )
    data = read_documents(folder_of(config.data), config.data.name or "")
    require_parts(data, ("valid", "test"), "documents")
    return data


def evaluate_documents(config: DocumentConfig, folder: Path, split: str) -> dict[str, float]:
    """Scores on the valid or test part again.

    Raises:
        InputError: a file is missing or does not fit.
    """
    runtime, data = Runtime.from_config(config.runtime), load_documents(config)
    if config.document.method == "tuned":
        return evaluate_tuned(config, data, runtime, folder, split)
    found: dict[str, float] = _untrained(config, data, runtime, (split,))[split]
    return found


def _untrained(
    config: DocumentConfig,
    data: DocumentData,
    runtime: Runtime,
    asked: Sequence[str] = ("valid", "test"),
) -> dict[str, Any]:
    """Scores by a method that trains nothing; labels of valid choose T and the threshold alone."""
    counted = config.document.method == "frequency"
    scores = _frequencies(data) if counted else _matched(config, data, runtime)
    temperatures = TEMPERATURES[:1] if counted else TEMPERATURES  # a count has none
    labels = len(data.labels)
    valid = facts_of(data.valid, labels)
    found = {t: best_cut(scores("valid", t), valid) for t in temperatures}
    temperature = max(found, key=lambda t: found[t][1])
    cut = found[temperature][0]
    metrics: dict[str, Any] = {
        split: document_scores(
            scores(split, temperature), facts_of(getattr(data, split), labels), cut
        )
        for split in asked
    }
    return metrics | {"chosen": {"temperature": temperature, "threshold": cut}}


def _matched(config: DocumentConfig, data: DocumentData, runtime: Runtime) -> Scores:
    """Scores of descriptions matched to the text."""
    settings = config.document
    encoder = TextEncoder(
        config.text.model, max_tokens=config.text.max_tokens, device=runtime.device,
        dtype=torch.bfloat16 if runtime.precision == "bf16" else torch.float32, cache=cache_home(),
    )  # fmt: skip
    kinds = kinds_of(data)
    types = match_types(data, kinds, encoder)

    @cache
    def matches(split: str) -> Matches:
        return match(getattr(data, split), data, kinds, encoder, settings.distance)

    def scores(split: str, temperature: float) -> Tensor:
        own = matches(split)
        each = standardised(own, matches("valid"), types, settings.types)
        return compete(pool(each, own, temperature))

    return scores


def _frequencies(data: DocumentData) -> Scores:
    """The control: a pair's score is how often its types have the relation on valid."""
    number = {kind: i for i, kind in enumerate(kinds_of(data))}

    def types(documents: Sequence[Document]) -> Tensor:
        return torch.tensor([
            number[one.entities[h].kind] * len(number) + number[one.entities[t].kind]
            for one in documents for h, t in one.pairs
        ], dtype=torch.long)  # fmt: skip

    own = types(data.valid)
    holds = torch.zeros(len(number) ** 2, len(data.labels))
    holds.index_add_(0, own, facts_of(data.valid, len(data.labels)).float())
    share = holds / torch.bincount(own, minlength=len(holds)).clamp(min=1)[:, None]
    return lambda split, _: share[types(getattr(data, split))]


def kinds_of(data: DocumentData) -> list[str]:
    """Every type of entity."""
    parts = (*data.train, *data.valid, *data.test)
    return sorted({entity.kind for one in parts for entity in one.entities})
