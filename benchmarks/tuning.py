"""Steps of tuning MiniLM on 32 sentences of SemEval-2010 Task 8 each.

Ours is the trainer's whole step: rows to a batch, loss, backward pass, clipping, AdamW. The peer is
Hugging Face's classifier of the same size over the same padded batches, forward and backward alone.
Both run in the same number format; times are those of all batches.
"""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import Bench, Call, Pair
from relgnn.config import TuningConfig
from relgnn.data.registry import find
from relgnn.data.relations import RelationData, read_relations
from relgnn.errors import InputError
from relgnn.runtime import native_bf16, torch_rng
from relgnn.text.classifier import RelationClassifier
from relgnn.text.classifier_task import ClassifierTask
from relgnn.text.encoder import PACKAGED, load_model, model_path
from relgnn.text.rows import Marker, Rows
from relgnn.training import Trainer, TrainSettings
from relgnn.training.interrupt import StopRequest
from relgnn.training.progress import Bar
from relgnn.training.resume import FitState
from relgnn.training.trainer import _Fit

SIZE, BATCHES = 32, 8
SETTINGS = TuningConfig(batch_size=SIZE)


@functools.cache
def problem() -> tuple[RelationData, Marker, Rows, Tensor]:
    """The data, what marks it, and the rows and labels of `BATCHES` batches drawn at random."""
    folder = find("semeval2010")
    if folder is None:
        raise InputError("semeval2010 is in no data folder; set RELGNN_DATA to the one that has it")
    data = read_relations(folder)
    marker = Marker(load_model(PACKAGED)[1])
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))
    drawn = [data.train[i] for i in order[: SIZE * BATCHES].tolist()]
    return data, marker, marker.rows(drawn), torch.tensor([one.relation for one in drawn])


def autocast() -> AbstractContextManager[Any]:
    """bfloat16 where the processor has it."""
    if not native_bf16(torch.device("cpu")):
        return nullcontext()
    return torch.autocast("cpu", dtype=torch.bfloat16)


def classifier_task() -> ClassifierTask:
    """What the trainer trains."""
    data, marker, rows, labels = problem()
    network, _ = load_model(PACKAGED)
    marker.resize(network)
    torch.manual_seed(0)
    model = RelationClassifier(network, len(data.labels), SETTINGS)
    return ClassifierTask(model, rows, labels, None, data, SETTINGS)


def ours() -> Call:
    """An epoch of the trainer's own loop over the batches, its optimiser already set up."""
    settings = TrainSettings(
        epochs=1, lr=SETTINGS.lr, weight_decay=SETTINGS.weight_decay, clip=SETTINGS.clip
    )
    trainer, task = Trainer(settings, autocast=autocast), classifier_task()
    fit = _Fit(trainer, task, None, None, BATCHES, StopRequest(), Bar())

    def call() -> None:
        fit.state = FitState()
        fit._train_epoch()

    return call


def peer() -> Call:
    """Loss and gradients of the same batches."""
    from transformers import AutoModelForSequenceClassification

    data, marker, rows, labels = problem()
    model = AutoModelForSequenceClassification.from_pretrained(
        model_path(PACKAGED), num_labels=len(data.labels), use_safetensors=True
    )
    marker.resize(model)
    model.train()
    batches = [
        (batch.ids, batch.mask.long(), labels[part])
        for part in classifier_task().batches(0, torch_rng("training/order/0", 0))
        for batch in [rows.batch(part)]
    ]

    def call() -> None:
        for ids, mask, truth in batches:
            model.zero_grad(set_to_none=True)
            with autocast():
                loss = model(input_ids=ids, attention_mask=mask, labels=truth).loss
            loss.backward()

    return call


PEER = "forward and backward of transformers"
BENCH = Bench(
    module=__name__,
    sides={"ours, the whole step": ours, PEER: peer},
    pairs=[Pair("step_extractor", "ours, the whole step", PEER)],
    versions={PEER: f"transformers {version('transformers')}"},
    notes=[f"{BATCHES} steps of {SIZE} sentences; a ratio of .952 is 5 % above the peer"],
    repeats=15,
)
