"""The E step: what judges a candidate knows nothing of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from relgnn.data.graph import is_in
from relgnn.linkpred.fit import Fitted
from relgnn.linkpred.supervision import Supervision
from relgnn.loop.estep import EStep
from relgnn.loop.labelled import rows_to_read
from relgnn.loop.pseudo import Pseudo
from relgnn.loop.world import World
from relgnn.text.evidence import Evidence
from relgnn.text.linking import EXACT, IMPLIED, PART, STEM
from relgnn.text.pairs import PairLabels
from tests.linkpred.toy import toy_facts, toy_graph
from tests.loop.toy import toy_world
from tests.loop.voting import (
    EVERYTHING,
    FOLDS,
    HELD,
    RULES,
    fold_of,
    largest_change,
    original,
    planted_train,
    votes,
    with_accepted,
    with_proposals,
)


@pytest.mark.parametrize("views", [(), (RULES,)], ids=["text and graph", "rules"])
@pytest.mark.parametrize("change", ["removed", "another relation", "turned round", "added"])
def test_no_view_of_a_fold_knows_what_is_given_in_it(change: str, views: tuple[str, ...]) -> None:
    """Planted labels: whatever is given between the pairs of a fold, its candidates and what the
    text and the graph say of them are the same."""
    held, elsewhere = original(*views)
    other_held, other_elsewhere = votes(toy_graph(train=planted_train(change)), None, *views)
    assert other_held.keys() == held.keys() and len(held) > 50
    assert largest_change(held, other_held) < 1e-5
    # The labels are worth knowing: who may see them judges otherwise.
    assert largest_change(elsewhere, other_elsewhere) > 0.05


def test_without_cross_fitting_every_view_knows_what_it_judges() -> None:
    options = (RULES, "loop.cross_fitted=false")
    held, _ = votes(toy_graph(), None, *options)
    other, _ = votes(toy_graph(train=planted_train("another relation")), None, *options)
    shared = held.keys() & other.keys()
    change = np.stack([np.abs(held[t] - other[t]) for t in shared]).max(0)
    text, graph, rules = change[:2], change[2:4], change[4:]
    assert min(text[0], graph.max(), rules.max()) > 0.05 and len(shared) > 50


@pytest.mark.parametrize("views", [(), (RULES,)], ids=["text and graph", "rules"])
@pytest.mark.parametrize("change", ["removed", "another relation", "added"])
def test_no_view_of_a_fold_knows_what_was_accepted_in_it(
    change: str, views: tuple[str, ...]
) -> None:
    facts, _ = toy_facts()
    accepted = facts[26:]
    held = fold_of(accepted) == HELD
    relation = np.where(held, (accepted[:, 1] + 1) % 3, accepted[:, 1])
    changed = {
        "removed": accepted[~held],
        "another relation": np.column_stack([accepted[:, 0], relation, accepted[:, 2]]),
        "added": np.concatenate([accepted, accepted[held] * [1, 0, 1] + [0, 2, 0]]),
    }[change]
    one, one_elsewhere = with_accepted(*views)
    other, other_elsewhere = votes(toy_graph(), Pseudo(changed, np.full(len(changed), 0.8)), *views)
    assert one.keys() == other.keys()
    assert largest_change(one, other) < 1e-5
    assert largest_change(one_elsewhere, other_elsewhere) > 0.05


@pytest.mark.parametrize("change", ["removed", "another relation", "added"])
def test_what_the_graph_proposes_in_a_fold_knows_nothing_of_it(change: str) -> None:
    """Which pairs are proposed, and the graph's votes; the pair model trains on pairs of the other
    folds, which other judges proposed."""
    held, _ = with_proposals()
    other, _ = votes(toy_graph(train=planted_train(change)), None, "loop.implied=1000000")
    assert held.keys() == other.keys() and len(held) > len(original()[0])
    assert max(np.abs(held[t][-2:] - other[t][-2:]).max() for t in held) < 1e-5


def test_judges_are_trained_and_selected_without_their_fold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Given triples of the fold must not even filter the valid ranks that choose the epoch."""
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    before = World.fit

    def spy(self: World, supervision: Supervision, name: str, **options: Any) -> Fitted:
        seen.append((supervision.context.numpy(), options["known"]))
        return before(self, supervision, name, **options)

    monkeypatch.setattr(World, "fit", spy)
    EStep(toy_world(*EVERYTHING)).run(1, Pseudo.none())
    graph = toy_graph()
    for fold, (context, known) in enumerate(seen):
        others = graph.train[fold_of(graph.train) != fold]
        assert (context == others).all()
        assert (known == np.concatenate([others, graph.valid])).all()
    assert len(seen) == FOLDS


