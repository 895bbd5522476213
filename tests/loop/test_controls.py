"""Controls keep what they say and lose the rest; accepted triples are used as configured."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from relgnn.config import LoopConfig, MemoryConfig
from relgnn.data import KnowledgeGraph
from relgnn.loop.controls import (
    comention,
    entity_kinds,
    one_of_pairs,
    oracle,
    random_pairs,
    shuffled,
    supervise,
    target_weights,
)
from relgnn.loop.pseudo import Pseudo, Role
from relgnn.runtime import rng
from tests.linkpred.toy import PEOPLE, toy_facts, toy_graph


@pytest.fixture(scope="module")
def graph() -> KnowledgeGraph:
    return toy_graph()


@pytest.fixture(scope="module")
def pseudo(graph: KnowledgeGraph) -> Pseudo:
    triples = np.concatenate([graph.hidden, graph.test])
    return Pseudo(triples, np.linspace(0.3, 1, len(triples)))


def signature(triple: list[int]) -> tuple[bool, bool]:
    return triple[0] < len(PEOPLE), triple[2] < len(PEOPLE)


def test_shuffled_keeps_pairs_and_counts_of_relations_by_signature(
    graph: KnowledgeGraph, pseudo: Pseudo
) -> None:
    other = shuffled(pseudo, graph, rng("test", 0))
    assert (other.triples[:, [0, 2]] == pseudo.triples[:, [0, 2]]).all()
    assert (other.weight == pseudo.weight).all()
    assert (other.triples[:, 1] != pseudo.triples[:, 1]).any()

    def counts(of: Pseudo) -> Counter[tuple[object, int]]:
        return Counter((signature(t), t[1]) for t in of.triples.tolist())

    assert counts(other) == counts(pseudo)


def test_shuffled_without_types_keeps_counts_overall(graph: KnowledgeGraph, pseudo: Pseudo) -> None:
    untyped = replace(graph, types=())
    other = shuffled(pseudo, untyped, rng("test", 0))
    assert Counter(other.triples[:, 1].tolist()) == Counter(pseudo.triples[:, 1].tolist())


def test_a_kind_is_the_commonest_type_and_rare_types_are_none(graph: KnowledgeGraph) -> None:
    fine = [("rare", "person", "human")] + [("human", "person")] * 14 + [("human",)] * 5
    types = (*fine, *[("town",)] * 5, ("lone",))
    kinds = entity_kinds(replace(graph, types=types))
    assert kinds == ["human"] * 20 + ["town"] * 5 + [""]
    assert entity_kinds(replace(graph, types=())) == [""] * 26


def test_random_pairs_keep_degrees_by_relation(pseudo: Pseudo) -> None:
    other = random_pairs(pseudo, rng("test", 0))
    for column in (0, 2):
        before = Counter(map(tuple, pseudo.triples[:, [1, column]].tolist()))
        assert Counter(map(tuple, other.triples[:, [1, column]].tolist())) == before
    assert (other.triples[:, 2] != pseudo.triples[:, 2]).any()


def test_controls_repeat_with_their_stream(graph: KnowledgeGraph, pseudo: Pseudo) -> None:
    for control in (lambda g: shuffled(pseudo, graph, g), lambda g: random_pairs(pseudo, g)):
        one, two = control(rng("test", 0)), control(rng("test", 0))
        assert (one.triples == two.triples).all()


def test_comention_has_one_relation_of_its_own(pseudo: Pseudo, graph: KnowledgeGraph) -> None:
    other = comention(pseudo, graph.num_relations)
    assert set(other.triples[:, 1].tolist()) == {graph.num_relations}
    assert (other.triples[:, [0, 2]] == pseudo.triples[:, [0, 2]]).all()


def test_pairs_without_a_type_stay_so_when_relations_are_shuffled(
    graph: KnowledgeGraph, pseudo: Pseudo
) -> None:
    both = pseudo.join(comention(pseudo, graph.num_relations).as_role(Role.CONNECTED))
    other = shuffled(both, graph, rng("test", 0))
    assert (other.triples[len(pseudo) :] == both.triples[len(pseudo) :]).all()
    assert (other.of(Role.ACCEPTED).triples[:, 1] != pseudo.triples[:, 1]).any()


def test_the_oracle_has_all_that_some_text_says_and_is_not_given(graph: KnowledgeGraph) -> None:
    facts, strata = toy_facts()
    given = {tuple(t) for t in graph.train.tolist()}
    told = {tuple(t) for t, s in zip(facts.tolist(), strata.tolist(), strict=True) if s < 2} - given
    found = oracle(graph, graph.train)
    assert {tuple(t) for t in found.triples.tolist()} == told
    assert len(found) == len(told) and (found.weight == 1).all()


def test_the_oracle_needs_strata(graph: KnowledgeGraph) -> None:
    with pytest.raises(ValueError, match="strata"):
        oracle(replace(graph, strata=None), graph.train)


@pytest.mark.parametrize("context", [True, False])
@pytest.mark.parametrize("targets", [True, False])
def test_switches_of_context_and_targets(
    graph: KnowledgeGraph, pseudo: Pseudo, context: bool, targets: bool
) -> None:
    loop = LoopConfig(context=context, targets=targets, target_weight=0.5)
    gold, all_ = len(graph.train), len(graph.train) + len(pseudo)
    evidence = torch.arange(all_, dtype=torch.float32)[:, None]
    made = supervise(graph.train, pseudo, loop, evidence)
    both = np.concatenate([graph.train, pseudo.triples])
    accepted = torch.from_numpy(pseudo.weight).float()
    assert (made.targets.numpy() == (both if targets else graph.train)).all()
    assert (made.context.numpy() == (both if context else graph.train)).all()
    assert (made.target_weight[:gold] == 1).all() and (made.context_weight[:gold] == 1).all()
    if targets:
        torch.testing.assert_close(made.target_weight[gold:], accepted / 2)
    if context:
        torch.testing.assert_close(made.context_weight[gold:], accepted)
    assert made.evidence is not None
    assert torch.equal(made.evidence, evidence if context else evidence[:gold])
    made.message_graph(graph.num_entities, graph.num_relations)


def test_nothing_accepted_is_gold(graph: KnowledgeGraph) -> None:
    made = supervise(graph.train, Pseudo.none(), LoopConfig())
    assert (made.targets.numpy() == graph.train).all() and made.evidence is None
    assert (made.target_weight == 1).all()


POSTERIORS = st.lists(st.floats(0.001, 1), min_size=1, max_size=9)


@given(POSTERIORS)
def test_target_weights_by_their_definitions(p: list[float]) -> None:
    row = np.array(p)
    half = np.full(len(row), 0.5)
    soft = Pseudo(np.zeros((len(row), 3), dtype=np.int64), half, p=row)
    assert target_weights(replace(soft, weight=row), "posterior") is row
    assert target_weights(soft, "posterior") is half
    assert (target_weights(soft, "uniform") == 1).all()
    found = target_weights(soft, "logit")
    for one, weight in zip(p, found.tolist(), strict=True):
        odds = np.log(one / (1 - one)) if one < 1 else np.inf
        assert weight == pytest.approx(min(max(odds, 0) / np.log(0.999 / 0.001), 1))
    order = np.argsort(row, kind="stable")
    assert (np.diff(found[order]) >= 0).all()


@given(POSTERIORS, st.floats(0, 1))
def test_a_target_below_the_floor_goes_and_its_context_stays(p: list[float], floor: float) -> None:
    triples = np.stack([np.arange(len(p))] * 3, 1)
    text = np.linspace(0, 1, len(p))
    given_ = np.array([[20, 1, 21], [21, 0, 20]])
    loop = LoopConfig(target_floor=floor, target_weight=0.5, context_weight=2.0)
    made = supervise(given_, Pseudo(triples, np.array(p), text), loop)
    kept = [i for i, posterior in enumerate(p) if posterior >= floor]
    assert made.targets[2:, 0].tolist() == kept
    assert made.pseudo is not None and made.pseudo.tolist() == [False] * 2 + [True] * len(kept)
    assert made.p_text is not None and made.p_text[:2].isnan().all()
    torch.testing.assert_close(made.p_text[2:], torch.tensor(text[kept]).float())
    torch.testing.assert_close(made.target_weight[2:], torch.tensor(p)[kept] / 2)
    assert len(made.context) == 2 + len(p)
    torch.testing.assert_close(made.context_weight[2:], 2 * torch.tensor(p))


def test_weights_weigh_and_probabilities_are_believed(
    graph: KnowledgeGraph, pseudo: Pseudo
) -> None:
    """Of selector soft they differ: what it finds likelier than most weighs 1."""
    size, gold = len(pseudo), len(graph.train)
    soft = replace(pseudo, weight=np.ones(size))
    loop = LoopConfig(target_weight=0.5, target_floor=0.5, memory=MemoryConfig())
    made, p = supervise(graph.train, soft, loop), torch.from_numpy(pseudo.p)
    kept = p >= 0.5
    assert 0 < kept.sum() < size
    assert made.p is not None and made.told_p is not None
    torch.testing.assert_close(made.p[gold:], p[kept].float())
    torch.testing.assert_close(made.told_p, p)
    assert (made.target_weight[gold:] == 0.5).all() and (made.context_weight == 1).all()
    first = [pseudo.triples[0, 0], 9, pseudo.triples[0, 2]]
    surer = soft.join(Pseudo(np.array([first]), np.ones(1), p=np.array([0.4])))
    assert size in one_of_pairs(surer) and 0 not in one_of_pairs(surer)


def test_context_without_weight_sends_nothing(graph: KnowledgeGraph, pseudo: Pseudo) -> None:
    silent = supervise(graph.train, pseudo, LoopConfig(context_weight=0.0))
    assert not silent.context_weight[len(graph.train) :].any()
    messages = silent.message_graph(graph.num_entities, graph.num_relations)
    assert not messages.edge_weight[len(graph.train) :].any()
    assert torch.equal(
        silent.target_weight, supervise(graph.train, pseudo, LoopConfig()).target_weight
    )


def test_without_accepted_targets_all_are_given(graph: KnowledgeGraph, pseudo: Pseudo) -> None:
    made = supervise(graph.train, pseudo, LoopConfig(targets=False))
    assert made.pseudo is None and made.p_text is None


def test_the_texts_word_goes_with_what_is_permuted_and_not_with_untyped_pairs(
    graph: KnowledgeGraph, pseudo: Pseudo
) -> None:
    heard = replace(pseudo, p_text=np.linspace(0, 1, len(pseudo)))
    other = shuffled(heard, graph, rng("test", 0))
    assert other.p_text is heard.p_text
    assert comention(heard, graph.num_relations).p_text is None
