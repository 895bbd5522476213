"""Upper layers trained over cached lower layers, beside all layers tuned, on SemEval-2010 Task 8.

    python -m benchmarks.extractor [--sentences N] [--epochs N] [--seeds N] [--threads N]
        [--record]

Both have the same classifier, batches and epochs; a tenth of the training file is held out and
judges them. Medians of seconds over seeds; reading is what the frozen layers cost, once.
`--record` adds a line a seed to experiments/results/ablation_cached_layers.jsonl.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from experiments.command import make_parser, tells_errors, told_options
from experiments.commit import at_end, provenance
from experiments.reproduce import spread
from experiments.results import append, measured_line
from relgnn.config import RuntimeConfig
from relgnn.data.registry import find
from relgnn.data.relations import Example, read_relations
from relgnn.errors import InputError
from relgnn.ranking.classification import macro_f1
from relgnn.ranking.statistics import mean_std
from relgnn.runtime import Runtime, peak_memory_mb
from relgnn.text.encoder import load_model
from relgnn.text.extractor import RelationExtractor
from relgnn.text.layers import LowerStates, SplitEncoder, StateBatch, TopLayers
from relgnn.text.marking import Occurrence, TextTokens, mark
from relgnn.training import Task, Trainer, TrainSettings

TABLE = "ablation_cached_layers"
MAX_TOKENS = 64
SETTINGS = ("sentences", "epochs", "batch", "threads")
"""Options that a seed's figures depend on."""
# Trained layers, and of three or four learning rates the one that did best for them here.
RATES = {1: 2e-3, 2: 5e-4, 6: 2e-4}


@dataclass(frozen=True)
class Sentences:
    """Marked sentences, the relation of each [N], how many there are, and those that F1 counts."""

    rows: list[Occurrence]
    relation: Tensor
    labels: int
    positive: list[int]


def semeval(count: int) -> Sentences:
    """The first sentences of the training file.

    Raises:
        InputError: the data set is nowhere.
    """
    folder = find("semeval2010")
    if folder is None:
        raise InputError("semeval2010 is in no data folder; set RELGNN_DATA to the one that has it")
    data = read_relations(folder)
    some = data.train[:count]
    relation = torch.tensor([one.relation for one in some])
    return Sentences([occurrence(one) for one in some], relation, len(data.labels), data.positive)


def occurrence(one: Example) -> Occurrence:
    """A marked sentence as the extractor's other code knows it."""
    head, tail = (one.text[start:end] for start, end in (one.head, one.tail))
    return Occurrence(one.text, head, tail, one.head, one.tail)


def token_ids(tokenizer: Any, rows: list[Occurrence]) -> LowerStates:
    """Rows below the lowest layer: what is stored of a token is its number."""
    texts = list(dict.fromkeys(x for row in rows for x in (row.text, row.head_name, row.tail_name)))
    tokens = tokenizer(texts, return_offsets_mapping=True)
    starts = accumulate(map(len, tokens["input_ids"]), initial=0)
    known = {
        text: TextTokens(start, np.array(where))
        for text, start, where in zip(texts, starts, tokens["offset_mapping"], strict=False)
    }
    marked = mark(rows, known, MAX_TOKENS)
    ids = torch.from_numpy(np.concatenate(tokens["input_ids"]))[:, None]
    columns = (marked.place, marked.owner, marked.offsets)
    return LowerStates(ids, *map(torch.from_numpy, columns))


class Whole(nn.Module):
    """The extractor with nothing frozen below it, over `token_ids`."""

    def __init__(self, network: Any, extractor: RelationExtractor) -> None:
        super().__init__()
        self.embeddings = network.embeddings
        self.extractor = extractor

    def forward(self, batch: StateBatch) -> Tensor:
        """Logits [B, classes]."""
        states = self.embeddings(input_ids=batch.states[:, :, 0].long())
        logits: Tensor = self.extractor(replace(batch, states=states))
        return logits


