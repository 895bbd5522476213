"""Planted sentences: false triples of the right kind, said in real words."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from relgnn.data import KnowledgeGraph, Text
from relgnn.errors import InputError
from relgnn.loop import poison
from relgnn.loop.poison import (
    STYLES,
    Poison,
    Statement,
    pair_conviction,
    plant,
    statements,
)
from relgnn.runtime import rng
from relgnn.text.evidence import encode_corpus, find_evidence, pool_evidence
from relgnn.text.linking import EXACT
from relgnn.text.pairs import PairLabels, PairSettings, fit_pairs, score_pairs
from tests.linkpred.toy import BORN, KNOWS, NAMES, PEOPLE, HashEncoder, toy_graph

COPIES = (1, 3)
WORDS = ("was born in", "first saw the light in", "grew up in", "has a birthplace called")


@cache
def world() -> KnowledgeGraph:
    """The toy world, in which texts say in several words who was born where."""
    graph = toy_graph()
    born = [(h, t) for h, r, t in graph.filter_triples("test").tolist() if r == BORN]
    texts = tuple(
        Text(f"more-{i}", f"{NAMES[h]} {WORDS[i % len(WORDS)]} {NAMES[t]}.", h)
        for i, (h, t) in enumerate(born)
    )
    return replace(graph, texts=(*graph.texts, *texts))


def known() -> dict[int, list[Statement]]:
    graph = world()
    return statements(graph, graph.sentences(), find_evidence(graph, graph.sentences()))


def planted(targets: int = 3, seed: int = 0, **options: object) -> Poison:
    graph = world()
    evidence = find_evidence(graph, graph.sentences())
    return plant(graph, evidence, known(), targets, COPIES, rng("toy poison", seed), **options)


def texts_of(found: Poison, target: int) -> list[str]:
    return [text.text for text in found.texts if text.id.startswith(f"planted-{target}-")]


def test_other_names_take_the_places_of_both_ends() -> None:
    one = Statement("In Bonn, Ada was born.", head=(9, 12), tail=(3, 7))
    assert one.about("Ben", "New York") == "In New York, Ben was born."
    assert Statement("ada sings", (0, 3), (4, 9)).about("ben", "plays") == "Ben plays"


def test_statements_name_both_ends_of_a_true_triple() -> None:
    found = known()
    true = {tuple(t) for t in world().filter_triples("test").tolist()}
    assert BORN in found
    for relation, own in found.items():
        for one in own:
            head, tail = one.text[slice(*one.head)], one.text[slice(*one.tail)]
            assert (NAMES.index(head), relation, NAMES.index(tail)) in true


def test_half_a_name_is_no_name() -> None:
    graph = toy_graph()
    pairs = {(h, t) for h, r, t in graph.train.tolist() if r == BORN}
    head, tail = min(pairs)
    said = f"{NAMES[head]} Smith was born in {NAMES[tail]}.", f"{NAMES[head]} loves {NAMES[tail]}."
    graph = replace(graph, texts=tuple(Text(str(i), x, head) for i, x in enumerate(said)))
    found = statements(graph, graph.sentences(), find_evidence(graph, graph.sentences()))
    assert [one.text for one in found[BORN]] == [said[1]]


def test_targets_are_false_and_of_the_right_kind() -> None:
    found, graph = planted(), world()
    true = graph.filter_triples("test")
    evidence = find_evidence(graph, graph.sentences())
    joined = {tuple(sorted(pair)) for pair in true[:, [0, 2]].tolist()}
    joined |= set(zip(evidence.pair_head.tolist(), evidence.pair_tail.tolist(), strict=True))
    assert len(found) == 3 * len(COPIES)
    assert len(set(found.triples[:, 0].tolist())) == len(found)
    for h, r, t in found.triples.tolist():
        own = graph.train[graph.train[:, 1] == r]
        assert h in own[:, 0] and t in own[:, 2]
        assert not {(h, t), (t, h)} & joined
    assert found.copies.tolist() == [1] * 3 + [3] * 3
    assert found.style == STYLES * 2


def test_a_head_shares_a_type_with_one_that_has_the_tail() -> None:
    graph = world()
    types = (("smith",),) * 10 + (("baker",),) * 10 + graph.types[20:]
    graph = replace(graph, types=types)
    evidence = find_evidence(graph, graph.sentences())
    found = plant(graph, evidence, known(), 4, (1,), rng("typed poison", 0))
    for h, r, t in found.triples.tolist():
        like = [x for x, y, z in graph.train.tolist() if (y, z) == (r, t)]
        assert set(types[h]) & {one for x in like for one in types[x]}


def test_styles_say_it_as_they_promise() -> None:
    found = planted()
    repeated, one_text, paraphrased = (texts_of(found, 3 + i) for i in range(3))
    assert len(repeated) == 3 and len(set(repeated)) == 1
    assert len(one_text) == 1
    assert len(paraphrased) == len(set(paraphrased)) == 3
    for target, (h, _, t) in enumerate(found.triples.tolist()):
        for text in texts_of(found, target):
            assert NAMES[h] in text and NAMES[t] in text
    heads = {text.id: text.entity for text in found.texts}
    for target, head in enumerate(found.triples[:, 0].tolist()):
        assert heads[f"planted-{target}-0"] == head


def test_planted_sentences_are_linked_and_nothing_else_changes() -> None:
    found, graph = planted(), world()
    after = found.into(graph)
    assert after.texts[: len(graph.texts)] == graph.texts
    assert after.node_texts() == graph.node_texts()
    sentences = after.sentences()
    assert len(sentences) == len(graph.sentences()) + found.copies.sum()
    evidence = find_evidence(after, sentences)
    for (h, _, t), count in zip(found.triples.tolist(), found.copies.tolist(), strict=True):
        rows = (evidence.head == h) & (evidence.tail == t) & (evidence.kind == EXACT)
        assert rows.sum() == count


def test_the_seed_alone_decides() -> None:
    one, same, other = planted(), planted(), planted(seed=1)
    assert one.texts == same.texts and (one.triples == same.triples).all()
    assert one.texts != other.texts


def test_the_most_convincing_come_first() -> None:
    def longest(triples: np.ndarray, said: list[str]) -> np.ndarray:
        assert len(triples) == len(said)
        return np.array([len(text) for text in said], dtype=float)

    found, asked = planted(convincing=longest), planted()
    assert (found.triples == asked.triples).all()
    for target in range(3, 6):
        # the same pool, in another order
        lengths = [len(text) for text in texts_of(found, target)]
        assert lengths == sorted(lengths, reverse=True)
        assert max(lengths) >= max(len(text) for text in texts_of(asked, target))


def test_conviction_is_the_pair_models_logit_of_the_sentence_alone() -> None:
    graph, encoder = world(), HashEncoder()
    sentences = graph.sentences()
    evidence = find_evidence(graph, sentences)
    features = pool_evidence(
        sentences, evidence, encode_corpus(graph, sentences, evidence, encoder)
    )
    labels = PairLabels.match(features, graph.train, np.ones(len(graph.train)), 3)
    every = np.arange(len(features))
    model = fit_pairs(features, labels, every, 3, PairSettings(epochs=2), 0)
    triple, text = np.array([[0, BORN, 25]]), f"{NAMES[0]} was born in {NAMES[25]}."
    believed = pair_conviction(model, graph, encoder)
    values = believed(triple.repeat(3, axis=0), [text, "Nobody is named here.", text])
    alone = replace(graph, texts=(Text("0", text, 0),))
    linked = find_evidence(alone, alone.sentences())
    vectors = encode_corpus(alone, alone.sentences(), linked, encoder)
    # node texts are those of the whole graph
    vectors = replace(vectors, node=encoder.encode(graph.node_texts()))
    logits = score_pairs(model, pool_evidence(alone.sentences(), linked, vectors), np.arange(1))
    np.testing.assert_allclose(values[[0, 2]], logits[0, BORN], rtol=1e-5)
    assert values[1] == -np.inf


def test_too_many_targets_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poison, "TRIES", 50)
    with pytest.raises(InputError, match="toy: has no more false triples to plant 3 different"):
        planted(targets=len(PEOPLE))


def test_a_relation_that_no_sentence_states_is_no_target() -> None:
    found = known()
    assert len(found.get(KNOWS, ())) < max(COPIES)
    assert KNOWS not in planted().triples[:, 1]