def test_judges_are_not_selected_by_what_they_were_taught_and_share_a_weight_decay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[np.ndarray, np.ndarray, float | None, float | None]] = []
    before = World.fit

    def spy(self: World, supervision: Supervision, name: str, **options: Any) -> Fitted:
        fitted = before(self, supervision, name, **options)
        known = supervision.targets.numpy()
        seen.append((known, options["valid"], options["weight_decay"], fitted.weight_decay))
        return fitted

    monkeypatch.setattr(World, "fit", spy)
    graph = toy_graph()
    pseudo = Pseudo(graph.valid, np.full(len(graph.valid), 0.9))
    EStep(toy_world(*EVERYTHING, "train.weight_decay=[0.0, 5.0]")).run(1, pseudo)
    assert len(seen) == FOLDS
    for fold, (known, valid, asked, taken) in enumerate(seen):
        own = graph.valid[fold_of(graph.valid) == fold]
        assert (valid == own).all() and len(own) and not is_in(own, known).any()
        assert asked == (seen[0][3] if fold else None) and taken == seen[0][3]


@pytest.mark.parametrize("change", ["removed", "added"])
def test_whether_the_extractor_judges_says_nothing_of_what_is_given(
    blank_extractor: list[np.ndarray], change: str
) -> None:
    limit = "loop.extractor.max_candidates=60"
    held, _ = votes(toy_graph(), None, limit)
    silent = [bool(np.isnan(v[1])) for v in held.values()]
    assert 0.1 < np.mean(silent) < 0.9
    other, _ = votes(toy_graph(train=planted_train(change)), None, limit)
    assert held.keys() == other.keys()
    assert largest_change(held, other) < 1e-5
    assert all(len(pairs) <= 60 + FOLDS for pairs in blank_extractor)


def test_the_extractor_learns_from_labelled_pairs_that_it_does_not_judge() -> None:
    kind = np.array([EXACT, PART, EXACT, EXACT, IMPLIED, EXACT, EXACT, STEM])
    pair = np.array([0, 0, 0, 1, 2, 3, 4, 5])
    blank, span = np.zeros(8, dtype=np.int64), np.zeros((8, 2), dtype=np.int64)
    evidence = Evidence(blank, blank, blank, span, span, kind, pair, np.arange(6), np.arange(6) + 6)
    logits = np.array([[5.0, 0], [1, 0], [9, 0], [2, 7], [0, 0], [4, 3]])
    labels = PairLabels(np.array([1, 4]), np.array([0, 0]), np.ones(2))
    folds = np.array([0, 0, 0, 1, 1, 1])
    rows, judged = rows_to_read(evidence, logits, labels, folds, 4)
    assert judged.tolist() == [True, False, False, True, False, False]
    assert rows.tolist() == [0, 2, 3, 5]
    rows, judged = rows_to_read(evidence, logits, labels, folds, 100)
    assert judged.tolist() == [True, True, False, True, True, True]
    assert rows.tolist() == [0, 2, 3, 5, 6, 7]


def test_those_that_the_extractor_learns_from_are_drawn_whatever_their_numbers() -> None:
    count = 400
    kind, pair = np.full(count, EXACT), np.arange(count)
    blank, span = np.zeros(count, dtype=np.int64), np.zeros((count, 2), dtype=np.int64)
    evidence = Evidence(blank, blank, blank, span, span, kind, pair, pair, pair + count)
    labels = PairLabels(pair, np.zeros(count, dtype=np.int64), np.ones(count))
    rows, judged = rows_to_read(evidence, np.zeros((count, 2)), labels, pair % 2, 100)
    learned = rows[~judged[rows]]
    assert len(rows) == 100 and len(learned) == 50
    # of pairs that the first of every fold leave, from all over
    assert 0.4 < np.median(learned) / count < 0.75
    assert (np.sort(learned) == learned).all()


def test_test_and_hidden_triples_are_not_read() -> None:
    none = np.empty((0, 3), dtype=np.int64)
    held, elsewhere = votes(replace(toy_graph(), test=none, hidden=none, strata=None))
    assert largest_change(held, original()[0]) == 0
    assert largest_change(elsewhere, original()[1]) == 0
