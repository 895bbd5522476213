"""Everything that is said of a prediction, and the command that says it."""

from __future__ import annotations

import json
import shutil
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from relgnn.commands.explain import Method, lines
from relgnn.config import load_config
from relgnn.explain.counterfactual import Counterfactual
from relgnn.explain.edges import EXPLAINERS, IntegratedGradients
from relgnn.explain.reading import Triple
from relgnn.explain.report import Explaining
from relgnn.loop.opened import OpenRun
from relgnn.loop.run import run
from tests.answers import Call, require_one_line


@pytest.fixture(scope="module")
def explaining(opened: OpenRun) -> Explaining:
    return Explaining(opened, IntegratedGradients(8), most=3)


@pytest.fixture(scope="module")
def accepted(explaining: Explaining) -> Triple:
    """The surest accepted triple that several sentences speak of."""
    assert explaining.effect is not None
    table, reading = explaining.effect.table, explaining.effect.reading
    for row in np.argsort(-table.accepted):
        head, relation, tail = table.triples[row].tolist()
        if len(reading.speaking((head, relation, tail))) > 1:
            return head, relation, tail
    raise AssertionError("no triple has several sentences")


def test_an_accepted_triple(explaining: Explaining, accepted: Triple, opened: OpenRun) -> None:
    found, would = explaining.explain(accepted), Counterfactual(opened, accepted)
    graph = opened.graph
    assert found.head == graph.entities[accepted[0]] and not found.given
    assert found.rank == would.standing().rank
    assert found.probability == would.standing().probability
    assert found.believed is not None and found.log_probability is not None
    assert found.believed.accepted and found.believed.posterior > 0
    views = [one.share for one in found.believed.views]
    none, every = found.believed.view_odds
    assert len(views) == 2 and sum(views) == pytest.approx(every - none)
    none, every = found.believed.odds
    shares = [one.share for one in found.believed.sentences]
    assert sum(shares) == pytest.approx(every - none)
    assert [abs(x) for x in shares] == sorted((abs(x) for x in shares), reverse=True)
    assert len(found.believed.texts) == len(shares) >= 2
    kinds = {edge.source for edge in found.edges}
    assert 0 < len(found.edges) <= 3 and kinds <= {"given", "accepted", "connected"}
    importance = [edge.importance for edge in found.edges]
    assert importance == sorted(importance, reverse=True)


def test_where_it_would_stand_without_what_was_read(
    explaining: Explaining, accepted: Triple, opened: OpenRun
) -> None:
    effect = explaining.effect
    assert effect is not None
    believed = explaining.explain(accepted).believed
    assert believed is not None
    sentences = {one.player for one in believed.sentences}
    texts = {effect.reading.sentences[n].text_id for n in effect.reading.speaking(accepted)}
    assert {one.what for one in believed.without} == texts | set(
        one.player for one in believed.sentences[:3]
    )
    assert sentences.isdisjoint(texts)
    for one in believed.without:
        gone = effect.sentences_of(one.what) if one.what in texts else effect.sentence(one.what)
        outcome = effect.without(gone)
        assert (one.posterior, one.accepted) == outcome.of(accepted)
        assert one.rank == Counterfactual(opened, accepted).standing(outcome.fitted).rank


def test_edges_of_every_source_in_words(explaining: Explaining, opened: OpenRun) -> None:
    """An untyped pair is no relation, whatever its number."""
    graph, relations = opened.graph, opened.graph.num_relations
    untyped = [t for t in opened.learned.pseudo.triples.tolist() if t[1] == relations]
    assert untyped
    head, _, tail = untyped[0]
    names = graph.entity_names
    assert explaining._words(untyped[0]) == f"{names[head]} – {names[tail]}"
    edge = len(graph.train) + opened.learned.pseudo.triples.tolist().index(untyped[0])
    assert explaining._source(edge, relations) == "connected"
    assert explaining._source(edge, 0) == "accepted" and explaining._source(0, 0) == "given"


def test_a_triple_that_nobody_judged(explaining: Explaining, opened: OpenRun) -> None:
    triple = tuple(opened.graph.train[0].tolist())
    found = explaining.explain((triple[0], triple[1], triple[2]))
    assert found.given and found.believed is None
    text = "\n".join(lines(found))
    assert ", given" in text and "posterior" not in text