class Classification(Task[Tensor]):
    """One relation a sentence, cross-entropy; batches of like length."""

    def __init__(
        self, model: nn.Module, states: LowerStates, relation: Tensor, rows: Tensor, batch: int
    ) -> None:
        self._model, self.states, self.relation = model, states, relation
        self.rows, self.batch = rows, batch

    @property
    def model(self) -> nn.Module:
        return self._model

    def num_batches(self, epoch: int) -> int:
        return -(-len(self.rows) // self.batch)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterable[Tensor]:
        rows = self.rows[torch.randperm(len(self.rows), generator=generator)]
        parts = rows[torch.argsort(self.states.lengths[rows], stable=True)].split(self.batch)
        return [parts[i] for i in torch.randperm(len(parts), generator=generator).tolist()]

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        logits = self._model(self.states.batch(batch))
        return nn.functional.cross_entropy(logits, self.relation[batch])


def prepare(layers: int, data: Sentences, runtime: Runtime) -> tuple[nn.Module, LowerStates]:
    """The model whose `layers` upper layers are trained, and what it reads."""
    network, tokenizer = load_model("minilm")
    torch.manual_seed(runtime.seed)
    if layers == len(network.encoder.layer):
        extractor = RelationExtractor(TopLayers(network, layers), data.labels, dropout=0.1)
        return Whole(network, extractor), token_ids(tokenizer, data.rows)
    encoder = SplitEncoder(layers=layers, max_tokens=MAX_TOKENS, dtype=runtime.dtype)
    extractor = RelationExtractor(encoder.top, data.labels, dropout=0.1)
    return extractor, encoder.read(data.rows)


def run(
    layers: int, data: Sentences, epochs: int, batch: int, runtime: Runtime
) -> dict[str, float]:
    """Train and judge one of them."""
    held = torch.arange(len(data.rows)) % 10 == 9
    start = time.perf_counter()
    model, states = prepare(layers, data, runtime)
    reading = time.perf_counter() - start
    settings = TrainSettings(
        epochs=epochs, lr=RATES[layers], weight_decay=0.01, schedule="linear", warmup=0.1, clip=1.0
    )
    task = Classification(model, states, data.relation, torch.nonzero(~held)[:, 0], batch)
    trainer = Trainer(settings, autocast=runtime.autocast, seed=runtime.seed)
    training = trainer.fit(task).seconds
    model.eval()
    with torch.inference_mode(), runtime.autocast():
        parts = torch.nonzero(held)[:, 0].split(batch)
        predicted = torch.cat([model(states.batch(part)).argmax(1) for part in parts])
    return {
        "reading_s": reading,
        "training_s": training,
        "sentences_s": epochs * len(task.rows) / training,
        "macro_f1": macro_f1(data.relation[held].numpy(), predicted.numpy(), data.positive),
    }


def record(
    layers: int,
    found: list[dict[str, float]],
    given: argparse.Namespace,
    began: Mapping[str, Any],
    command: str,
) -> None:
    """Append a line a seed to the results.

    Args:
        layers: that were trained.
        found: what each seed gave.
        given: the command line.
        began: `provenance` before anything was run.
        command: that measures it again.
    """
    code = at_end(began)
    settings = {name: getattr(given, name) for name in SETTINGS}
    lines = [
        measured_line(
            TABLE,
            f"{layers} of {max(RATES)} layers tuned",
            metrics,
            [layers, RATES, settings],
            command,
            code,
            metrics["reading_s"] + metrics["training_s"],
            round(peak_memory_mb()),
            seed=seed,
        )
        for seed, metrics in enumerate(found)
    ]
    append(TABLE, lines)


@tells_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = make_parser("benchmarks.extractor", __doc__)
    parser.add_argument("--sentences", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--record", action="store_true", help="append to the results")
    given = parser.parse_args(arguments)
    began = provenance()
    runtime = Runtime.from_config(RuntimeConfig(threads=given.threads))
    data = semeval(given.sentences)
    print("trained layers  reading s  training s  sentences/s      macro-F1")
    for layers in RATES:
        found = [
            run(layers, data, given.epochs, given.batch, replace(runtime, seed=seed))
            for seed in range(given.seeds)
        ]
        reading, training, rate = (
            np.median([row[name] for row in found])
            for name in ("reading_s", "training_s", "sentences_s")
        )
        scores = [row["macro_f1"] for row in found]
        print(
            f"{layers:14d}  {reading:9.1f}  {training:10.1f}  {rate:11.0f}"
            f"  {spread(*mean_std(scores))}",
            flush=True,
        )
        if given.record:
            told = told_options(parser, given, *SETTINGS, "seeds")
            record(layers, found, given, began, f"python -m benchmarks.extractor{told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
