"""A language model tuned on labelled documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from relgnn.config.document import DocumentConfig, DocumentTuning
from relgnn.data.documents import Document, DocumentData
from relgnn.errors import InputError
from relgnn.ranking.documents import document_scores, facts_of
from relgnn.runtime import Runtime, model_device
from relgnn.text.document_model import (
    DocumentModel,
    TokenisedDocument,
    batch_of,
    tokenise_document,
)
from relgnn.text.encoder import load_model, require_positions
from relgnn.text.fitting import fit, two_rates
from relgnn.text.losses import above_threshold
from relgnn.text.rows import LikeLengthTask
from relgnn.training import CHECKPOINT, load_module, module_tensors, save_tensors

METRIC = "micro_f1"


class DocumentTask(LikeLengthTask):
    """The adaptive-threshold loss over all pairs of entities of labelled documents.

    Args:
        model: what is trained.
        documents: the training part.
        valid: documents that select; none where empty.
        padding: the id that fills up.
        settings: rates and steps.
        autocast: makes the context in which valid is read.
    """

    name = "document relations"
    rate_keys = ("document.tuning.lr", "document.tuning.clip")

    def __init__(
        self,
        model: DocumentModel,
        documents: Sequence[TokenisedDocument],
        valid: Sequence[TokenisedDocument],
        padding: int,
        settings: DocumentTuning,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self._model, self.documents, self.valid = model, documents, valid
        self.padding, self.settings, self.autocast = padding, settings, autocast
        self.lengths = torch.tensor([len(one.ids) for one in documents])
        self.batch_size = settings.batch_size

    @property
    def model(self) -> nn.Module:
        return self._model

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        device = model_device(self._model)
        rows = batch_of([self.documents[i] for i in batch.tolist()], self.padding, device)
        each = above_threshold(self._model(rows), rows.truth.float())
        # documents that name a single entity have no pair, and no mean
        return each.mean() if len(each) else each.sum()

    def evaluate(self) -> dict[str, float]:
        if not self.valid:
            return {}
        return judged(self._model, self.valid, self.padding, self.autocast)

    def tensors(self, batch: Tensor) -> dict[str, Tensor]:
        """Which documents they are, and their token ids."""
        rows = batch_of([self.documents[i] for i in batch.tolist()], self.padding, "cpu")
        return {"document": batch, "ids": rows.ids}

    def parameter_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        return two_rates(self._model, lr, self.settings.head_lr, weight_decay)


def judged(
    model: DocumentModel,
    documents: Sequence[TokenisedDocument],
    padding: int,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> dict[str, float]:
    """Scores of documents, computed inside `autocast`."""
    model.eval()
    device = model_device(model)
    with torch.inference_mode(), autocast():
        logits = [
            model(batch_of([one], padding, device)).cpu() for one in documents if one.entities > 1
        ]
    truth = torch.cat([one.truth for one in documents])
    scores = torch.cat([torch.zeros(0, truth.shape[1]), *logits])
    # above 0, not at it
    return document_scores(scores, truth, torch.finfo(torch.float32).tiny)


def tune(
    config: DocumentConfig, data: DocumentData, runtime: Runtime, folder: Path, resume: bool
) -> dict[str, Any]:
    """Select on valid, refit where asked, and read test; writes the model.

    Where the data set has no train, a share of valid is trained on, and the rest selects.
    """
    settings = config.document.tuning
    train, valid = _parts(data, settings, runtime)
    metrics: dict[str, Any] = {}
    model, tokenizer = _make_model(config, data, runtime)
    padding = int(tokenizer.pad_token_id or 0)

    def read(documents: Sequence[Document]) -> list[TokenisedDocument]:
        return _tokenised(config, data, tokenizer, documents)

    task = DocumentTask(model, read(train), read(valid), padding, settings, runtime.autocast)
    chosen = fit(task, settings, runtime, folder, resume, METRIC)
    metrics |= {"valid": task.evaluate(), "epoch": chosen.best_epoch}
    if settings.refit:
        model, _ = _make_model(config, data, runtime)
        task = DocumentTask(model, read((*train, *valid)), (), padding, settings)
        fit(task, settings, runtime, folder, resume, None, chosen.best_epoch, "refit")
    save_tensors(folder / CHECKPOINT, module_tensors(model))
    return metrics | {"test": judged(model, read(data.test), padding, runtime.autocast)}


def evaluate_tuned(
    config: DocumentConfig, data: DocumentData, runtime: Runtime, folder: Path, split: str
) -> dict[str, float]:
    """Scores again, from the checkpoint.

    Raises:
        InputError: the checkpoint is missing or does not fit.
    """
    model, tokenizer = _make_model(config, data, runtime)
    load_module(model, folder / CHECKPOINT)
    valid = _parts(data, config.document.tuning, runtime)[1]
    documents = _tokenised(config, data, tokenizer, data.test if split == "test" else valid)
    return judged(model, documents, int(tokenizer.pad_token_id or 0), runtime.autocast)


def _parts(
    data: DocumentData, settings: DocumentTuning, runtime: Runtime
) -> tuple[tuple[Document, ...], tuple[Document, ...]]:
    """What is trained on, and what selects."""
    if data.train:
        return data.train, data.valid
    order = runtime.rng("documents to train on").permutation(len(data.valid)).tolist()
    first = round(settings.share * len(order))
    parts = [tuple(data.valid[i] for i in sorted(some)) for some in (order[:first], order[first:])]
    if not parts[0] or not parts[1]:
        raise InputError(
            f"document.tuning.share is {settings.share:g}: of {len(order)} documents that leaves "
            f"{len(parts[0])} to train on and {len(parts[1])} to select by; each part needs some"
        )
    return parts[0], parts[1]


def _make_model(
    config: DocumentConfig, data: DocumentData, runtime: Runtime
) -> tuple[DocumentModel, Any]:
    network, tokenizer = load_model(config.text.model)
    require_positions(network, config.text.max_tokens)
    with runtime.drawn_from("document relations"):
        model = DocumentModel(network, len(data.labels), config.document.tuning)
    return model.to(runtime.device), tokenizer


def _tokenised(
    config: DocumentConfig, data: DocumentData, tokenizer: Any, documents: Sequence[Document]
) -> list[TokenisedDocument]:
    labels = len(data.labels)
    return [
        tokenise_document(one, facts_of([one], labels), tokenizer, config.text.max_tokens)
        for one in documents
    ]
