"""From the views' raw votes to calibrated probabilities, under an incomplete graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from relgnn.posterior.calibration import calibration_report
from relgnn.posterior.em import e_step, free_energy
from relgnn.posterior.fusion import LogisticFusion, cross_fit, logit
from relgnn.posterior.pu import (
    LABEL_FREQUENCY,
    Frequency,
    frequency_by_relation,
    frequency_of,
    pu_probability,
    ratio_by_relation,
    unlabelled_probability,
)

UNSEEN = 0.001
"""Probability of a triple in a round that did not find it among its likeliest candidates."""


@dataclass(frozen=True)
class Before:
    """What the rounds before said.

    Args:
        rounds: how many.
        triples: int64 [B, 3], candidates of the last of them.
        p: float [B], their posteriors.
        label_frequency: view -> c, as the first round estimated it.
    """

    rounds: int
    triples: np.ndarray
    p: np.ndarray
    label_frequency: dict[str, Frequency]

    def average(self, triples: np.ndarray, p: np.ndarray) -> np.ndarray:
        """Mean log odds of all rounds, as a probability [C].

        Judges that have seen accepted triples see more and err together: those of the rounds
        before, who have not seen them, keep their say.

        Args:
            triples: int64 [C, 3], this round's candidates.
            p: float [C], what this round says of them.
        """
        said = {tuple(t): float(q) for t, q in zip(self.triples.tolist(), self.p, strict=True)}
        before = np.array([said.get(tuple(t), UNSEEN) for t in triples.tolist()])
        odds = (self.rounds * bounded(before) + bounded(p)) / (self.rounds + 1)
        averaged: np.ndarray = expit(odds)
        return averaged


def bounded(p: np.ndarray) -> np.ndarray:
    """Log odds within those of `UNSEEN` and its complement: no round decides alone."""
    return logit(np.clip(p, UNSEEN, 1 - UNSEEN))


@dataclass(frozen=True)
class Fused:
    """What one set of views says of every candidate.

    Args:
        p: float [C], P(true | views, not given).
        g: float [C], P(given | views), cross-fitted.
        label_frequency: c = P(given | true), estimated; of all, or of each relation [R].
        calibrator: fitted on all candidates, for later use.
        ratio: float [R], how often each relation is given beside what the calibrator expects; None
            where relations are alike.
    """

    p: np.ndarray
    g: np.ndarray
    label_frequency: Frequency
    calibrator: LogisticFusion
    ratio: np.ndarray | None = None

    def report(self, given: np.ndarray) -> dict[str, Any]:
        """How well g predicts "is given" out of fold, and c."""
        ratio = {} if self.ratio is None else {"ratio": self.ratio.tolist()}
        return {
            "label_frequency": np.asarray(self.label_frequency).tolist(),
            "given": calibration_report(self.g, given.astype(float)),
            "calibrator": self.calibrator.to_json(),
            **ratio,
        }


def fuse(
    votes: np.ndarray,
    extra: np.ndarray,
    given: np.ndarray,
    folds: np.ndarray,
    label_frequency: str | Frequency,
    relation: np.ndarray | None = None,
    num_relations: int = 0,
) -> Fused:
    """Fit on "is given" out of fold, then correct for what is true and not given.

    g = P(given | views) is a logistic regression over the votes, their products and `extra`;
    P(true | not given) = (1 − c)/c · g/(1 − g) (Elkan and Noto 2008), c by the named estimator.

    Args:
        votes: float [C, V], logits or log probabilities; nan where a view is silent.
        extra: float [C, E], never missing.
        given: bool [C].
        folds: int64 [C]; a candidate's own fold never fits what judges it.
        label_frequency: c where it is known, or a key of `posterior.pu.LABEL_FREQUENCY`.
        relation: int64 [C] where c is to be each relation's own; None: one c for all. Then g is
            corrected by `ratio_by_relation` of the other folds, so that it knows the relation
            as well as c does.
        num_relations: R, where `relation` is given.
    """
    width = votes.shape[1]
    x, y = np.column_stack([votes, extra]), given.astype(int)

    def fit(x: np.ndarray, y: np.ndarray) -> Any:
        fusion = LogisticFusion().fit(x[:, :width], y, x[:, width:])
        return lambda rows: fusion(rows[:, :width], rows[:, width:])

    g = cross_fit(fit, x, y, folds)
    c: Frequency
    if not isinstance(label_frequency, str):
        c = label_frequency
    else:
        c = of_all = LABEL_FREQUENCY[label_frequency](g, given)
        if relation is not None:
            c = frequency_by_relation(g, given, relation, num_relations, of_all)
    calibrator = LogisticFusion().fit(votes, y, extra)
    if relation is None:
        return Fused(unlabelled_probability(g, c), g, c, calibrator)

    def fit_by_relation(x: np.ndarray, y: np.ndarray) -> Any:
        of_all = fit(x[:, :-1], y)
        own = ratio_by_relation(of_all(x[:, :-1]), y, x[:, -1].astype(int), num_relations)
        return lambda rows: np.minimum(of_all(rows[:, :-1]) * own[rows[:, -1].astype(int)], 1.0)

    g = cross_fit(fit_by_relation, np.column_stack([x, relation]), y, folds)
    ratio = ratio_by_relation(calibrator(votes, extra), y, relation, num_relations)
    return Fused(unlabelled_probability(g, frequency_of(c, relation)), g, c, calibrator, ratio)


def probability(
    entry: Mapping[str, Any],
    votes: np.ndarray,
    extra: np.ndarray,
    relation: np.ndarray,
    given: np.ndarray,
) -> np.ndarray:
    """What a view's calibrator, which was fitted on all candidates, makes of votes, float [C].

    P(true | view): of a given triple g / c, of another P(true | views, not given).

    Args:
        entry: of the view, as `Fused.report` wrote it.
        votes, extra: as of `fuse`; nan where a view is silent.
        relation: int64 [C].
        given: bool [C].
    """
    g = LogisticFusion.from_json(entry["calibrator"])(votes, extra)
    if "ratio" in entry:
        g = np.minimum(g * np.asarray(entry["ratio"])[relation], 1.0)
    c = frequency_of(entry["label_frequency"], relation)
    p: np.ndarray = np.where(given, pu_probability(g, c), unlabelled_probability(g, c))
    return p


def expectation(
    views: dict[str, Fused], given: np.ndarray, relation: np.ndarray
) -> tuple[np.ndarray, dict[str, float]]:
    """q [C], the E step of EM, and what it is worth: see `relgnn.posterior.em`.

    The graph's view is the prior p_θ; text and rules are evidence that is independent of it once
    it is known whether a triple is true, with log p(x | true) - log p(x | false) = logit t - logit
    of the mean t, where t = g / c is the view's P(true | x).

    Args:
        views: `fused`, whose label frequency is taken, and each view alone.
        given: bool [C].
        relation: int64 [C].

    Returns:
        q, and label_frequency, free_energy: the objective, which a graph model raises that fits q
        better, up to a constant.
    """
    true = {
        name: np.clip(view.g / frequency_of(view.label_frequency, relation), UNSEEN, 1 - UNSEEN)
        for name, view in views.items()
    }
    graph = true.get("graph", np.full(len(given), true["fused"].mean()))
    evidence = sum(
        (logit(t) - logit(t.mean()) for name, t in true.items() if name not in ("fused", "graph")),
        start=np.zeros(len(given)),
    )
    c = min(float(np.mean(views["fused"].label_frequency)), 1 - UNSEEN)
    q = e_step(evidence, graph, given, c)
    return q, {"label_frequency": c, "free_energy": free_energy(q, evidence, graph, given, c)}
