"""Runs that build on finished runs: ensembles, re-rankers, and a bi-encoder with a teacher."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from relgnn.config import AnyConfig, RerankConfig, load_run_config
from relgnn.errors import InputError
from relgnn.loop.opened import open_run
from relgnn.loop.records import read_round
from relgnn.loop.runs import run_any
from relgnn.loop.scored import candidate_features, find_member, open_scored
from relgnn.posterior.fusion import logit
from relgnn.ranking.metrics import read_ranks
from relgnn.rules.judge import LEAST
from relgnn.training import load_json
from tests.answers import Call
from tests.linkpred.people import BORN, biencoder_config, write_people

COMPLEX = """
data: {path: %s}
text: {node_features: none, model: %s}
gnn: {kind: none}
decoder: {dim: 8, dropout: 0.0}
train: {epochs: 20, batch_size: 32, lr: 0.05, eval_every: 5}
runtime: {device: cpu, threads: 1}
"""
RULES = "data: {path: %s}\nrules: {min_support: 1}\n"
ENSEMBLE = "data: {path: %s}\nensemble: {of: [biencoder, complex]}\n"
CROSS = """
data: {path: %s}
text: {model: %s}
crossencoder: {of: ensemble, top: 6, negatives: 3, epochs: 2, batch_size: 8, lr: 0.003}
runtime: {device: cpu, threads: 1}
"""
RERANK = """
data: {path: %s}
rerank: {of: ensemble, views: [rules], top: 10, hidden: [4], epochs: 5}
runtime: {device: cpu}
"""


def config(folder: Path, text: str, *changes: str) -> AnyConfig:
    path = folder / "some.yaml"
    path.write_text(text, encoding="utf-8")
    return load_run_config(path, changes)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("people") / "data")


@pytest.fixture(scope="module")
def runs(
    people: Path, tiny_bert: str, own_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Rows of a table beside each other, as experiments.reproduce leaves them."""
    folder = tmp_path_factory.mktemp("runs")
    rows = {
        "biencoder": biencoder_config(people, tiny_bert, "biencoder.epochs=2"),
        "complex": config(folder, COMPLEX % (people, tiny_bert)),
        "rules": config(folder, RULES % people),
        "ensemble": config(folder, ENSEMBLE % people),
        "reranked": config(folder, RERANK % people),
        "crossencoder": config(folder, CROSS % (people, tiny_bert)),
        "both": config(folder, RERANK % people, "rerank.views=[crossencoder]"),
    }
    for name, row in rows.items():
        run_any(row, folder / f"{name}-100-0")
    return folder


def mrr(metrics: dict[str, object], split: str = "test") -> float:
    found: object = metrics[split]
    for key in ("all", "both", "realistic", "mrr"):
        found = found[key]  # type: ignore[index]
    return float(found)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "row", ["biencoder", "complex", "ensemble", "reranked", "crossencoder", "both"]
)
def test_a_finished_run_ranks_again_as_it_did(row: str, runs: Path) -> None:
    folder = runs / f"{row}-100-0"
    scored = open_scored(folder)
    ranks, again = scored.evaluate("test")
    metrics = load_json(folder / "metrics.json")
    assert again == metrics["test"] == metrics["rows"]["final"]
    written = read_ranks(folder / "ranks" / "final.tsv")
    for side in ("head", "tail"):
        np.testing.assert_array_equal(written[side][1].realistic, ranks[side].realistic)


def test_a_finished_loop_ranks_again_as_it_did(own_run: Path) -> None:
    """Its model has a relation more than its graph, which no question asks for."""
    opened, scored = open_run(own_run), open_scored(own_run)
    graph = scored.graph
    assert opened.scorer.num_relations == graph.num_relations + 1
    assert scored.evaluate("test")[1] == load_json(own_run / "metrics.json")["test"]
    ranks, own = (one.evaluate("test")[0] for one in (scored, opened))
    for side in ("head", "tail"):
        np.testing.assert_array_equal(ranks[side].realistic, own[side].realistic)
    for backward, ends in ((False, {"head": 21}), (True, {"tail": 21})):
        answers = opened.predict(1, **ends, k=3)
        best = scored.best(1, 21, backward, 3)
        assert [graph.entities[number] for number, _ in best] == [one.entity for one in answers]
        np.testing.assert_allclose([p for _, p in best], [one.score for one in answers], rtol=1e-5)


