"""The E step: what it says of every candidate is what the contract asks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from relgnn.config import Pooling
from relgnn.data import Text
from relgnn.errors import InputError
from relgnn.loop import estep
from relgnn.loop.estep import EStep, Judgement
from relgnn.loop.pseudo import Pseudo
from relgnn.loop.records import write_round
from relgnn.loop.views import Before
from relgnn.posterior.selectors import Accepted
from relgnn.rules.judge import FEATURES
from relgnn.text.evidence import edge_evidence, find_evidence
from relgnn.text.pooling import pool_rows
from tests.linkpred.toy import BORN, KNOWS, LIVES, PEOPLE, toy_facts, toy_graph
from tests.loop.toy import toy_world
from tests.loop.voting import (
    EVERYTHING,
    RULES,
    OpenEStep,
    original,
    votes,
)


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


@pytest.mark.parametrize(("count", "told"), [(0, "of no pairs"), (1, "of 1 pair of entities")])
def test_texts_that_teach_too_little_are_refused(count: int, told: str) -> None:
    graph = toy_graph()
    names, (head, _, tail) = graph.entity_names, graph.train[0].tolist()
    said = ["It rained.", f"{names[head]} was seen in {names[tail]}."][: count + 1]
    texts = tuple(Text(f"note-{i}", one, None) for i, one in enumerate(said))
    world = toy_world("loop.implied=0", graph=replace(graph, texts=texts))
    with pytest.raises(InputError, match=rf"toy: the texts speak {told}.*; give texts that name"):
        EStep(world).run(1, Pseudo.none())


def test_candidates_of_which_too_few_are_given_are_refused() -> None:
    world = toy_world()
    step = EStep(world)
    found = step.run(1, Pseudo.none()).candidates  # of what is not given
    with pytest.raises(InputError, match=r"^0 of \d+ candidate triples are given, .*loop.candid"):
        step._require_given(found)
