"""What each view says of every candidate, in the fold that is held out and elsewhere."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from relgnn.data import KnowledgeGraph
from relgnn.loop.candidates import pair_folds
from relgnn.loop.estep import EStep, Judgement
from relgnn.loop.pseudo import Pseudo
from relgnn.loop.votes import Votes
from tests.linkpred.toy import toy_facts, toy_graph
from tests.loop.toy import toy_world

FOLDS, HELD = 3, 1
EVERYTHING = (f"loop.folds={FOLDS}", "loop.candidates=1000000", "loop.implied=0")
"""No limit binds, and no pair is proposed by judges who know the held-out fold."""

Said = dict[tuple[int, ...], np.ndarray]


class OpenEStep(EStep):
    """An E step that shows its votes before they are fused."""

    def _fused(self, votes: Votes, *rest: Any) -> Judgement:
        self.found, self.votes = votes.candidates, np.column_stack(list(votes.by_view.values()))
        return super()._fused(votes, *rest)


def fold_of(triples: np.ndarray) -> np.ndarray:
    return pair_folds(triples[:, 0], triples[:, 2], FOLDS)


def votes(
    graph: KnowledgeGraph, pseudo: Pseudo | None = None, *overrides: str
) -> tuple[Said, Said]:
    """Text and graph votes of every candidate, in the held-out fold and elsewhere."""
    step = OpenEStep(toy_world(*EVERYTHING, *overrides, graph=graph))
    step.run(1, pseudo or Pseudo.none())
    held = step.found.fold == HELD
    assert (step.found.fold == fold_of(step.found.triples)).all()
    sides = []
    for rows in (held, ~held):
        triples = map(tuple, step.found.triples[rows].tolist())
        sides.append(dict(zip(triples, step.votes[rows], strict=True)))
    return sides[0], sides[1]


@cache
def original(*overrides: str) -> tuple[Said, Said]:
    return votes(toy_graph(), None, *overrides)


@cache
def with_accepted(*overrides: str) -> tuple[Said, Said]:
    accepted = toy_facts()[0][26:]
    return votes(toy_graph(), Pseudo(accepted, np.full(len(accepted), 0.8)), *overrides)


@cache
def with_proposals() -> tuple[Said, Said]:
    return votes(toy_graph(), None, "loop.implied=1000000")


def largest_change(one: Said, other: Said) -> float:
    assert all((np.isnan(one[t]) == np.isnan(other[t])).all() for t in one.keys() & other.keys())
    return max(float(np.nanmax(np.abs(one[t] - other[t]))) for t in one.keys() & other.keys())


def planted_train(change: str) -> np.ndarray:
    """The given triples, with those of the held-out fold changed; the others keep their rows."""
    train = toy_graph().train
    held = fold_of(train) == HELD
    assert 3 < held.sum() < 20
    if change == "removed":
        return train[~held]
    if change == "another relation":
        relation = np.where(held, (train[:, 1] + 1) % 3, train[:, 1])
        return np.column_stack([train[:, 0], relation, train[:, 2]])
    if change == "turned round":
        return np.where(held[:, None], train[:, ::-1] * [1, 0, 1] + train * [0, 1, 0], train)
    everybody = np.array([(p, r, t) for p in range(20) for t in range(20, 26) for r in (0, 1)])
    everybody = everybody[fold_of(everybody) == HELD]
    known = {tuple(t) for t in train.tolist()}
    new = [t for t in everybody.tolist() if tuple(t) not in known]
    return np.concatenate([train, new])


RULES = "loop.rules={min_support: 1, min_confidence: 0, constant_confidence: 0}"
