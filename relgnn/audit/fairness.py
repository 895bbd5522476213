"""Gaps between groups: how often answers about them are wrong, how far probabilities are off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from relgnn.audit.groups import Grouping
from relgnn.errors import InputError
from relgnn.loop.calibrate import corruptions
from relgnn.loop.opened import OpenRun
from relgnn.posterior.calibration import calibration_error_by_chance, expected_calibration_error
from relgnn.ranking.ranks import Ranks
from relgnn.ranking.statistics import Interval, group_gaps
from relgnn.runtime import rng

LEAST = 20
"""Members with questions that a group needs: of fewer, figures say little and may name them."""
HITS = (1, 10)


@dataclass(frozen=True)
class Errors:
    """How a group fares in questions about it, and beside everybody else in the grouping.

    A question is (member, r, ?) for each test triple of a member; `found` asks (?, r, tail), where
    the member is the answer.

    Args:
        entities, queries: members with a question, and questions of one side.
        mrr, hits: of (member, r, ?); hits by cut.
        found: MRR of (?, r, tail).
        gap, hits_gap, found_gap: group - everybody else.
        like_gap: gap in reciprocal rank after each relation's mean is taken off: what is left when
            both are asked the same mix of relations.
    """

    entities: int
    queries: int
    mrr: float
    hits: dict[int, float]
    found: float
    gap: Interval
    hits_gap: dict[int, Interval]
    found_gap: Interval
    like_gap: Interval


@dataclass(frozen=True)
class Calibration:
    """How far probabilities of statements about a group are from the truth.

    Args:
        statements: true and false ones, about as many of each.
        predicted, observed: mean probability, share of true ones.
        gap: (predicted - observed) of the group - that of everybody else; above 0: statements about
            the group are believed too readily.
        ece: expected calibration error, ten bins.
        ece_chance: what it would be at most, in 97.5 % of draws, were every probability right.
    """

    statements: int
    predicted: float
    observed: float
    gap: Interval
    ece: float
    ece_chance: float


@dataclass(frozen=True)
class Group:
    """One group; figures are None where fewer than `LEAST` of its members are asked about."""

    name: str
    members: int
    errors: Errors | None
    calibration: Calibration | None


@dataclass(frozen=True)
class Statements:
    """Labelled statements with the run's probability of each.

    Args:
        triples: int64 [N, 3].
        true: bool [N].
        p: float [N].
    """

    triples: np.ndarray
    true: np.ndarray
    p: np.ndarray


def statements_of(run: OpenRun) -> Statements | None:
    """Test triples and checked false ones, or else test triples with another tail.

    None for a run that gives no probabilities.
    """
    graph = run.graph
    if run.calibrate is None:
        return None
    if "test" in graph.negatives:
        triples, true = graph.labelled("test")
    else:
        wrong = corruptions(graph, "test", rng("fairness statements", 0), (2,), 1)
        triples = np.concatenate([graph.test, wrong])
        true = np.arange(len(triples)) < len(graph.test)
    p = np.array([p for _, p in run.score(triples)], dtype=float)
    return Statements(triples, true, p)


def compare(
    run: OpenRun,
    grouping: Grouping,
    ranks: dict[str, Ranks],
    statements: Statements | None,
    least: int = LEAST,
) -> list[Group]:
    """Errors and calibration of every group beside everybody else, the largest group first.

    Args:
        run: an opened run.
        grouping: who is in which group.
        ranks: of the test triples, by side.
        statements: see `statements_of`.
        least: members with questions that a group needs.

    Raises:
        InputError: no group has enough, or one has everybody.
    """
    asked = _asked(run.graph.test, ranks, grouping)
    found = []
    for name, members in grouping.members.items():
        errors = calibration = None
        # most of thousands of groups are too small, whoever of them is asked about
        if len(members) >= least:
            errors = _errors(asked, members, least)
            if statements is not None:
                calibration = _calibration(statements, grouping, members, least)
        found.append(Group(name, len(members), errors, calibration))
    if not any(one.errors for one in found):
        raise InputError(
            f"--group {grouping.name}: no group has {least} members with questions, or one has "
            "everybody; give another relation, or a smaller --least"
        )
    return sorted(found, key=lambda one: (-one.members, one.name))


@dataclass(frozen=True)
class _Asked:
    """Questions about everybody in a grouping: whom, and measures [M, N]."""

    entity: np.ndarray
    values: np.ndarray


def _asked(triples: np.ndarray, ranks: dict[str, Ranks], grouping: Grouping) -> _Asked:
    rows = np.flatnonzero(np.isin(triples[:, 0], grouping.everybody))
    tail, head = ranks["tail"].realistic[rows], ranks["head"].realistic[rows]
    relation = triples[rows, 1]
    per = np.bincount(relation, weights=1 / tail) / np.maximum(np.bincount(relation), 1)
    values = [1 / tail, *(tail <= k for k in HITS), 1 / head, 1 / tail - per[relation]]
    return _Asked(triples[rows, 0], np.stack(values).astype(float))


def _errors(asked: _Asked, members: np.ndarray, least: int) -> Errors | None:
    inside = np.isin(asked.entity, members)
    entities = len(np.unique(asked.entity[inside]))
    if entities < least or inside.all():
        return None
    gap, *hits_gap, found_gap, like_gap = group_gaps(asked.values, inside, asked.entity)
    mrr, *hits, found, _ = asked.values[:, inside].mean(1).tolist()
    return Errors(
        entities, int(inside.sum()), mrr, dict(zip(HITS, hits, strict=True)), found, gap,
        dict(zip(HITS, hits_gap, strict=True)), found_gap, like_gap,
    )  # fmt: skip


def _calibration(
    statements: Statements, grouping: Grouping, members: np.ndarray, least: int
) -> Calibration | None:
    rows = np.isin(statements.triples[:, 0], grouping.everybody)
    entity, p = statements.triples[rows, 0], statements.p[rows]
    true = statements.true[rows].astype(float)
    inside = np.isin(entity, members)
    if len(np.unique(entity[inside])) < least or inside.all():
        return None
    [gap] = group_gaps((p - true)[None], inside, entity)
    own, truth = p[inside], true[inside]
    _, chance = calibration_error_by_chance(own, rng("calibration by chance", 0))
    return Calibration(
        int(inside.sum()), float(own.mean()), float(truth.mean()), gap,
        expected_calibration_error(own, truth), chance,
    )  # fmt: skip
