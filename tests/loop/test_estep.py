"""The E step: what judges a candidate knows nothing of it, and says what the contract asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from relgnn.config import Pooling
from relgnn.data import KnowledgeGraph
from relgnn.linkpred.fit import Fitted
from relgnn.linkpred.supervision import Supervision
from relgnn.loop import estep
from relgnn.loop.candidates import pair_folds
from relgnn.loop.estep import EStep, Judgement, edge_evidence, rows_to_read
from relgnn.loop.pseudo import Pseudo, is_in
from relgnn.loop.records import write_round
from relgnn.loop.views import Before
from relgnn.loop.votes import Votes
from relgnn.loop.world import World
from relgnn.posterior.selectors import Accepted
from relgnn.rules.judge import FEATURES
from relgnn.text.evidence import Evidence, find_evidence
from relgnn.text.linking import EXACT, IMPLIED, PART, STEM
from relgnn.text.pairs import PairLabels
from relgnn.text.pooling import pool_rows
from tests.linkpred.toy import BORN, KNOWS, LIVES, PEOPLE, toy_facts, toy_graph
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


@pytest.fixture
def blank_extractor(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """A language model that says 0 of every row it reads; gives the pairs of those rows."""
    read = []

    class Blank:
        def __init__(self, *args: object, **options: object) -> None: ...

        def read(self, rows: Sequence[object]) -> Sequence[object]:
            return rows

    def zeros(
        encoder: Blank, states: object, pair: np.ndarray, labels: object, folds: object,
        relations: int, *args: object, **options: object,
    ) -> np.ndarray:  # fmt: skip
        read.append(pair)
        return np.zeros((len(pair), 2 * relations), dtype=np.float32)

    monkeypatch.setattr(estep, "SplitEncoder", Blank)
    monkeypatch.setattr(estep, "cross_fit_extractor", zeros)
    return read


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


def test_test_and_hidden_triples_are_not_read() -> None:
    none = np.empty((0, 3), dtype=np.int64)
    held, elsewhere = votes(replace(toy_graph(), test=none, hidden=none, strata=None))
    assert largest_change(held, original()[0]) == 0
    assert largest_change(elsewhere, original()[1]) == 0


def test_a_judgement_keeps_what_it_says_of_given_triples(judgement: Judgement) -> None:
    graph, one = toy_graph(), judgement.given
    assert one is not None
    given = {tuple(t) for t in graph.train.tolist()}
    told = list(zip(one.head.tolist(), one.relation.tolist(), one.tail.tolist(), strict=True))
    assert len(told) == len(set(told)) > 10 and set(told) <= given
    assert ((one.p >= 0) & (one.p <= 1)).all()


def test_label_frequencies_by_relation_stay_those_of_the_first_round() -> None:
    world = toy_world(*EVERYTHING, "loop.label_frequency_by_relation=true")
    first = EStep(world).run(1, Pseudo.none())
    frequency = {name: view["label_frequency"] for name, view in first.report.items()}
    assert all(len(c) == 3 and all(0 < x <= 1 for x in c) for c in frequency.values())
    before = Before(1, first.candidates.triples, first.posteriors.p, frequency)
    again = EStep(world).run(2, Pseudo(first.candidates.triples[:6], np.full(6, 0.5)), before)
    assert {name: view["label_frequency"] for name, view in again.report.items()} == frequency


@pytest.fixture(scope="module")
def judgement() -> Judgement:
    return EStep(toy_world()).run(1, Pseudo.none())


def test_a_judgement_is_of_what_is_not_given(judgement: Judgement) -> None:
    graph = toy_graph()
    given = {tuple(t) for t in graph.train.tolist()}
    judged = [tuple(t) for t in judgement.candidates.triples.tolist()]
    assert not given & set(judged) and len(set(judged)) == len(judged)
    valid = {tuple(t) for t in graph.valid.tolist()}
    assert valid & set(judged)


def test_posteriors_go_with_candidates_and_rules_are_silent(judgement: Judgement) -> None:
    found, posteriors = judgement.candidates, judgement.posteriors
    for name in ("head", "relation", "tail", "fold"):
        assert (getattr(found, name) == getattr(posteriors, name)).all()
    assert np.isnan(posteriors.p_rules).all()
    for p in (posteriors.p, posteriors.p_text, posteriors.p_graph):
        assert ((p >= 0) & (p <= 1)).all()
    assert set(judgement.report) == {"fused", "text", "graph"}


def test_rules_judge_where_they_are_asked() -> None:
    found = EStep(toy_world(RULES)).run(1, Pseudo.none())
    assert set(found.report) == {"fused", "text", "graph", "rules"}
    assert ((found.posteriors.p_rules >= 0) & (found.posteriors.p_rules <= 1)).all()
    assert len(np.unique(found.posteriors.p_rules)) > 5
    step = OpenEStep(toy_world(*EVERYTHING, RULES))
    step.run(1, Pseudo.none())
    assert step.votes.shape[1] == original()[0][next(iter(original()[0]))].size + len(FEATURES)
    alone = OpenEStep(toy_world(*EVERYTHING))
    alone.run(1, Pseudo.none())
    np.testing.assert_array_equal(step.votes[:, : alone.votes.shape[1]], alone.votes)


def test_em_takes_the_graph_for_the_prior(judgement: Judgement) -> None:
    found = EStep(toy_world("loop.weighing=em")).run(1, Pseudo.none())
    assert (found.candidates.triples == judgement.candidates.triples).all()
    np.testing.assert_array_equal(found.posteriors.p_graph, judgement.posteriors.p_graph)
    assert ((found.posteriors.p >= 0) & (found.posteriors.p <= 1)).all()
    assert (found.posteriors.p != judgement.posteriors.p).any()
    assert found.given is not None and (found.given.p == 1).all()
    assert np.isfinite(found.report["em"]["free_energy"])
    # where text and graph are both surer, so is EM
    text, graph = found.posteriors.p_text, found.posteriors.p_graph
    surer = np.flatnonzero((text > np.median(text)) & (graph > np.median(graph)))
    less = np.flatnonzero((text < np.median(text)) & (graph < np.median(graph)))
    assert found.posteriors.p[surer].min() > found.posteriors.p[less].max()


def test_the_evidence_of_a_candidate_speaks_of_its_pair(judgement: Judgement) -> None:
    found, evidence = judgement.candidates, judgement.evidence
    ends = np.sort(np.column_stack([found.head, found.tail]), axis=1)
    spoken = np.column_stack([evidence.pair_head, evidence.pair_tail])[found.pair]
    assert (np.sort(spoken, axis=1) == ends).all()
    sentences = toy_graph().sentences()
    names = toy_graph().entity_names
    for row in np.flatnonzero(evidence.tail_span[:, 0] >= 0)[:20]:
        start, end = evidence.tail_span[row]
        assert sentences[evidence.sentence[row]].text[start:end] == names[evidence.tail[row]]


def test_the_graph_proposes_pairs_that_no_sentence_names(judgement: Judgement) -> None:
    assert judgement.candidates.implied.any() and not judgement.candidates.implied.all()
    alone = EStep(toy_world("loop.implied=0")).run(1, Pseudo.none())
    assert not alone.candidates.implied.any()
    assert alone.evidence.num_pairs < judgement.evidence.num_pairs


def test_each_side_judges_what_the_other_proposes(judgement: Judgement) -> None:
    """The text says something of pairs that the graph proposed, the graph of those of the text."""
    implied, posteriors = judgement.candidates.implied, judgement.posteriors
    for proposer in (implied, ~implied):
        for said in (posteriors.p_text[proposer], posteriors.p_graph[proposer]):
            assert len(said) and np.isfinite(said).all() and np.ptp(said) > 0


@pytest.mark.parametrize("overrides", [(), ("loop.coreference=true",)])
def test_the_record_says_who_proposed_each_pair(overrides: tuple[str, ...], tmp_path: Path) -> None:
    """The graph where no sentence names both, the text elsewhere; read back from the file."""
    world = toy_world(*overrides)
    found = EStep(world).run(1, Pseudo.none())
    nothing = Accepted(np.zeros(0, int), np.zeros(0), np.full(len(found.candidates), "low"))
    write_round(tmp_path, world.graph, world.sentences, found, nothing)
    table = pd.read_parquet(tmp_path / "candidates.parquet")
    linked = find_evidence(
        world.graph, world.sentences, coreference="loop.coreference=true" in overrides
    )
    names = world.graph.entities
    named = {
        frozenset((names[h], names[t]))
        for h, t in zip(linked.pair_head.tolist(), linked.pair_tail.tolist(), strict=True)
    }
    assert set(table["proposer"]) == {"text", "graph"}
    for row in table.itertuples():
        is_named = frozenset((row.head, row.tail)) in named
        assert row.proposer == ("text" if is_named else "graph")


def test_coreference_is_idle_unless_it_is_asked_for() -> None:
    idle = EStep(toy_world()).linked
    before = find_evidence(toy_graph(), toy_graph().sentences())
    assert idle.head_coreferent is None
    for name in ("head", "tail", "sentence", "head_span", "tail_span", "kind", "pair"):
        np.testing.assert_array_equal(getattr(idle, name), getattr(before, name))
    step = EStep(toy_world("loop.coreference=true"))
    assert step.linked.head_coreferent is not None


def test_the_extractors_rows_are_pooled_as_asked(
    blank_extractor: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Pooling] = []

    def spy(logits: np.ndarray, pair: np.ndarray, pairs: int, pooling: Pooling) -> np.ndarray:
        asked.append(pooling)
        return pool_rows(logits, pair, pairs, pooling)

    monkeypatch.setattr(estep, "pool_rows", spy)
    limit = "loop.extractor.max_candidates=60"
    votes(toy_graph(), None, limit)
    votes(toy_graph(), None, limit, "loop.pooling=mean")
    assert asked == ["logsumexp", "mean"]


def test_an_e_step_repeats(judgement: Judgement) -> None:
    again = EStep(toy_world()).run(1, Pseudo.none())
    assert (again.candidates.triples == judgement.candidates.triples).all()
    assert (again.posteriors.p == judgement.posteriors.p).all()


def test_text_finds_what_it_states() -> None:
    """The text's mean logit of what is true and hidden is above that of what is false."""
    facts, strata = toy_facts()
    true = {tuple(t) for t, s in zip(facts.tolist(), strata, strict=True) if s < 2}
    step = OpenEStep(toy_world(*EVERYTHING))
    step.run(1, Pseudo.none())
    given = {tuple(t) for t in toy_graph().train.tolist()}
    rows = [(tuple(t), v[0]) for t, v in zip(step.found.triples.tolist(), step.votes, strict=True)]
    stated = np.mean([v for t, v in rows if t in true - given])
    false = np.mean([v for t, v in rows if t not in true])
    assert stated > false + 0.05


