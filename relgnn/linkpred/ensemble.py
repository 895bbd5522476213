"""Several link predictors added up, with weights that valid chooses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from relgnn.config.biencoder import EnsembleSettings
from relgnn.data import KnowledgeGraph
from relgnn.errors import InputError
from relgnn.linkpred.evaluate import DenseScores
from relgnn.linkpred.reading import SHRINKAGE
from relgnn.ranking.ranks import SIDES, FilterIndex, evaluate_ranks

PART = 256
"""Triples whose scores by all members are in memory at once."""


@dataclass(frozen=True)
class Mix:
    """How much each member counts.

        s(h, r, ·) = Σ_m w_mr s_m(h, r, ·) / σ_m

    where σ_m is the mean over valid's queries of the standard deviation of a query's scores: so a
    weight is a share of what the members say. A logit's own spread over a query's answers stays:
    who is sure counts for more.

    Args:
        weight: float [M, 2R], by directed relation.
        scale: float [M], 1 / σ_m.
    """

    weight: Tensor
    scale: Tensor

    def scores(self, members: Sequence[DenseScores]) -> DenseScores:
        """The members' sum."""

        def mixed(heads: Tensor, relations: Tensor) -> Tensor:
            own = self.weight[:, relations.to(self.weight.device)]
            factors = own * self.scale[:, None]
            return sum_of(
                (one(heads, relations) * own[:, None])
                for one, own in zip(members, factors, strict=True)
                if bool(own.any())
            )

        return mixed


def sum_of(parts: Iterator[Tensor]) -> Tensor:
    """The sum of one tensor or more."""
    total = next(parts)
    for part in parts:
        total = total + part
    return total


def fit_mix(
    members: Sequence[DenseScores],
    graph: KnowledgeGraph,
    settings: EnsembleSettings,
    device: torch.device | str = "cpu",
) -> Mix:
    """The weights with the best MRR on valid; test is not looked at.

    Of all weights that are multiples of 1 / steps and sum to 1. By relation, all together count as
    `SHRINKAGE` queries beside a relation's own, as `TextReader.choose` has it.

    Args:
        members: M scores of all entities.
        graph: its valid triples choose.
        settings: section `ensemble`.
        device: where they are added up.

    Returns:
        The weights, on the CPU.

    Raises:
        InputError: there is no valid triple.
    """
    valid, relations = graph.valid, graph.num_relations
    if not len(valid):
        raise InputError(
            f"{graph.name}: has no valid triples, which weigh the members of an ensemble; add "
            "valid.tsv"
        )
    scale = 1 / _spread(members, valid, relations)
    grid = torch.tensor(
        list(simplex(len(members), settings.steps)), dtype=torch.float32
    ) / settings.steps  # fmt: skip
    known = FilterIndex.build(graph.filter_triples("valid"), relations)
    reciprocal = np.zeros((len(grid), len(SIDES), len(valid)))
    for start in range(0, len(valid), PART):
        part = slice(start, start + PART)
        kept = [_Kept(one, device) for one in members]
        for place, weight in enumerate(grid.to(device)):
            mix = Mix(weight[:, None].expand(-1, 2 * relations), scale.to(device))
            ranks = evaluate_ranks(mix.scores(kept), valid[part], known, relations)
            for side, name in enumerate(SIDES):
                reciprocal[place, side, part] = 1 / ranks[name].realistic
    gain = SHRINKAGE * reciprocal.mean((1, 2))[:, None].repeat(2 * relations, 1)
    if settings.by_relation:
        asked = {"tail": valid[:, 1], "head": valid[:, 1] + relations}
        for place, sides in enumerate(reciprocal):
            for own, name in zip(sides, SIDES, strict=True):
                gain[place] += np.bincount(asked[name], own, minlength=2 * relations)
    return Mix(grid[gain.argmax(0)].T.contiguous(), scale)


def simplex(members: int, steps: int) -> Iterator[tuple[int, ...]]:
    """All tuples of `members` whole numbers from 0 up that sum to `steps`."""
    if members == 1:
        yield (steps,)
        return
    for first in range(steps + 1):
        for rest in simplex(members - 1, steps - first):
            yield (first, *rest)


class _Kept:
    """Scores that are asked for again and again, computed once and kept on a device."""

    def __init__(self, scores: DenseScores, device: torch.device | str) -> None:
        self.scores, self.device = scores, device
        self.known: dict[bytes, Tensor] = {}

    def __call__(self, heads: Tensor, relations: Tensor) -> Tensor:
        key = torch.cat([heads, relations]).numpy().tobytes()
        if key not in self.known:
            self.known[key] = self.scores(heads, relations).to(self.device)
        return self.known[key]


def _spread(members: Sequence[DenseScores], triples: np.ndarray, relations: int) -> Tensor:
    """The mean standard deviation of a query's scores by each member, over some triples [M]."""
    every = max(1, len(triples) // PART)
    head, relation, tail = torch.tensor(triples[::every][:PART]).unbind(1)
    heads, asked = torch.cat([head, tail]), torch.cat([relation, relation + relations])
    found = torch.stack([one(heads, asked).float().std(1).mean() for one in members])
    # who tells no answer from another, such as rules of which none was found, needs no scale
    return torch.where(found > 0, found, 1.0)
