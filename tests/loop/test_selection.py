"""Each configured selector in the loop, and the promise that a round is held to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relgnn.data import KnowledgeGraph
from relgnn.loop.candidates import Candidates
from relgnn.loop.estep import Judgement
from relgnn.loop.pseudo import Role
from relgnn.loop.rounds import CERTIFICATE, GIVEN, Loop
from relgnn.loop.selection import certify_round, loop_selector
from relgnn.loop.verdicts import Verdicts
from relgnn.posterior.conformal import Certificate, certify
from relgnn.posterior.selectors import (
    SELECTORS,
    CappedSelector,
    ClassTopSelector,
    CurriculumSelector,
    PrecisionSelector,
)
from relgnn.text.pairs import PairLabels
from relgnn.training import load_json, load_tensors
from tests.linkpred.toy import toy_config, toy_graph
from tests.loop.test_verdicts import named
from tests.loop.toy import posteriors, toy_world

GENEROUS = ("loop.precision=0.01", "loop.min_probability=0.001")


def settings(*overrides: str) -> Any:
    return toy_config("loop.rounds=3", *overrides).loop


@pytest.mark.parametrize("name", SELECTORS)
def test_every_selector_can_be_chosen(name: str) -> None:
    certificate = Certificate(0.5, 0.7, 0.1)
    graph, config = toy_graph(), settings(f"loop.selector={name}")
    made = loop_selector(config, graph, 1, certificate)
    assert type(made) is SELECTORS[name]
    capped = loop_selector(settings(f"loop.selector={name}", "loop.cap=0.5"), graph, 1, certificate)
    assert capped == CappedSelector(made, 0.5, len(graph.train))


@pytest.mark.parametrize("name", SELECTORS)
@pytest.mark.parametrize("number", [1e-9, 1.0])
def test_a_legal_configuration_makes_a_selector(name: str, number: float) -> None:
    """So that none ends a round after its judges were trained."""
    numbers = ("precision", "precision_start", "threshold", "min_probability", "budget", "cap")
    config = settings(f"loop.selector={name}", *(f"loop.{key}={number}" for key in numbers))
    p = np.array([0.2, 1.0])
    every = posteriors(toy_graph().train[:2], p, np.zeros(2, dtype=np.int64))
    certificate = Certificate(0.5, 0.7, 0.1)
    loop_selector(config, toy_graph(), 1, certificate).select(every)


def test_selectors_have_the_configured_numbers() -> None:
    graph = toy_graph()
    least = "loop.min_probability=0.2"
    made = loop_selector(settings("loop.precision=0.6", least), graph, 2)
    assert made == PrecisionSelector(0.6, 0.2)
    made = loop_selector(settings("loop.selector=class_top", "loop.budget=2.0", least), graph, 2)
    counts = tuple((graph.train[:, 1] == r).sum() for r in range(3))
    assert made == ClassTopSelector(counts, 2.0, 0.2)
    made = loop_selector(settings("loop.selector=curriculum", "loop.precision_start=0.9"), graph, 2)
    assert isinstance(made, CurriculumSelector) and made.wanted == pytest.approx(0.8)


@pytest.mark.parametrize("name", ["class_top", "agreement", "soft"])
def test_a_round_is_accepted_by_the_chosen_selector_under_its_cap(
    tmp_path: Path, name: str
) -> None:
    numbers = ("loop.rounds=1", "loop.threshold=0.01", "loop.min_probability=0.001")
    accepted = []
    for cap in ("null", "0.2"):
        folder = tmp_path / cap
        loop = Loop(toy_world(f"loop.selector={name}", f"loop.cap={cap}", *numbers, folder=folder))
        loop.run()
        accepted.append(loop.table(1).accepted)
    free, capped = (int((one > 0).sum()) for one in accepted)
    assert capped == len(toy_graph().train) // 5 < free
    assert (accepted[1][accepted[1] > 0] == accepted[0][accepted[1] > 0]).all()


def test_soft_weighs_training_and_promises_no_more_than_the_posterior(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels: list[tuple[np.ndarray, np.ndarray]] = []
    match = PairLabels.match

    def watched(features: Any, triples: np.ndarray, weight: np.ndarray, *rest: Any) -> PairLabels:
        labels.append((triples, weight))
        return match(features, triples, weight, *rest)

    monkeypatch.setattr(PairLabels, "match", watched)
    options = ("loop.selector=soft", "loop.min_probability=0.001", "loop.connect=1")
    loop = Loop(toy_world(*options, folder=tmp_path))
    monkeypatch.setattr(Loop, "_worse", lambda *_: False)
    pseudo = loop.run()[1].pseudo.of(Role.ACCEPTED)
    table = loop.table(1)
    taken = table.accepted > 0
    np.testing.assert_array_equal(pseudo.weight, table.accepted[taken])
    np.testing.assert_array_equal(pseudo.p, table.p[taken])
    assert (pseudo.weight > pseudo.p).any()
    taught = [
        weight[len(loop.world.graph.train) :]
        for triples, weight in labels
        if len(triples) > len(loop.world.graph.train)
    ]
    assert taught and all((own == pseudo.p).all() for own in taught)


def judged(graph: KnowledgeGraph, p: np.ndarray, given: int, c: Any) -> Judgement:
    """Candidates of made-up triples, and as many given ones of p = .9."""
    triples = np.array([(h, r, t) for h in range(26) for r in range(3) for t in range(26)])
    triples = np.tile(triples, (1 + len(p) // len(triples), 1))[: len(p)]
    fold, none = np.zeros(len(p), dtype=np.int64), np.zeros(len(p))
    found = Candidates(*triples.T, fold, none, none > 0, fold)
    known = posteriors(
        triples[np.zeros(given, dtype=int)], np.full(given, 0.9), fold[:1].repeat(given)
    )
    report = {"fused": {"label_frequency": c}}
    every = posteriors(triples, p, fold)
    return Judgement(found, every, None, None, report, known)  # type: ignore[arg-type]


CONFORMAL = ("loop.selector=conformal", "loop.precision=0.7", "loop.min_probability=0.1")


def test_a_promise_is_calibrated_on_given_triples_and_the_label_frequency() -> None:
    graph = replace(toy_graph(), valid=toy_graph().valid[:0], strata=None)
    p = np.concatenate([np.full(55, 0.9), np.full(500, 0.2)])
    judgement = judged(graph, p, 55, 0.5)
    found = certify_round(settings(*CONFORMAL), graph, judgement, Verdicts())
    every = np.concatenate([p, np.full(55, 0.9)])
    labelled = np.arange(610) >= 555
    plain = certify(every, labelled, 0.7, 0.1, label_frequency=0.5, at_least=100, floor=0.1)
    assert found == plain and found.threshold == 0.9 and (found.items, found.true) == (110, 55)
    # with c = .9 the 55 labelled stand for six hidden ones among 55
    assert certify_round(settings(*CONFORMAL), graph, judged(graph, p, 55, 0.9), Verdicts()) == (
        replace(found, threshold=None, p_value=pytest.approx(1, abs=0.01))
    )


def test_label_frequencies_by_relation_calibrate_too() -> None:
    graph = replace(toy_graph(), valid=toy_graph().valid[:0], strata=None)
    p = np.full(300, 0.9)
    config = settings(
        *CONFORMAL, "loop.label_frequency_by_relation=true", "loop.bound=hoeffding_bentkus"
    )
    one = certify_round(config, graph, judged(graph, p, 290, [0.5, 0.5, 0.5]), Verdicts())
    same = certify_round(config, graph, judged(graph, p, 290, 0.5), Verdicts())
    assert one == same and one.threshold == 0.9
    other = certify_round(config, graph, judged(graph, p, 290, [0.9, 0.5, 0.5]), Verdicts())
    assert other.p_value > one.p_value


@pytest.mark.parametrize(("wrong", "promised"), [(0, True), (12, False)])
def test_enough_verdicts_are_preferred(wrong: int, promised: bool) -> None:
    graph = toy_graph()
    judgement = judged(graph, np.linspace(1, 0.5, 1000), 0, 0.5)
    triples = named(judgement.candidates.triples[:20])
    verdicts = Verdicts(frozenset(triples[wrong:]), frozenset(triples[:wrong]))
    found = certify_round(settings(*CONFORMAL), graph, judgement, verdicts)
    assert found.items == 20 and found.true == 20 - wrong
    assert (found.threshold is not None) == promised
    # .7^6 > .1: six verdicts show nothing, and nothing is given either
    few = Verdicts(frozenset(triples[:6]))
    assert certify_round(settings(*CONFORMAL), graph, judgement, few).true == 0


def test_a_conformal_loop_keeps_its_certificates_and_what_it_says_of_given_triples(
    tmp_path: Path,
) -> None:
    options = ("loop.selector=conformal", *GENEROUS, "loop.delta=0.5")
    loop = Loop(toy_world(*options, folder=tmp_path))
    loop.run()
    given = {tuple(t) for t in loop.world.graph.train.tolist()}
    said = []
    for number in (1, 2):
        certificate = Certificate(**load_json(loop.round_folder(number) / CERTIFICATE))
        table = loop.table(number)
        if certificate.threshold is None:
            assert not (table.accepted > 0).any()
        else:
            assert table.p[table.accepted > 0].min() >= certificate.threshold
        tensors = load_tensors(loop.round_folder(number) / GIVEN)[0]
        triples = [tuple(t) for t in tensors["triples"].tolist()]
        assert set(triples) <= given
        said.append(dict(zip(triples, tensors["p"].tolist(), strict=True)))
    before = loop._before(2, Verdicts())
    assert before is not None and len(before.p) == len(loop.table(1).p) + len(said[0])
    told = dict(zip(map(tuple, before.triples.tolist()), before.p.tolist(), strict=True))
    assert all(told[t] == p for t, p in said[0].items())


def test_other_loops_keep_neither(tmp_path: Path) -> None:
    loop = Loop(toy_world("loop.rounds=1", folder=tmp_path))
    loop.run()
    assert not (loop.round_folder(1) / CERTIFICATE).exists()
    assert not (loop.round_folder(1) / GIVEN).exists()
