"""The relation extractor: upper layers of a language model tuned by distant supervision."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from relgnn.dropout import Dropout, set_dropout
from relgnn.errors import InputError
from relgnn.runtime import drawn_from, model_device
from relgnn.text.layers import LowerStates, SplitEncoder, StateBatch, TopLayers
from relgnn.text.marking import Occurrence
from relgnn.text.pairs import PairLabels, distant_loss
from relgnn.training import (
    Task,
    Trainer,
    TrainSettings,
    load_json,
    load_module,
    module_tensors,
    save_json,
    save_tensors,
)
from relgnn.training.progress import track

SCORE_TOKENS = 16384
Autocast = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class ExtractorSettings:
    """How the extractor is trained.

    Args:
        epochs, batch_size, weight_decay: of AdamW.
        lr: peak rate of the language model's upper layers.
        head_lr: peak rate of the markers and the classifier, which start from nothing.
        layers: upper layers that are trained; as many as the `SplitEncoder` leaves.
        unlabelled_weight: weight of "not given" as a negative label: many are true.
        negatives: unlabelled rows drawn in an epoch for each labelled one.
        warmup: share of the steps in which the rates rise; then they fall linearly to zero.
        dropout: of the classifier's input and within the layers.
    """

    epochs: int = 4
    batch_size: int = 64
    lr: float = 1e-3
    head_lr: float = 1e-3
    weight_decay: float = 0.01
    layers: int = 1
    unlabelled_weight: float = 0.3
    negatives: int = 3
    warmup: float = 0.1
    dropout: float = 0.1


class RelationExtractor(nn.Module):
    """P(relation stated | marked sentence), 2R logits: head → tail, then tail → head.

    Entities are marked where the frozen layers end: a learned vector is added to the states of
    the head's tokens and another to those of the tail's (the positional embeddings of Baldini
    Soares et al., Matching the Blanks, 2019). So rows of one sentence share what lies below.

        logits = W [h_head ; h_tail ; mean_t s_t] + b

    with h the last hidden state of each mention's mean, s the states below the last layer.

    Args:
        top: the upper layers; copied.
        outputs: 2R.
        dropout: see `ExtractorSettings`.
    """

    def __init__(self, top: TopLayers, outputs: int, dropout: float) -> None:
        super().__init__()
        self.top = copy.deepcopy(top)
        set_dropout(self.top, dropout)
        width = int(top.config.hidden_size)
        self.markers = nn.Parameter(torch.randn(2, width) * 0.05)
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(3 * width, outputs)
        # Relations are rare among candidates: start from "no".
        nn.init.constant_(self.head.bias, -5.0)

    def forward(self, batch: StateBatch) -> Tensor:
        """Logits [B, 2R]."""
        states = batch.states + batch.mentions.transpose(1, 2) @ self.markers
        places = batch.mentions / batch.mentions.sum(2, keepdim=True).clamp(min=1)
        both, below = self.top(states, batch.mask, places)
        weight = batch.mask[:, :, None].to(below.dtype)
        mean = (below * weight).sum(1) / weight.sum(1)
        logits: Tensor = self.head(self.dropout(torch.cat([*both.unbind(1), mean], dim=1)))
        return logits.float()


class ExtractorTask(Task[Tensor]):
    """Distant supervision: every row of a labelled pair is taken to state its relations.

    That is too much said (one of the rows is enough for the triple to be given), so rows of one
    pair disagree and `pooling.pool_rows` lets the surest speak. Rows without a label are weak
    negatives, drawn anew in every epoch. Batches hold rows of like length.

    Args:
        model: what is trained.
        states: the frozen layers' states of all rows.
        pair: int64 [M], each row's pair.
        labels: known relations of pairs.
        pool: int64, rows that may be trained on.
        settings: see there.
    """

    name = "extractor"
    rate_keys = ("loop.extractor.lr",)

    def __init__(
        self,
        model: RelationExtractor,
        states: LowerStates,
        pair: np.ndarray,
        labels: PairLabels,
        pool: np.ndarray,
        settings: ExtractorSettings,
    ) -> None:
        self._model, self.states, self.settings = model, states, settings
        known, inverse = np.unique(labels.pair, return_inverse=True)
        # The last line is that of the rows without a label.
        self.weights = torch.zeros(len(known) + 1, model.head.out_features)
        self.weights[inverse, labels.output] = torch.from_numpy(labels.weight).float()
        place = np.searchsorted(known, pair[pool])
        is_known = np.isin(pair[pool], known)
        line = np.full(len(pair), len(known))
        line[pool[is_known]] = place[is_known]
        self.line = torch.from_numpy(line)
        self.labelled = torch.from_numpy(pool[is_known])
        self.unlabelled = torch.from_numpy(pool[~is_known])
        wanted = settings.negatives * max(len(self.labelled), settings.batch_size)
        self.drawn = min(len(self.unlabelled), wanted)

    @property
    def model(self) -> nn.Module:
        return self._model

    def num_batches(self, epoch: int) -> int:
        return -(-(len(self.labelled) + self.drawn) // self.settings.batch_size)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterable[Tensor]:
        some = torch.randperm(len(self.unlabelled), generator=generator)[: self.drawn]
        rows = torch.cat([self.labelled, self.unlabelled[some]])
        rows = rows[torch.randperm(len(rows), generator=generator)]
        # Sorting a shuffled list keeps chance within one length.
        rows = rows[torch.argsort(self.states.lengths[rows], stable=True)]
        parts = rows.split(self.settings.batch_size)
        return [parts[i] for i in torch.randperm(len(parts), generator=generator).tolist()]

    def items(self, batch: Tensor) -> int:
        return len(batch)

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        device = model_device(self._model)
        logits = self._model(self.states.batch(batch, device))
        weight = self.weights[self.line[batch]].to(device)
        return distant_loss(logits, weight, self.settings.unlabelled_weight)

    def parameter_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        model = self._model
        tuned = list(model.top.parameters())
        new = [model.markers, *model.head.parameters()]
        return [
            {"params": parameters, "lr": rate, "weight_decay": weight_decay}
            for parameters, rate in ((tuned, lr), (new, self.settings.head_lr))
        ]


def fit_extractor(
    encoder: SplitEncoder,
    states: LowerStates,
    pair: np.ndarray,
    labels: PairLabels,
    num_relations: int,
    settings: ExtractorSettings,
    seed: int,
    *,
    pool: np.ndarray | None = None,
    autocast: Autocast = nullcontext,
) -> RelationExtractor:
    """Train an extractor.

    Args:
        encoder: what read `states`; has the upper layers to start from.
        states: M rows.
        pair: int64 [M], each row's pair.
        labels: known relations of pairs.
        num_relations: R.
        settings: training.
        seed: of initialisation, order and dropout.
        pool: int64, rows to train on; all by default.
        autocast: context of the loss, such as `runtime.autocast`.
    """
    with drawn_from("extractor", seed):
        model = RelationExtractor(encoder.top, 2 * num_relations, settings.dropout)
    pool = np.arange(len(pair)) if pool is None else pool
    train = TrainSettings(
        epochs=settings.epochs, lr=settings.lr, weight_decay=settings.weight_decay,
        schedule="linear", warmup=settings.warmup, clip=1.0,
    )  # fmt: skip
    trainer = Trainer(train, device=encoder.device, autocast=autocast, seed=seed)
    trainer.fit(ExtractorTask(model, states, pair, labels, pool, settings))
    return model


def score_rows(
    model: RelationExtractor,
    states: LowerStates,
    rows: np.ndarray,
    autocast: Autocast = nullcontext,
) -> np.ndarray:
    """Logits [len(rows), 2R] of the given rows, float32."""
    model.eval()
    device = model_device(model)
    logits = np.zeros((len(rows), model.head.out_features), dtype=np.float32)
    wanted = torch.from_numpy(rows)
    batches = list(length_buckets(states.lengths[wanted].tolist(), SCORE_TOKENS))
    for items in track(batches, "scoring sentences"):
        with torch.inference_mode(), autocast():
            logits[items] = model(states.batch(wanted[items], device)).cpu().numpy()
    return logits


def cross_fit_extractor(
    encoder: SplitEncoder,
    states: LowerStates,
    pair: np.ndarray,
    labels: PairLabels,
    pair_folds: np.ndarray,
    num_relations: int,
    settings: ExtractorSettings,
    seed: int,
    *,
    autocast: Autocast = nullcontext,
    keep: Callable[[RelationExtractor], None] | None = None,
    judges: np.ndarray | None = None,
) -> np.ndarray:
    """Logits [M, 2R] of every row by a model that saw no label and no row of its pair's fold.

    Args:
        encoder, states, pair, labels, num_relations, settings, autocast: see `fit_extractor`.
        pair_folds: int64 [P].
        seed: the same in every fold.
        keep: receives each fold's model.
        judges: int64 [P], the fold that the model which judges a pair has not seen; the pair's own
            where None.
    """
    logits = np.zeros((len(states), 2 * num_relations), dtype=np.float32)
    row_folds = pair_folds[pair]
    row_judges = row_folds if judges is None else judges[pair]
    for fold in np.unique(row_judges):
        held = np.flatnonzero(row_judges == fold)
        model = fit_extractor(
            encoder, states, pair, labels.subset(pair_folds != fold), num_relations, settings,
            seed, pool=np.flatnonzero(row_folds != fold), autocast=autocast,
        )  # fmt: skip
        logits[held] = score_rows(model, states, held, autocast)
        if keep is not None:
            keep(model)
    return logits


def extract_rows(
    encoder: SplitEncoder, model: RelationExtractor, rows: Sequence[Occurrence]
) -> np.ndarray:
    """Logits [len(rows), 2R] of new sentences, float32; see also `SplitEncoder.forget`."""
    return score_rows(model, encoder.read(rows), np.arange(len(rows)))


def save_extractor(
    folder: Path, encoder: SplitEncoder, model: RelationExtractor, settings: ExtractorSettings
) -> None:
    """Write the trained part, and which language model it stands on, to `folder`.

    Raises:
        MachineError: a file cannot be written.
    """
    save_tensors(folder / "extractor.safetensors", module_tensors(model, frozen=True))
    description = {
        "model": encoder.model,
        "fingerprint": encoder.fingerprint,
        "max_tokens": encoder.max_tokens,
        "outputs": model.head.out_features,
        "settings": asdict(settings),
    }
    save_json(folder / "extractor.json", description)


def load_extractor(
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> tuple[SplitEncoder, RelationExtractor]:
    """Read what `save_extractor` wrote, and load its language model.

    Args:
        folder: of the extractor.
        device, dtype: see `SplitEncoder`.

    Raises:
        InputError: a file is absent or damaged, or the language model's weights are others.
    """
    description = load_json(folder / "extractor.json")
    settings = ExtractorSettings(**description["settings"])
    encoder = SplitEncoder(
        description["model"],
        layers=settings.layers,
        max_tokens=description["max_tokens"],
        device=device,
        dtype=dtype,
    )
    if encoder.fingerprint != description["fingerprint"]:
        raise InputError(
            f"{folder}: was trained on other weights of {description['model']!r} than those "
            "found now; put the former weights back or train the run again"
        )
    model = RelationExtractor(encoder.top, description["outputs"], settings.dropout)
    load_module(model, folder / "extractor.safetensors", frozen=True)
    return encoder, model.to(device).eval()


def length_buckets(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Batches of item numbers of similar length, each at most `batch_tokens` when padded.

    Longest first, so that running out of memory shows at the start.
    """
    batch: list[int] = []
    longest = 0
    for item in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        longest = longest if batch else lengths[item]
        if batch and longest * (len(batch) + 1) > batch_tokens:
            yield batch
            batch, longest = [], lengths[item]
        batch.append(item)
    if batch:
        yield batch