def test_an_answer_that_is_first_has_a_set_without_which_it_is_not(
    explaining: Explaining, opened: OpenRun
) -> None:
    graph_alone = copy(explaining)
    graph_alone.effect = None
    known = np.concatenate([opened.graph.test, opened.graph.valid, opened.graph.train])
    for head, relation in dict.fromkeys(map(tuple, known[:, :2].tolist())):
        best = opened.predict(relation, head=head, k=30)
        entity = next(one.entity for one in best if not one.known)
        found = graph_alone.explain((head, relation, opened.graph.entities.index(entity)))
        assert found.believed is None
        if found.smallest_set is not None:
            assert found.rank == 1 and found.rank_without_set is not None
            assert found.rank_without_set > 1 and len(found.smallest_set) >= 1
            assert "no longer first" in "\n".join(lines(found))
            return
    pytest.fail("no first answer falls without some edges")


def test_methods_are_those_that_there_are() -> None:
    assert [one.value for one in Method] == list(EXPLAINERS)


def words(opened: OpenRun, triple: Triple) -> list[str]:
    graph, (head, relation, tail) = opened.graph, triple
    return ["--head", graph.entities[head], "--relation", graph.relations[relation], "--tail",
            graph.entity_names[tail]]  # fmt: skip


def test_the_command(
    call: Call, own_run: Path, opened: OpenRun, accepted: Triple, explaining: Explaining
) -> None:
    asked = ("explain", own_run, *words(opened, accepted), "--method", "gnn_explainer", "-k", 2)
    answer = call(*asked, "--json")
    assert answer.status == 0, answer
    found = json.loads(answer.out)
    assert found["head"] == opened.graph.entities[accepted[0]]
    assert len(found["edges"]) == 2 and found["believed"]["accepted"] is True
    assert all(0 < edge["importance"] < 1 for edge in found["edges"])


def test_what_people_see(explaining: Explaining, accepted: Triple) -> None:
    shown = "\n".join(lines(explaining.explain(accepted)))
    for part in ("rank", "edges (log-probability", "log odds by view (", "log odds by sentence",
                 "had it never been written:", "  text", "“"):  # fmt: skip
        assert part in shown


def test_what_the_command_cannot_explain(
    call: Call, own_run: Path, opened: OpenRun, accepted: Triple, tmp_path: Path
) -> None:
    asked = words(opened, accepted)
    require_one_line(call("explain", tmp_path, *asked), 2, "is no run folder")
    wrong = [*asked[:-1], "Ada Able"]
    require_one_line(call("explain", own_run, *wrong), 2, "did you mean 'Ada Abel'")
    assert call("explain", own_run, *asked, "--method", "magic").status == 2
    assert call("explain", own_run, *asked[:-2]).status == 2
    broken = tmp_path / "run"
    shutil.copytree(own_run, broken)
    (broken / "rounds/1/votes.safetensors").unlink()
    require_one_line(call("explain", broken, *asked), 2, "votes.safetensors")


def test_a_run_without_a_loop_or_messages_has_paths_and_a_rank(
    call: Call, own_config: Path, tmp_path: Path
) -> None:
    changes = ["loop=null", "train.epochs=1", "gnn.kind=none"]
    run(load_config(own_config, changes), tmp_path / "run")
    asked = ("--head", "Ada Abel", "--relation", "lives", "--tail", "Bern")
    answer = call("explain", tmp_path / "run", *asked)
    assert answer.status == 0, answer
    assert answer.out.startswith("Ada Abel –lives in→ Bern: rank ")
    assert "edges" not in answer.out and "posterior" not in answer.out


def test_sampled_shares_show_their_error(explaining: Explaining, accepted: Triple) -> None:
    found = explaining.explain(accepted)
    assert found.believed is not None
    sampled = [replace(one, error=0.25) for one in found.believed.sentences]
    shown = replace(found, believed=replace(found.believed, sentences=tuple(sampled)))
    assert " ± 0.25  “" in "\n".join(lines(shown))
    assert " ± " not in "\n".join(lines(found))
