"""The pair model: a fast judge of every candidate pair over frozen encodings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from relgnn.dropout import Dropout
from relgnn.runtime import drawn_from, model_device
from relgnn.text.evidence import PairFeatures
from relgnn.training import (
    Trainer,
    TrainSettings,
    load_json,
    load_module,
    module_tensors,
    save_json,
    save_tensors,
)
from relgnn.training.task import Task

SCORE_BATCH = 8192


@dataclass(frozen=True)
class PairSettings:
    """How the pair model is trained.

    Args:
        epochs, batch_size, lr, weight_decay: of AdamW.
        width: hidden units.
        dropout: of inputs and hidden units.
        unlabelled_weight: weight of "not given" as a negative label: many are true.
        negatives: unlabelled pairs drawn in an epoch for each labelled one.
    """

    epochs: int = 8
    batch_size: int = 1024
    lr: float = 2e-3
    weight_decay: float = 0.05
    width: int = 192
    dropout: float = 0.3
    unlabelled_weight: float = 0.3
    negatives: int = 5


class PairModel(nn.Module):
    """P(relation stated by the pair's sentences), 2R logits: head → tail, then tail → head.

    A two-layer perceptron over projections of the sentence, both mentions and both nodes, and
    the products (head node ∘ tail node) and (tail mention ∘ tail name), which say whether the two
    fit and whether the mention is the entity.

    Args:
        dim: d, width of the encodings.
        counts: width of `PairFeatures.shape`.
        outputs: 2R.
        settings: its width and dropout.
    """

    def __init__(self, dim: int, counts: int, outputs: int, settings: PairSettings) -> None:
        super().__init__()
        self.dim, self.counts, self.outputs, self.settings = dim, counts, outputs, settings
        width = settings.width
        self.inputs = nn.ModuleList(nn.Linear(dim, width) for _ in range(6))
        self.shape = nn.Linear(counts, width)
        self.products = nn.Linear(2 * width, width)
        self.input_dropout = Dropout(settings.dropout * 2 / 3)
        self.hidden = nn.Sequential(
            Dropout(settings.dropout), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
            Dropout(settings.dropout), nn.Linear(width, outputs),
        )  # fmt: skip
        # Relations are rare among candidate pairs: start from "no".
        nn.init.constant_(self.hidden[-1].bias, -6.0)  # type: ignore[arg-type]

    def forward(self, features: PairFeatures, rows: Tensor) -> Tensor:
        """Logits [B, 2R] of the pairs `rows` [B]."""
        head, tail = features.head[rows], features.tail[rows]
        vectors = (
            features.sentence[rows], features.head_mention[rows], features.tail_mention[rows],
            features.node[head], features.node[tail], features.name[tail],
        )  # fmt: skip
        scale = vectors[0].shape[1] ** 0.5 / 2
        z = [f(self.input_dropout(v) * scale) for f, v in zip(self.inputs, vectors, strict=True)]
        products = torch.cat([z[3] * z[4], z[2] * z[5]], dim=1)
        hidden = sum(z, self.shape(features.shape[rows])) + self.products(products)
        logits: Tensor = self.hidden(hidden)
        return logits


@dataclass(frozen=True)
class PairLabels:
    """Known relations of pairs, in columns; everything else is unlabelled.

    Args:
        pair: int64 [L], row of the pair.
        output: int64 [L], r, or r + R for tail → head.
        weight: float [L], 1 for given, the posterior for an accepted pseudo-label.
    """

    pair: np.ndarray
    output: np.ndarray
    weight: np.ndarray

    @classmethod
    def match(
        cls,
        features: PairFeatures,
        triples: np.ndarray,
        weight: np.ndarray,
        num_relations: int,
    ) -> PairLabels:
        """Distant supervision: a triple labels every pair of its two entities, either way round.

        Args:
            features: the pairs.
            triples: int64 [T, 3].
            weight: float [T].
            num_relations: R.
        """
        head, relation, tail = triples.T
        row = np.stack([features.rows_of(head, tail), features.rows_of(tail, head)], axis=1)
        output = np.stack([relation, relation + num_relations], axis=1)
        there = row >= 0
        twice = np.stack([weight, weight], axis=1).astype(float)
        return cls(row[there], output[there], twice[there])

    def subset(self, mask: np.ndarray) -> PairLabels:
        """Only the labels that `mask` [P] keeps."""
        kept = mask[self.pair] if len(self.pair) else np.zeros(0, dtype=bool)
        return PairLabels(self.pair[kept], self.output[kept], self.weight[kept])


class PairTask(Task[Tensor]):
    """Distant supervision with unlabelled pairs as weak negatives.

    Loss: weighted binary cross-entropy over 2R outputs; a known relation weighs its label's
    weight, an unknown one `unlabelled_weight`. Unlabelled pairs are drawn anew in every epoch.

    Args:
        pool: int64, pairs that may be trained on.
    """

    name = "pair model"

    def __init__(
        self,
        model: PairModel,
        features: PairFeatures,
        labels: PairLabels,
        pool: np.ndarray,
        outputs: int,
        settings: PairSettings,
    ) -> None:
        self._model, self.features, self.settings = model, features, settings
        self.outputs = outputs
        labelled, inverse = np.unique(labels.pair, return_inverse=True)
        self.labelled = torch.from_numpy(labelled)
        self.unlabelled = torch.from_numpy(np.setdiff1d(pool, labelled))
        self.weights = torch.zeros(len(labelled), outputs)
        self.weights[inverse, labels.output] = torch.from_numpy(labels.weight).float()
        self.drawn = min(len(self.unlabelled), settings.negatives * max(len(labelled), 100))

    @property
    def model(self) -> nn.Module:
        return self._model

    def num_batches(self, epoch: int) -> int:
        return -(-(len(self.labelled) + self.drawn) // self.settings.batch_size)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterable[Tensor]:
        some = torch.randperm(len(self.unlabelled), generator=generator)[: self.drawn]
        items = torch.cat([torch.arange(len(self.labelled)), -1 - some])
        return iter(items[torch.randperm(len(items), generator=generator)].split(
            self.settings.batch_size
        ))  # fmt: skip

    def items(self, batch: Tensor) -> int:
        return len(batch)

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        is_labelled = batch >= 0
        rows = torch.empty_like(batch)
        rows[is_labelled] = self.labelled[batch[is_labelled]]
        rows[~is_labelled] = self.unlabelled[-1 - batch[~is_labelled]]
        weight = torch.zeros(len(batch), self.outputs)
        weight[is_labelled] = self.weights[batch[is_labelled]]
        device = model_device(self._model)
        logits, weight = self._model(self.features, rows.to(device)), weight.to(device)
        return distant_loss(logits, weight, self.settings.unlabelled_weight)


def distant_loss(logits: Tensor, weight: Tensor, unlabelled_weight: float) -> Tensor:
    """Weighted binary cross-entropy, summed over outputs and averaged over the batch.

    Args:
        logits: [B, 2R].
        weight: [B, 2R], of each known relation; 0 where none is known, which counts as a
            negative of weight `unlabelled_weight`.
    """
    target = (weight > 0).float()
    weight = torch.where(weight > 0, weight, unlabelled_weight)
    each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (each * weight).sum(1).mean()


def score_pairs(model: PairModel, features: PairFeatures, rows: np.ndarray) -> np.ndarray:
    """Logits [len(rows), 2R] of the given pairs, float32."""
    model.eval()
    device = model_device(model)
    with torch.inference_mode():
        parts = [
            model(features, part.to(device)).float().cpu()
            for part in torch.from_numpy(rows).split(SCORE_BATCH)
        ]
    return torch.cat(parts).numpy() if parts else np.zeros((0, model.outputs), dtype=np.float32)


def fit_pairs(
    features: PairFeatures,
    labels: PairLabels,
    pool: np.ndarray,
    num_relations: int,
    settings: PairSettings,
    seed: int,
) -> PairModel:
    """Train a pair model.

    Args:
        features: the pairs.
        labels: what is known of pairs in `pool`.
        pool: int64, pairs that may be trained on.
        num_relations: R.
        settings: training.
        seed: of initialisation and order.
    """
    outputs = 2 * num_relations
    with drawn_from("pair model", seed):
        model = PairModel(features.sentence.width, features.shape.shape[1], outputs, settings)
    trainer = Trainer(
        TrainSettings(epochs=settings.epochs, lr=settings.lr, weight_decay=settings.weight_decay),
        seed=seed,
    )
    trainer.fit(PairTask(model, features, labels, pool, outputs, settings))
    return model


def cross_fit_pairs(
    features: PairFeatures,
    labels: PairLabels,
    folds: np.ndarray,
    num_relations: int,
    settings: PairSettings,
    seed: int,
    judges: np.ndarray | None = None,
) -> np.ndarray:
    """Logits [P, 2R] of every pair by a model that saw no label of the pair's fold.

    Args:
        features: the pairs.
        labels: what is known; a fold's own labels never reach the model that judges it.
        folds: int64 [P].
        num_relations: R.
        settings: training.
        seed: of initialisation and order; the same in every fold.
        judges: int64 [P], the fold that the model which judges a pair has not seen; the pair's own
            where None.
    """
    judges = folds if judges is None else judges
    logits = np.zeros((len(features), 2 * num_relations), dtype=np.float32)
    for fold in np.unique(judges):
        seen, judged = folds != fold, judges == fold
        model = fit_pairs(
            features, labels.subset(seen), np.flatnonzero(seen), num_relations, settings, seed
        )
        logits[judged] = score_pairs(model, features, np.flatnonzero(judged))
    return logits


def save_pairs(folder: Path, model: PairModel) -> None:
    """Write `pairs.safetensors` and `pairs.json`.

    Raises:
        MachineError: a file cannot be written.
    """
    save_tensors(folder / "pairs.safetensors", module_tensors(model))
    sizes = {"dim": model.dim, "counts": model.counts, "outputs": model.outputs}
    save_json(folder / "pairs.json", {**sizes, "settings": asdict(model.settings)})


def load_pairs(folder: Path) -> PairModel:
    """Read what `save_pairs` wrote.

    Raises:
        InputError: a file is absent or damaged.
    """
    sizes = load_json(folder / "pairs.json")
    settings = PairSettings(**sizes["settings"])
    model = PairModel(sizes["dim"], sizes["counts"], sizes["outputs"], settings)
    load_module(model, folder / "pairs.safetensors")
    return model.eval()