def test_edge_evidence_is_the_pairs_sentences(judgement: Judgement) -> None:
    features, evidence = judgement.features, judgement.evidence
    facts, _ = toy_facts()
    lives = facts[facts[:, 1] == LIVES][0]
    born = facts[facts[:, 1] == BORN][0]
    silent = np.array([[14, KNOWS, 15]])
    found = edge_evidence(features, np.concatenate([[lives, born], silent]))
    row = np.flatnonzero((evidence.pair_head == lives[0]) & (evidence.pair_tail == lives[2]))
    assert torch.equal(found[0], features.sentence[int(row[0])])
    assert found[1].abs().sum() > 0
    assert not found[2].any()


def test_edge_evidence_takes_the_other_page_where_the_heads_is_silent(
    judgement: Judgement,
) -> None:
    features = judgement.features
    town = len(PEOPLE)
    only_there = [
        (h, t)
        for h, t in zip(features.head.tolist(), features.tail.tolist(), strict=True)
        if h >= town
    ]
    town_, person = only_there[0]
    found = edge_evidence(features, np.array([[town_, LIVES, person], [person, LIVES, town_]]))
    assert found.abs().sum(1).min() > 0


def test_a_later_round_keeps_the_first_ones_label_frequency_and_hears_those_before() -> None:
    world = toy_world(*EVERYTHING)
    alone = EStep(world).run(1, Pseudo.none())
    frequency = {name: view["label_frequency"] for name, view in alone.report.items()}
    before = Before(1, alone.candidates.triples, alone.posteriors.p, frequency)
    labels = Pseudo(alone.candidates.triples[:6], np.full(6, 0.5))
    again = EStep(world).run(2, labels, before)
    assert {name: view["label_frequency"] for name, view in again.report.items()} == frequency
    moved = Before(1, before.triples, np.full(len(before.p), 0.999), frequency)
    raised = EStep(world).run(2, labels, moved)
    assert (raised.candidates.triples == again.candidates.triples).all()
    assert (raised.posteriors.p > again.posteriors.p).mean() > 0.9
    np.testing.assert_array_equal(raised.posteriors.p_text, again.posteriors.p_text)
