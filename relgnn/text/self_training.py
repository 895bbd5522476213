"""Self-training: a classifier labels sentences, and a fresh one learns from what it is sure of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from relgnn.config import SemiConfig
from relgnn.data.relations import Example, RelationData
from relgnn.posterior.selectors import (
    Posteriors,
    Selector,
    build_selector,
)
from relgnn.posterior.softmax import LabelCalibrator
from relgnn.text.objectives.unlabelled import PseudoLabelled, TokenMask
from relgnn.text.rows import Marker
from relgnn.training import FitResult


class Labeller(Protocol):
    """A tuned classifier."""

    @property
    def data(self) -> RelationData:
        """What it was tuned on."""

    def logits(self, examples: Sequence[Example]) -> np.ndarray:
        """[len(examples), labels]."""


Reader = TypeVar("Reader", bound=Labeller)


@dataclass(frozen=True)
class PseudoLabels:
    """What a classifier is sure of among the unlabelled sentences.

    Args:
        examples: A sentences, with their likeliest label.
        targets: float32 [A, C], what is learned of them: shares of the labels.
        weight: float32 [A], above 0 and at most 1.
    """

    examples: tuple[Example, ...]
    targets: np.ndarray
    weight: np.ndarray

    def objective(self, settings: SemiConfig, marker: Marker) -> PseudoLabelled:
        """The loss that teaches them."""
        return PseudoLabelled(
            marker.rows(self.examples), torch.from_numpy(self.targets),
            torch.from_numpy(self.weight), settings, TokenMask.of(marker, settings.mask),
        )  # fmt: skip


@dataclass(frozen=True)
class Taught:
    """The outcome of all rounds.

    Args:
        reader: the classifier of the round that is best on valid.
        chosen: how its training ended.
        pseudo: what it was taught beside gold; None where that is round 0.
        rounds: of each, valid's best metric and, after round 0, what was accepted.
    """

    reader: Any
    chosen: FitResult
    pseudo: PseudoLabels | None
    rounds: list[dict[str, float]]


def self_train(
    reader: Reader,
    chosen: FitResult,
    settings: SemiConfig,
    teach: Callable[[PseudoLabels, int], tuple[Reader, FitResult]],
) -> Taught:
    """Rounds of self-training; valid says which of them is kept, round 0 included.

    In each, the classifier of the round before is calibrated on valid and labels the unlabelled
    sentences, and a fresh one is fitted to gold and what the selector accepts of them. Where that
    is nothing, the rounds end.

    Args:
        reader, chosen: round 0, fitted to gold alone.
        settings: selector and number of rounds.
        teach: fits a fresh classifier to gold and pseudo-labels, in the round of that number.
    """
    best = Taught(reader, chosen, None, [{"valid": chosen.best_metric or 0.0}])
    for number in range(1, settings.rounds + 1):
        pseudo = label(reader, settings)
        if not pseudo.examples:
            break
        reader, chosen = teach(pseudo, number)
        value = chosen.best_metric or 0.0
        rounds = [
            *best.rounds,
            {"valid": value, "accepted": len(pseudo.weight), "weight": float(pseudo.weight.sum())},
        ]
        if value > (best.chosen.best_metric or 0.0):
            best = Taught(reader, chosen, pseudo, rounds)
        else:
            best = Taught(best.reader, best.chosen, best.pseudo, rounds)
    return best


def label(reader: Labeller, settings: SemiConfig) -> PseudoLabels:
    """What a classifier says of its unlabelled sentences and the selector accepts.

    Args:
        reader: calibrated here on valid.
        settings: the selector.
    """
    data = reader.data
    truth = np.array([one.relation for one in data.valid])
    calibrator = LabelCalibrator.fit(reader.logits(data.valid), truth)
    p = np.exp(calibrator(reader.logits(data.unlabelled)))
    accepted = make_selector(settings, data).select(of_softmax(p))
    sentence, relation = accepted.index // p.shape[1], accepted.index % p.shape[1]
    likeliest = p.argmax(1)
    kept = likeliest[sentence] == relation
    sentence, relation = sentence[kept], relation[kept]
    targets = p[sentence] if settings.soft_targets else np.eye(p.shape[1])[relation]
    return PseudoLabels(
        tuple(
            data.unlabelled[i]._replace(relation=r)
            for i, r in zip(sentence.tolist(), relation.tolist(), strict=True)
        ),
        targets.astype(np.float32), accepted.weight[kept].astype(np.float32),
    )  # fmt: skip


def of_softmax(p: np.ndarray) -> Posteriors:
    """The posteriors of probabilities [N, C]: position i · C + c is label c of sentence i.

    A sentence stands for both ends of its triples.
    """
    sentence, relation = (x.ravel() for x in np.indices(p.shape))
    silent = np.full(p.size, np.nan)
    return Posteriors(
        sentence, relation, sentence, p.ravel(), p.ravel(), silent, silent,
        np.zeros(p.size, dtype=np.int64),
    )  # fmt: skip


def make_selector(settings: SemiConfig, data: RelationData) -> Selector:
    """The selector that a configuration names.

    Args:
        settings: its name and numbers.
        data: whose gold labels `class_top` keeps the shares of.
    """
    gold = Counter(one.relation for one in data.train)
    return build_selector(
        settings.selector,
        threshold=settings.threshold,
        min_probability=settings.min_probability,
        target=settings.precision,
        counts=tuple(gold[i] for i in range(len(data.labels))),
        ratio=settings.top,
    )
