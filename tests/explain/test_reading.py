"""Posteriors with views silent and sentences gone: shares add up, and nothing gone is the run."""

from __future__ import annotations

import numpy as np
import pytest

from relgnn.errors import InputError
from relgnn.explain.reading import Rereading, Triple
from relgnn.explain.shapley import PAIRS
from relgnn.loop.candidates import fusion_extra
from relgnn.loop.opened import OpenRun
from relgnn.loop.records import evidence_id
from relgnn.loop.views import UNSEEN, bounded, probability
from relgnn.posterior.fusion import logit
from relgnn.text.evidence import edge_evidence, pool_evidence
from relgnn.text.pairs import score_pairs


def judged(opened: OpenRun, reading: Rereading, sentences: int) -> list[Triple]:
    """Judged triples, the likeliest first, that so many sentences speak of at least."""
    table = opened.explainer.table
    assert table is not None
    rows = np.argsort(-table.p)
    triples = [tuple(table.triples[row].tolist()) for row in rows]
    return [one for one in triples if len(reading.speaking(one)) >= sentences]


def test_shares_of_views_add_up_to_the_difference(opened: OpenRun, reading: Rereading) -> None:
    for triple in judged(opened, reading, 1)[:20]:
        found = reading.views(triple)
        assert found.players == ("text", "graph")
        total = found.shapley.full - found.shapley.empty
        assert found.shapley.values.sum() == pytest.approx(total, abs=1e-9)
        assert (found.shapley.error == 0).all()


def test_all_views_are_the_posterior_by_the_calibrator(opened: OpenRun, reading: Rereading) -> None:
    found, votes = reading.votes.candidates, reading.votes.by_view
    p = probability(
        opened.text_model.views["fused"], np.column_stack(list(votes.values())),
        fusion_extra(opened.graph, found, 2), found.relation, np.zeros(len(found), dtype=bool),
    )  # fmt: skip
    for row in range(0, len(found), 40):
        triple = tuple(found.triples[row].tolist())
        assert reading.views(triple).shapley.full == pytest.approx(bounded(p[[row]])[0])


def test_shares_of_sentences_add_up_to_the_difference(opened: OpenRun, reading: Rereading) -> None:
    triples = judged(opened, reading, 2)
    assert triples
    moved = 0.0
    for triple in triples[:20]:
        found = reading.by_sentence(triple)
        assert len(found.players) == len(reading.speaking(triple)) >= 2
        total = found.shapley.full - found.shapley.empty
        assert found.shapley.values.sum() == pytest.approx(total, abs=1e-9)
        moved += np.abs(found.shapley.values).sum()
        for name, number in zip(found.players, reading.speaking(triple), strict=True):
            assert name == evidence_id(reading.sentences[number])
    assert moved > 0.1


def test_without_any_sentence_the_text_is_silent(opened: OpenRun, reading: Rereading) -> None:
    triple = judged(opened, reading, 2)[0]
    row = reading._row[triple]
    votes = {name: x[[row]] for name, x in reading.votes.by_view.items()}
    votes["text"] = np.full((1, 2), np.nan)
    alone = reading._odds(row, np.column_stack(list(votes.values())))
    assert reading.by_sentence(triple).shapley.empty == pytest.approx(alone[0])


def test_all_sentences_are_read_as_the_whole_corpus_is(opened: OpenRun, reading: Rereading) -> None:
    """The pair model's logits over the pooled corpus, both ways round, are what it reads again."""
    evidence, model = reading.evidence, opened.text_model.pairs
    features = pool_evidence(reading.sentences, evidence, reading._step.vectors)
    logits = score_pairs(model, features, np.arange(evidence.num_pairs))
    relations = opened.graph.num_relations
    ends = list(zip(evidence.pair_head.tolist(), evidence.pair_tail.tolist(), strict=True))
    number = {pair: row for row, pair in enumerate(ends)}
    for triple in judged(opened, reading, 2)[:10]:
        head, relation, tail = triple
        both = [
            logits[number[pair], output]
            for pair, output in (((head, tail), relation), ((tail, head), relation + relations))
            if pair in number
        ]
        everything = np.ones((1, len(reading.speaking(triple))), dtype=bool)
        read = reading._text_votes(triple, reading._row[triple], everything)
        assert read[0, 0] == pytest.approx(max(both), abs=1e-4)


def test_coalitions_do_not_disturb_one_another(opened: OpenRun, reading: Rereading) -> None:
    triple = judged(opened, reading, 2)[0]
    count = len(reading.speaking(triple))
    coalitions = np.random.default_rng(0).random((12, count)) < 0.5
    together = reading.odds(triple, coalitions)
    alone = [reading.odds(triple, one[None])[0] for one in coalitions]
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert (np.abs(together) <= logit(np.array(1 - UNSEEN)) + 1e-9).all()


def test_coalitions_are_read_in_parts_as_all_at_once(
    opened: OpenRun, reading: Rereading, monkeypatch: pytest.MonkeyPatch
) -> None:
    triple = judged(opened, reading, 2)[0]
    coalitions = np.random.default_rng(1).random((9, len(reading.speaking(triple)))) < 0.6
    coalitions[0] = False
    whole = reading.odds(triple, coalitions)
    for most in (1, 4):
        monkeypatch.setattr("relgnn.explain.reading.AT_ONCE", most)
        np.testing.assert_allclose(reading.odds(triple, coalitions), whole, atol=1e-4)


def test_the_more_sentences_the_fewer_orders(
    opened: OpenRun, reading: Rereading, monkeypatch: pytest.MonkeyPatch
) -> None:
    triple, drawn = judged(opened, reading, 2)[0], []

    def drawing(*args: object, pairs: int) -> None:
        drawn.append(pairs)

    monkeypatch.setattr("relgnn.explain.reading.shapley", drawing)
    rows, players = len(reading._rows(triple)), len(reading.speaking(triple))
    for pairs in (PAIRS, 2 * PAIRS, 9, 1):
        monkeypatch.setattr("relgnn.explain.reading.ALTOGETHER", pairs * rows * (players + 1))
        reading.by_sentence(triple)
    assert drawn == [PAIRS, PAIRS, 9, 2]


def test_the_text_of_edges_is_the_runs_where_nothing_is_gone(
    opened: OpenRun, reading: Rereading
) -> None:
    learned = opened.learned
    assert learned.edge_text is not None
    triples = np.concatenate([opened.graph.train, learned.pseudo.triples])
    found = reading.edge_text(triples, np.zeros(0, dtype=np.int64))
    np.testing.assert_allclose(found, learned.edge_text.numpy(), atol=1e-3)
    features = pool_evidence(reading.sentences, reading.evidence, reading._step.vectors)
    np.testing.assert_allclose(found, edge_evidence(features, triples).numpy(), atol=1e-6)
    everything = np.arange(len(reading.sentences))
    assert not reading.edge_text(triples, everything).any()


def test_what_was_not_judged_has_no_shares(opened: OpenRun, reading: Rereading) -> None:
    triple = (0, 0, 0)
    assert not reading.judged(triple)
    for ask in (reading.views, reading.by_sentence):
        with pytest.raises(InputError, match="is no candidate of the last round"):
            ask(triple)