@pytest.fixture(scope="module")
def read_run(own_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A re-ranker of a loop's final model that is told what the loop has read."""
    folder, data = tmp_path_factory.mktemp("read"), load_run_config(own_run / "config.yaml").data
    changes = [f"rerank.of={own_run}", "rerank.views=[]", f"rerank.read={own_run}"]
    run_any(config(folder, RERANK % data.path, *changes), folder / "run")
    return folder / "run"


def test_what_a_loop_has_read_is_a_feature_of_candidates(own_run: Path, read_run: Path) -> None:
    again = open_scored(read_run).evaluate("test")[1]
    metrics = load_json(read_run / "metrics.json")
    assert again == metrics["test"]
    assert metrics["features"][-2:] == ["read: text", "read: all"]
    own = load_run_config(read_run / "config.yaml")
    assert isinstance(own, RerankConfig)
    opened = open_run(own_run)
    graph, table = opened.graph, read_round(own_run / "rounds" / "1", opened.graph)
    features = candidate_features(own, read_run, graph)
    row = int(np.nanargmax(table.p_text))
    head, relation, tail = table.triples[row].tolist()
    both = ([head, tail], [relation, relation + graph.num_relations])
    listed = features(*map(torch.tensor, both))
    for query, answer in enumerate((tail, head)):
        place = listed.nodes[query].tolist().index(answer)
        p = np.array([table.p_text[row], table.p[row]])
        expected = np.maximum(logit(p) - logit(np.array(0.01)), 0)
        found = listed.features[query, place, -2:].numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_who_has_read_nothing_is_refused(runs: Path, people: Path, tmp_path: Path) -> None:
    for row in ("rules", "complex"):
        asks = config(tmp_path, RERANK % people, f"rerank.read={row}", "rerank.views=[]")
        with pytest.raises(InputError, match=f"{row}-100-0: has read no texts"):
            run_any(asks, runs / f"reads-{row}-100-0")


def test_rules_say_least_where_none_fires(runs: Path) -> None:
    scored = open_scored(runs / "rules-100-0")
    found = scored.dense(torch.arange(4), torch.arange(4))
    whole = scored.score_tails(torch.arange(4), torch.arange(4))
    assert isinstance(whole, torch.Tensor)
    torch.testing.assert_close(found, whole.clamp(min=LEAST).log().float())
    assert found.min() == pytest.approx(math.log(LEAST), rel=1e-6)


def test_an_ensemble_is_no_worse_on_valid_than_its_members(runs: Path) -> None:
    metrics = {name: load_json(runs / f"{name}-100-0" / "metrics.json")
               for name in ("biencoder", "complex", "ensemble")}  # fmt: skip
    own = metrics.pop("ensemble")
    # weights that shrink towards those of all may lose a little to one member alone
    assert mrr(own, "valid") >= max(mrr(one, "valid") for one in metrics.values()) - 0.02
    assert sum(own["weights"].values()) == pytest.approx(1)
    for name, sha in own["members"].items():
        assert load_run_config(runs / f"{name}-100-0" / "config.yaml").sha256() == sha


def test_a_re_ranker_reports_the_half_that_selects(runs: Path) -> None:
    metrics = load_json(runs / "reranked-100-0" / "metrics.json")
    assert metrics["valid"]["all"]["tail"]["realistic"]["queries"] == 3  # of six valid triples
    assert set(metrics["selected"]) == {"unchanged", "4"}
    assert metrics["selected"][metrics["chosen"]] == max(metrics["selected"].values())
    assert {"biencoder", "complex", "rules", "text"} < set(metrics["features"])


@pytest.mark.parametrize(("row", "top"), [("reranked", 10), ("crossencoder", 6)])
def test_only_candidates_change_places(row: str, top: int, runs: Path) -> None:
    base, new = (open_scored(runs / f"{name}-100-0") for name in ("ensemble", row))
    test = read_ranks(runs / f"{row}-100-0" / "ranks" / "final.tsv")
    before = base.evaluate("test")[0]
    for side in ("head", "tail"):
        after, was = test[side][1].realistic, before[side].realistic
        moved = after != was
        assert (was[moved] <= top + 24).all()  # at most the given answers stand before them
    assert new.graph.num_entities == base.graph.num_entities


def test_what_reads_pairs_is_a_view_of_a_re_ranker(runs: Path) -> None:
    metrics = load_json(runs / "both-100-0" / "metrics.json")
    assert {"crossencoder", "crossencoder rank"} < set(metrics["features"])
    read = load_json(runs / "crossencoder-100-0" / "metrics.json")
    assert read["of"] == open_scored(runs / "ensemble-100-0").sha256


@pytest.mark.parametrize("row", ["ensemble", "reranked", "crossencoder"])
def test_commands_answer_by_them(row: str, runs: Path, call: Call) -> None:
    folder = runs / f"{row}-100-0"
    told = json.loads(call("evaluate", folder, "--split", "test", "--json").out)["test"]
    assert told == load_json(folder / "metrics.json")["test"]
    answers = json.loads(
        call("predict", folder, "--relation", BORN, "--head", "p0", "-k", 3, "--json").out
    )
    assert len(answers) == 3


def test_a_teacher_is_a_row_too(runs: Path, people: Path, tiny_bert: str) -> None:
    distil = "biencoder.distil={run: complex, weight: 5.0}"
    taught = biencoder_config(people, tiny_bert, "biencoder.epochs=1", distil)
    run_any(taught, runs / "distilled-100-0")
    alone = biencoder_config(people, tiny_bert, "biencoder.epochs=1")
    run_any(alone, runs / "alone-100-0")
    losses = [
        json.loads((runs / f"{name}-100-0" / "log.jsonl").read_text().splitlines()[0])["loss"]
        for name in ("distilled", "alone")
    ]
    assert losses[0] > losses[1]


def test_what_is_not_there_or_of_other_data_is_refused(
    runs: Path, people: Path, tmp_path: Path
) -> None:
    absent = config(tmp_path, ENSEMBLE % people, "ensemble.of=[biencoder,nothing]")
    with pytest.raises(InputError, match="'nothing': is no finished run"):
        run_any(absent, runs / "absent")
    other = write_people(tmp_path / "data")
    with pytest.raises(InputError, match="was trained on other data"):
        run_any(config(tmp_path, ENSEMBLE % other), runs / "other")
    path = find_member(runs / "x", str(runs / "rules-100-0"), absent)
    assert path == runs / "rules-100-0"
    with pytest.raises(InputError, match="is no run of link prediction"):
        open_scored(tmp_path)


@pytest.mark.parametrize("row", ["ensemble", "reranked", "crossencoder"])
def test_an_unfinished_one_is_refused(row: str, runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "half"
    shutil.copytree(runs / f"{row}-100-0", folder)
    (folder / "metrics.json").unlink()
    with pytest.raises(InputError, match="the run is not finished"):
        open_scored(folder)


def test_few_valid_triples_teach_no_order(runs: Path, people: Path) -> None:
    other = runs.parent / "few" / "data"
    shutil.copytree(people, other)
    lines = (other / "valid.tsv").read_text().splitlines(keepends=True)
    (other / "valid.tsv").write_text("".join(lines[:3]))
    small = config(other.parent, RERANK % other, "rerank.of=complex", "rerank.views=[]")
    with pytest.raises(InputError, match="needs at least 4"):
        run_any(small, runs / "few")
