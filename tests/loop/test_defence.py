"""The defence: repeats count once, a burst counts for nothing, and text alone goes so far."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from relgnn.config import DefenceConfig
from relgnn.data import KnowledgeGraph, Text
from relgnn.loop.defence import (
    ShingleIndex,
    bounded_influence,
    bursts,
    independent,
    shingles,
)
from relgnn.loop.estep import EStep, Judgement
from relgnn.loop.pseudo import Pseudo
from relgnn.posterior.fusion import logit
from relgnn.text.evidence import Evidence, PairFeatures, encode_corpus, find_evidence, pool_evidence
from tests.linkpred.toy import NAMES, PEOPLE, HashEncoder, toy_graph
from tests.loop.toy import toy_world

DEFENCE = DefenceConfig()
HEAD, TAIL = 0, NAMES.index("Zagolt")
SAYS = (
    "Abra grew up by the harbour of Zagolt.",
    "The mayor of Zagolt gave Abra a medal.",
    "Every summer Abra returns to Zagolt with friends.",
    "In Zagolt they still speak of Abra.",
    "Abra bought the old mill near Zagolt.",
    "Half of Zagolt came to hear Abra sing.",
)

ELSEWHERE = tuple(
    Text(f"elsewhere-{i}", f"{name} sings.", None) for i, name in enumerate(PEOPLE[1:] * 4)
)
"""A corpus large enough that no two entities meet in it by chance."""


def with_texts(*said: str, apart: bool = True) -> KnowledgeGraph:
    """The toy world and what is said of Abra, a text each or all in one."""
    graph = toy_graph()
    pieces = said if apart else (" ".join(said),)
    planted = (Text(f"planted-{i}", text, HEAD) for i, text in enumerate(pieces))
    return replace(graph, texts=(*graph.texts, *planted, *ELSEWHERE))


def defended(graph: KnowledgeGraph, config: DefenceConfig = DEFENCE) -> Evidence:
    return independent(find_evidence(graph, graph.sentences()), graph.sentences(), config)


def pooled(graph: KnowledgeGraph, evidence: Evidence) -> PairFeatures:
    sentences = graph.sentences()
    vectors = encode_corpus(graph, sentences, evidence, HashEncoder())
    return pool_evidence(sentences, evidence, vectors)


def of_pair(graph: KnowledgeGraph, config: DefenceConfig = DEFENCE) -> list[torch.Tensor]:
    """What a pair model reads of the sentences of the planted pair."""
    features = pooled(graph, defended(graph, config))
    row = [(h, t) for h, t in zip(features.head.tolist(), features.tail.tolist(), strict=True)]
    place = row.index((HEAD, TAIL))
    return [
        getattr(features, name)[place]
        for name in ("sentence", "head_mention", "tail_mention", "shape")
    ]


def counted(graph: KnowledgeGraph, config: DefenceConfig = DEFENCE) -> set[str]:
    """Sentences of the planted pair that count."""
    evidence, sentences = defended(graph, config), graph.sentences()
    own = (evidence.head == HEAD) & (evidence.tail == TAIL)
    return {sentences[s].text for s in evidence.sentence[own].tolist()}


def test_shingles_are_words_in_a_row_whatever_their_case() -> None:
    assert shingles("Abra was Born in Zagolt.") == {
        ("abra", "was", "born"), ("was", "born", "in"), ("born", "in", "zagolt."),
    }  # fmt: skip
    assert shingles("In Zagolt") == {("in", "zagolt")}
    assert shingles("...") == {()}
    index = ShingleIndex()
    assert index.similarity(shingles("A b c e")) == 0
    for text in ("a b c d", "a b c d f g", "x"):
        index.add(shingles(text))
    assert index.similarity(shingles("A b c e")) == pytest.approx(1 / 3)
    assert index.similarity(shingles("y")) == 0
    assert index.similarity(shingles("X")) == 1


@given(copies=st.integers(1, 12), which=st.integers(0, len(SAYS) - 1))
@settings(max_examples=15, deadline=None)
def test_copies_are_worth_one_sentence(copies: int, which: int) -> None:
    once, often = with_texts(SAYS[which]), with_texts(*[SAYS[which]] * copies)
    for one, many in zip(of_pair(once), of_pair(often), strict=True):
        assert torch.equal(one, many)


def test_a_few_other_words_do_not_make_another_sentence() -> None:
    long = "Abra spent the last years of a long life as a gardener in the town of Zagolt"
    assert len(counted(with_texts(f"{long}.", f"{long}, people say."))) == 1
    assert len(counted(with_texts(*SAYS))) == len(SAYS)


@given(per_text=st.integers(1, 8))
@settings(max_examples=8, deadline=None)
def test_one_text_counts_so_often_at_most(per_text: int) -> None:
    config = DefenceConfig(per_text=per_text)
    said = counted(with_texts(*SAYS, apart=False), config)
    assert said == set(SAYS[:per_text])
    assert len(counted(with_texts(*SAYS), config)) == len(SAYS)


@given(order=st.permutations(range(len(SAYS) + 3)), copies=st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_the_order_of_texts_changes_nothing(order: list[int], copies: int) -> None:
    pieces = [*SAYS, *[SAYS[0]] * copies, *SAYS[1:3]][: len(order)]
    graph, turned = with_texts(*pieces), with_texts(*pieces)
    pages = len(toy_graph().texts)
    own = turned.texts[pages : pages + len(pieces)]
    moved = tuple(own[i] for i in order if i < len(own))
    turned = replace(turned, texts=(*turned.texts[:pages], *moved, *ELSEWHERE))
    config = DefenceConfig(per_text=2)
    assert counted(graph, config) == counted(turned, config)
    for one, other in zip(of_pair(graph, config), of_pair(turned, config), strict=True):
        torch.testing.assert_close(one, other)
    for burst in (0.5, 2.5):
        first = bursts(defended(graph), graph.sentences(), burst)
        assert first == bursts(defended(turned), turned.sentences(), burst)


def test_every_pair_keeps_a_sentence() -> None:
    graph = with_texts(*SAYS, *SAYS)
    evidence = find_evidence(graph, graph.sentences())
    strict = independent(evidence, graph.sentences(), DefenceConfig(similarity=0.01, per_text=1))
    assert set(strict.pair.tolist()) == set(range(evidence.num_pairs))
    assert len(strict.pair) < len(evidence.pair)


def test_a_burst_is_more_texts_than_both_are_named_in_by_chance() -> None:
    pair = (HEAD, TAIL)
    before = {burst for burst in (0.5, 1.5, 2.5, 4.5) if pair in found(with_texts(), burst)}
    assert not before
    assert pair in found(with_texts(*SAYS), 2.5)
    assert pair not in found(with_texts(*SAYS[:2]), 2.5)
    # copies, and many sentences of one text, are one text
    assert pair not in found(with_texts(*[SAYS[0]] * 9), 2.5)
    assert pair not in found(with_texts(*SAYS, apart=False), 2.5)


def found(graph: KnowledgeGraph, burst: float) -> set[tuple[int, int]]:
    return bursts(defended(graph), graph.sentences(), burst)


def test_whom_all_texts_name_together_is_no_burst() -> None:
    """Chance is n_a n_b / n: two that stand in every text are expected together in every one."""
    graph = replace(
        toy_graph(),
        texts=tuple(Text(f"t{i}", f"{SAYS[i]} {NAMES[i + 1]} came too.", HEAD) for i in range(6)),
    )
    assert (HEAD, TAIL) not in found(graph, 0.5)
    assert (HEAD, TAIL) in found(replace(graph, texts=(*graph.texts, *ELSEWHERE)), 0.5)


PROBABILITIES = arrays(float, 6, elements=st.floats(0.001, 0.999))


@given(p=PROBABILITIES, graph=PROBABILITIES, rules=PROBABILITIES, influence=st.floats(0, 5))
def test_text_adds_so_much_to_the_surest_other_view(
    p: np.ndarray, graph: np.ndarray, rules: np.ndarray, influence: float
) -> None:
    burst = np.arange(6) % 2 == 0
    rules[4:] = np.nan
    bounded = bounded_influence(p, [graph, rules], burst, influence)
    surest = np.fmax(logit(graph), logit(rules))
    assert (bounded <= p).all()
    assert (logit(bounded) <= surest + np.where(burst, 0, influence) + 1e-9).all()
    free = logit(p) <= surest + np.where(burst, 0, influence)
    np.testing.assert_array_equal(bounded[free], p[free])


def test_where_no_other_view_speaks_nothing_is_bounded() -> None:
    p, silent = np.array([0.2, 0.9]), np.full(2, np.nan)
    burst = np.ones(2, dtype=bool)
    np.testing.assert_array_equal(bounded_influence(p, [], burst, 0.0), p)
    np.testing.assert_array_equal(bounded_influence(p, [silent], burst, 0.0), p)


@cache
def judged(*overrides: str) -> Judgement:
    return EStep(toy_world("loop.implied=0", *overrides, graph=with_texts(*SAYS))).run(
        1, Pseudo.none()
    )


def test_a_defence_without_teeth_is_none_at_all() -> None:
    """Nothing is alike, no text is too long, no burst, all influence: bit by bit the same."""
    open_ = (
        "loop.defence.similarity=1", "loop.defence.per_text=99", "loop.defence.burst=1e9",
        "loop.defence.influence=100",
    )  # fmt: skip
    plain, toothless = judged(), judged(*open_)
    for name in ("p", "p_text", "p_graph"):
        np.testing.assert_array_equal(
            getattr(plain.posteriors, name), getattr(toothless.posteriors, name)
        )


def test_the_e_step_bounds_what_text_says() -> None:
    strict = judged("loop.defence.influence=0.1")
    said = strict.posteriors
    assert (logit(said.p) <= logit(said.p_graph) + 0.1 + 1e-9).all()
    plain = judged().posteriors
    assert (logit(plain.p) > logit(plain.p_graph) + 0.1).any()


def test_the_e_step_lets_a_burst_say_nothing() -> None:
    strict = judged("loop.defence.influence=50", "loop.defence.burst=2.5").posteriors
    own = (strict.head == HEAD) & (strict.tail == TAIL)
    assert own.any()
    assert (logit(strict.p[own]) <= logit(strict.p_graph[own]) + 1e-9).all()
    assert (logit(strict.p[~own]) > logit(strict.p_graph[~own]) + 1e-9).any()
