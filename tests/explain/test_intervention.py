"""Evidence taken out of a run: nothing gone is the run, and what is gone takes its effect along."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from relgnn.errors import InputError
from relgnn.explain.intervention import Intervention
from relgnn.explain.reading import Triple
from relgnn.explain.target import triples_of
from relgnn.gnn.graph import MessageGraph
from relgnn.loop.opened import OpenRun
from relgnn.loop.records import evidence_id
from relgnn.loop.views import UNSEEN
from relgnn.training import load_tensors, module_tensors

NOTHING = np.zeros(0, dtype=np.int64)


def accepted(opened: OpenRun, intervention: Intervention) -> list[Triple]:
    """Accepted triples that sentences speak of, the surest first."""
    table = intervention.table
    rows = np.argsort(-table.accepted)[: int((table.accepted > 0).sum())]
    triples = [tuple(table.triples[row].tolist()) for row in rows]
    return [one for one in triples if len(intervention.reading.speaking(one))]


def edges(graph: MessageGraph) -> dict[tuple[int, ...], tuple[float, tuple[float, ...]]]:
    """What a context has: triples, their weights and the beginning of their text."""
    assert graph.evidence is not None and graph.evidence_index is not None
    text = torch.cat([graph.evidence, graph.evidence.new_zeros(1, graph.evidence.shape[1])])
    own = text[graph.evidence_index][:, :4]
    return {
        tuple(triple): (round(weight, 5), tuple(round(x, 3) for x in vector))
        for triple, weight, vector in zip(
            triples_of(graph).tolist(), graph.edge_weight.tolist(), own.tolist(), strict=True
        )
    }


def test_without_nothing_the_world_is_as_it_was(
    opened: OpenRun, intervention: Intervention
) -> None:
    assert len(opened.learned.pseudo)
    for outcome in (intervention.without(NOTHING), intervention.revoked([])):
        assert outcome.changes == ()
        assert edges(outcome.fitted.graph) == edges(opened.fitted.graph)
        assert outcome.fitted.model is opened.fitted.model


def test_trained_anew_without_nothing_it_is_the_same_model(
    opened: OpenRun, intervention: Intervention
) -> None:
    again = intervention.without(NOTHING, retrain=True).fitted
    kept = load_tensors(opened.folder / "checkpoint.safetensors")[0]
    for name, tensor in module_tensors(again.model).items():
        torch.testing.assert_close(tensor, kept[name], atol=1e-5, rtol=1e-4)


def test_without_all_its_sentences_a_triple_is_no_candidate(
    opened: OpenRun, intervention: Intervention
) -> None:
    triple = accepted(opened, intervention)[0]
    outcome = intervention.without(intervention.reading.speaking(triple))
    assert outcome.of(triple) == (UNSEEN, False)
    [change] = [one for one in outcome.changes if one.triple == triple]
    assert change.accepted_before and change.before > change.after
    assert triple in edges(opened.fitted.graph)
    assert triple not in edges(outcome.fitted.graph)
    untyped = (triple[0], opened.graph.num_relations, triple[2])
    assert untyped not in edges(outcome.fitted.graph)
    retrained = intervention.without(intervention.reading.speaking(triple), retrain=True).fitted
    assert edges(retrained.graph) == edges(outcome.fitted.graph)
    assert (retrained.model.entity != opened.fitted.model.entity).any()


def test_without_one_of_several_sentences_it_moves_as_the_reader_does(
    opened: OpenRun, intervention: Intervention
) -> None:
    reading, table = intervention.reading, intervention.table
    several = [x for x in accepted(opened, intervention) if len(reading.speaking(x)) > 1]
    assert several
    for triple in several[:3]:
        spoken = reading.speaking(triple)
        outcome = intervention.without(spoken[:1])
        found = outcome.of(triple)
        assert found is not None
        there = np.ones((2, len(spoken)), dtype=bool)
        there[1, 0] = False
        whole, part = reading.odds(triple, there)
        p = np.clip(table.p[intervention.row(triple)], UNSEEN, 1 - UNSEEN)
        expected = 1 / (1 + (1 - p) / p * np.exp(whole - part))
        assert found[0] == pytest.approx(expected, abs=1e-6)


def test_only_pairs_that_a_sentence_speaks_of_move(
    opened: OpenRun, intervention: Intervention
) -> None:
    triple = accepted(opened, intervention)[0]
    gone = intervention.reading.speaking(triple)[:1]
    evidence = intervention.reading.evidence
    spoken = evidence.sentence == gone[0]
    ends = {frozenset(x) for x in zip(evidence.head[spoken], evidence.tail[spoken], strict=True)}
    moved = [one for one in intervention.without(gone).changes if one.before != one.after]
    assert moved
    for change in moved:
        assert frozenset((change.triple[0], change.triple[2])) in ends


def test_a_revoked_triple_is_not_taught_and_its_pair_not_for_its_sake(
    opened: OpenRun, intervention: Intervention
) -> None:
    triple = accepted(opened, intervention)[0]
    outcome = intervention.revoked([triple])
    assert outcome.of(triple) is not None and not outcome.of(triple)[1]
    assert triple not in edges(outcome.fitted.graph)
    lost = edges(opened.fitted.graph).keys() - edges(outcome.fitted.graph).keys()
    assert triple in lost


def test_sentences_by_name_and_by_text(intervention: Intervention) -> None:
    first = intervention.reading.sentences[0]
    assert intervention.sentence(evidence_id(first)).tolist() == [first.id]
    own = [x.id for x in intervention.reading.sentences if x.text_id == first.text_id]
    assert intervention.sentences_of(first.text_id).tolist() == own
    with pytest.raises(InputError, match="sentence 'page 0:1-2' is not in the corpus"):
        intervention.sentence("page 0:1-2")
    with pytest.raises(InputError, match="text 'page 99' is not in the corpus"):
        intervention.sentences_of("page 99")


def test_what_was_not_judged_has_no_row(intervention: Intervention) -> None:
    assert intervention.row((0, 0, 0)) is None


def test_a_model_that_never_heard_of_it_stays(
    opened: OpenRun, intervention: Intervention, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intervention, "_heard", False)
    triple = accepted(opened, intervention)[0]
    outcome = intervention.without(intervention.reading.speaking(triple), retrain=True)
    assert outcome.of(triple) == (UNSEEN, False)
    assert outcome.fitted is opened.fitted
